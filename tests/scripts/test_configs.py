"""Every shipped config composes into its dataclass, and says the same defaults as the dataclass does."""

import ast
import dataclasses
import importlib
import pathlib
import sys

import pytest

from rtc_bench import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
_entry = importlib.import_module("_entry")

SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith(("_", "bench_")))
PRESETS = sorted(path.stem for path in (ROOT / "configs" / "preset").glob("*.yaml"))


def door(path: pathlib.Path) -> list[str]:
    """The arguments of the script's one call: config name, settings class, function."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    (call,) = calls
    return [argument.value for argument in call.args]


def loaded(place: str):
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def required(name: str) -> list[str]:
    return {"sweep": [], "report": ["run=results"]}.get(name, ["task=mjc_swimmer"])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_and_its_config_belong_together(path):
    name, settings, function = door(path)
    assert name == path.stem
    composed = _entry.compose(name, loaded(settings), required(name))
    assert isinstance(composed, configs.Settings)
    assert callable(loaded(function))
    if name != "sweep":  # whose out= and strategies a preset may set
        given = dict(argument.split("=") for argument in required(name))
        assert composed == type(composed)(**given)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_compose(preset):
    name, settings, _ = door(ROOT / "scripts" / "sweep.py")
    composed = _entry.compose(name, loaded(settings), [f"preset={preset}"])
    assert configs.cells(composed.delay, composed.horizon, configs.HORIZON)
    assert dataclasses.replace(composed, episodes=1).episodes == 1


def test_every_config_has_a_script():
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == {path.stem for path in SCRIPTS}
