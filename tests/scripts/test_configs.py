"""Every shipped config composes into its dataclass, and says the same defaults as the dataclass does."""

import ast
import importlib
import pathlib
import re
import sys

import pytest

from rtc_bench import policies
from rtc_bench.common import schema
from rtc_bench.evaluation import settings, sweep_inputs

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
_entry = importlib.import_module("_entry")

SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith(("_", "bench_")))
PRESETS = sorted((path.parent.name, path.stem) for path in (ROOT / "configs" / "preset").glob("*/*.yaml"))


def door(path: pathlib.Path) -> list[str]:
    """The arguments of the script's one call: config name, settings class, function."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    (call,) = calls
    return [argument.value for argument in call.args]


def loaded(target: str):
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def required(name: str) -> list[str]:
    needed = {"report": ["run=results"], "compare": ["strategy=bid"]}
    needed |= {name_of_script: [] for name_of_script in ("sweep", "compare_published", "rank_methods")}
    return needed.get(name, ["task=mjc_swimmer"])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_and_its_config_belong_together(path):
    name, settings_target, function_target = door(path)
    assert name == path.stem
    composed = _entry.compose(name, loaded(settings_target), required(name))
    assert isinstance(composed, schema.Settings)
    assert callable(loaded(function_target))
    if name != "sweep":  # whose out= and strategies a preset may set
        values = dict(argument.split("=") for argument in required(name))
        assert composed == type(composed)(**values)


@pytest.mark.parametrize("path", sorted((ROOT / "rtc_bench").glob("*/settings.py")), ids=lambda path: path.parent.name)
def test_a_setting_stands_on_one_line(path):
    """Or --help, which reads the comment behind it, would not show what it means."""
    assert not re.findall(r"^    \w+: .*[(\[{]$", path.read_text(), re.MULTILINE)


def preset(script: str, name: str) -> schema.Settings:
    _, settings_target, _ = door(ROOT / "scripts" / f"{script}.py")
    return _entry.compose(script, loaded(settings_target), [*required(script), f"preset={name}"])


@pytest.mark.parametrize(("script", "name"), PRESETS)
def test_presets_compose(script, name):
    composed = preset(script, name)
    assert composed != _entry.compose(script, type(composed), required(script))
    if script == "sweep":
        strategies = sweep_inputs.build_strategies(composed)
        assert all(sweep_inputs.delay_horizon_pairs(composed, policies.PREDICTION_HORIZON, strategies).values())


def test_the_paper_preset_has_the_published_sizes_and_its_stages_meet():
    expert, data, flow, sweep = (
        preset(name, "paper") for name in ("train_expert", "generate_data", "train_flow", "sweep")
    )
    assert (expert.envs * expert.rollout * 1000, expert.width, expert.seeds) == (expert.steps, 256, 8)
    assert (data.steps, data.experts) == (1_000_000, expert.out)
    assert (flow.layers, flow.channels, flow.channel_hidden, flow.token_hidden, flow.epochs) == (4, 256, 512, 64, 32)
    assert flow.data == data.out
    assert sweep.episodes == 2048
    assert len(settings.delay_horizon_pairs(sweep.delay, sweep.horizon, 8)) == 24


def test_a_preset_gives_way_to_what_the_command_line_says():
    settings_class = loaded("rtc_bench.training.settings:TrainFlowConfig")
    composed = _entry.compose("train_flow", settings_class, ["layers=3", "preset=paper", "task=all"])
    assert (composed.layers, composed.channels, composed.task) == (3, 256, "all")


def test_every_config_has_a_script():
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == {path.stem for path in SCRIPTS}
