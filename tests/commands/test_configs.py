"""Every shipped config composes into its dataclass, and says the same defaults as the dataclass does."""

import importlib
import pathlib
import re

import pytest

from rtc_bench import policies
from rtc_bench.commands import command_line, table
from rtc_bench.common import schema
from rtc_bench.evaluation import settings, sweep_inputs

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRESETS = sorted((path.parent.name, path.stem) for path in (ROOT / "configs" / "preset").glob("*/*.yaml"))


def loaded(target: str):
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def required(name: str) -> list[str]:
    needed = {"report": ["run=results"], "compare": ["strategy=bid"]}
    needed |= {without: [] for without in ("sweep", "compare-published", "rank-methods")}
    return needed.get(name, ["task=mjc_swimmer"])


@pytest.mark.parametrize("name", table.COMMANDS)
def test_a_command_s_settings_function_and_config_belong_together(name):
    composed = command_line.compose(name, required(name))
    assert isinstance(composed, schema.Settings)
    assert callable(loaded(table.COMMANDS[name].function))
    if name != "sweep":  # whose out= and strategies a preset may set
        values = dict(argument.split("=") for argument in required(name))
        assert composed == type(composed)(**values)


def test_every_command_has_a_config_and_a_script():
    stems = {name.replace("-", "_") for name in table.COMMANDS}
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} == stems
    scripts = {path for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith(("_", "bench_"))}
    assert {path.stem for path in scripts} == stems
    for path in scripts:
        assert f'_checkout.run("{path.stem.replace("_", "-")}")' in path.read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "rtc_bench").glob("*/settings.py")), ids=lambda path: path.parent.name)
def test_a_setting_stands_on_one_line(path):
    """Or --help, which reads the comment behind it, would not show what it means."""
    assert not re.findall(r"^    \w+: .*[(\[{]$", path.read_text(), re.MULTILINE)


def preset(command: str, name: str) -> schema.Settings:
    return command_line.compose(command, [*required(command), f"preset={name}"])


@pytest.mark.parametrize(("folder", "name"), PRESETS)
def test_presets_compose(folder, name):
    command = folder.replace("_", "-")
    composed = preset(command, name)
    assert composed != command_line.compose(command, required(command))
    if command == "sweep":
        strategies = sweep_inputs.build_strategies(composed)
        assert all(sweep_inputs.delay_horizon_pairs(composed, policies.PREDICTION_HORIZON, strategies).values())


def test_the_paper_preset_has_the_published_sizes_and_its_stages_meet():
    expert, data, flow, sweep = (
        preset(name, "paper") for name in ("train-expert", "generate-data", "train-flow", "sweep")
    )
    assert (expert.envs * expert.rollout * 1000, expert.width, expert.seeds) == (expert.steps, 256, 8)
    assert (data.steps, data.experts) == (1_000_000, expert.out)
    assert (flow.layers, flow.channels, flow.channel_hidden, flow.token_hidden, flow.epochs) == (4, 256, 512, 64, 32)
    assert flow.data == data.out
    assert sweep.episodes == 2048
    assert len(settings.delay_horizon_pairs(sweep.delay, sweep.horizon, 8)) == 24


def test_a_preset_gives_way_to_what_the_command_line_says():
    composed = command_line.compose("train-flow", ["layers=3", "preset=paper", "task=all"])
    assert (composed.layers, composed.channels, composed.task) == (3, 256, "all")
