"""A user's modules, imported in a process that has none of his files."""

import pathlib
import pickle
import subprocess
import sys

from rtc_bench.common import foreign_code
from rtc_bench.launching import carried_code

ROOT = pathlib.Path(__file__).resolve().parents[2]
MINE = """
import inspect

import helper_package.inner

class Mine:
    def value(self):
        import helper_package.later
        return helper_package.inner.VALUE + helper_package.later.VALUE

    def fail(self):
        raise ValueError
"""
READER = """
import inspect, pickle, sys, traceback
from rtc_bench.common import foreign_code
from rtc_bench.launching import carried_code
modules, mine = pickle.loads(sys.stdin.buffer.read())
carried_code.install(modules)
mine = pickle.loads(mine)
try:
    mine.fail()
except ValueError as error:
    frame = traceback.extract_tb(error.__traceback__)[-1]
print(mine.value(), inspect.getfile(type(mine)), frame.filename, frame.line, foreign_code.digest(type(mine)))
"""


def test_a_users_class_and_what_it_imports_are_elsewhere_what_they_are_here(tmp_path, monkeypatch):
    """Also from a folder without __init__.py, and with the file names that errors shall show."""
    (tmp_path / "helper_package").mkdir()
    (tmp_path / "mine.py").write_text(MINE)
    for name, value in (("inner", 40), ("later", 2)):
        (tmp_path / "helper_package" / f"{name}.py").write_text(f"VALUE = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = str(tmp_path / "mine.py")
    module = foreign_code.load_module(f"{file}:Mine", "strategy", ValueError)
    assert module.Mine().value() == 42
    sent = carried_code.collect()
    names = {own.name for own in sent}
    assert {module.__name__, "helper_package", "helper_package.inner", "helper_package.later"} <= names
    assert not {name.partition(".")[0] for name in names} & {"rtc_bench", "jax", "numpy", "pytest", "pathlib"}
    digest = foreign_code.digest(module.Mine)
    content = pickle.dumps((sent, pickle.dumps(module.Mine())))
    for path in tmp_path.rglob("*.py"):
        path.unlink()
    done = subprocess.run([sys.executable, "-c", READER], input=content, cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["42", file, file, "raise", "ValueError", digest]
