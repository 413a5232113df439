"""What made a result: commit, command, package versions, device."""

import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys

COMMIT = "RTC_BENCH_COMMIT"  # set where code was sent to, which is no checkout
PACKAGES = ("jax", "jaxlib", "kinetix-env", "numpy", "rtc-bench")


def commit() -> str:
    """The checkout's commit, with "+dirty" if tracked files differ from it; "unknown" outside a checkout."""
    if sent := os.environ.get(COMMIT):
        return sent
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed package may lie in the repository of its user
        return "unknown"

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        return head + ("+dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def collect() -> dict[str, str]:
    """Commit, command line, Python and package versions, and the device JAX runs on."""
    import jax

    command = shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    session = {"commit": commit(), "command": command, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            session[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            session[package] = "not installed"
    devices = jax.devices()
    return {**session, "device": f"{len(devices)} x {devices[0].device_kind}", "platform": devices[0].platform}
