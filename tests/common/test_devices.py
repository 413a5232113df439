"""The cache of compiled programs, as a disk that filled leaves it."""

import os
import subprocess
import sys

PROGRAM = """
from rtc_bench.common import devices
devices.setup()
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: (x * 3).sum())(jax.numpy.ones(7))))
"""


def run(cache):
    environment = {**os.environ, "RTC_BENCH_CACHE": str(cache)}
    options = {"env": environment, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, "-c", PROGRAM], **options)
    return done.stdout.splitlines(), done.stderr


def test_damaged_programs_are_compiled_and_kept_anew(tmp_path):
    assert run(tmp_path) == (["21.0"], "")
    entries = {path: path.read_bytes() for path in tmp_path.glob("*-cache")}
    assert entries
    for path, content in entries.items():
        path.write_bytes(content[: len(content) // 2])
    lines, error = run(tmp_path)
    assert (lines[-1], error) == ("21.0", "")
    assert lines[:-1] == [f"removed a damaged program from {tmp_path}"] * len(entries)
    assert all(len(path.read_bytes()) > len(content) / 2 for path, content in entries.items())
    assert run(tmp_path) == (["21.0"], "")


def test_a_folder_below_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("~/programs") == (["21.0"], "")
    assert list((tmp_path / "programs").glob("*-cache"))
