"""`make setup` on machines that lack something: one line with the remedy, or mended. Pythons are stand-ins."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
IN_VENV = """#!/bin/sh
echo "$@" >> log
case "$*" in
  "-m pip --version") test -e has_pip ;;
  "-m ensurepip") {ensurepip} ;;
esac
"""
PYTHON = """#!/bin/sh
case "$*" in
  -c*) exit {version_is_wrong} ;;
  -V) echo Python 3.10.1 ;;
  "-m venv .venv") mkdir -p .venv/bin; cp in_venv .venv/bin/python ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """make setup with a Python that behaves so; its exit status and what it printed."""

    def run(*, version_is_wrong=0, ensurepip="touch has_pip"):
        shutil.copy(ROOT / "Makefile", tmp_path)
        for name in ("requirements.lock", "pyproject.toml"):
            (tmp_path / name).touch()
        for name, text in (
            ("in_venv", IN_VENV.format(ensurepip=ensurepip)),
            ("python", PYTHON.format(version_is_wrong=version_is_wrong)),
        ):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        done = subprocess.run(["make", "setup", "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout

    return run


def test_pip_is_added_to_an_environment_without_it(setup, tmp_path):
    assert setup()[0] == 0
    log = (tmp_path / "log").read_text().splitlines()
    assert log[:2] == ["-m pip --version", "-m ensurepip"]
    assert any("install" in line and "--no-deps -r requirements.lock" in line for line in log)
    assert (tmp_path / ".venv" / ".ready").exists()


def test_where_pip_cannot_be_added_the_package_is_named(setup, tmp_path):
    needs_package = "test -e python3-venv && touch has_pip"
    status, out = setup(ensurepip=needs_package)
    assert status == 2
    assert "error: .venv has no pip, and ./python cannot add it; on Debian and Ubuntu: apt install python3-venv" in out
    (tmp_path / "python3-venv").touch()
    assert setup(ensurepip=needs_package)[0] == 0


def test_a_python_of_another_version_is_refused(setup):
    status, out = setup(version_is_wrong=1)
    assert status == 2
    assert "error: Python 3.11 to 3.14 is needed, ./python is Python 3.10.1; run make PYTHON=" in out
