"""Values as a command line or a config file gives them."""

import dataclasses
import math

import pytest

from rtc_bench.common import errors, schema
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.reporting import settings as reporting_settings
from rtc_bench.strategies import registry, temporal_ensembling
from rtc_bench.training import settings as training_settings


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, (2,)), ("2", (2,)), ([0, 2, 4], (0, 2, 4)), ("0..4", (0, 1, 2, 3, 4)), ("3..3", (3,)), ((1, 1), (1,))],
)
def test_whole_numbers(value, expected):
    assert schema.whole_numbers("delay", value) == expected


@pytest.mark.parametrize("value", ["x", [], [0, "a"], 1.5, True, None, "1..", "0..4..2", -0.5])
def test_what_is_no_whole_number_is_named_with_examples(value):
    with pytest.raises(errors.ConfigError, match=r"delay=.*not a whole number.*delay=0\.\.4"):
        schema.whole_numbers("delay", value)


def settings_classes():
    for module in (evaluation_settings, training_settings, reporting_settings):
        yield from (cls for cls in vars(module).values() if isinstance(cls, type) and dataclasses.is_dataclass(cls))


NUMBERS = [
    (cls, field.name) for cls in settings_classes() for field in dataclasses.fields(cls) if "float" in str(field.type)
]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e39])
@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_no_setting_of_any_stage_takes_numbers_that_are_not_finite(cls, name, value):
    needed = {field.name: "x" for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
    needed = {key: text for key, text in needed.items() if key in ("task", "run", "strategy")}
    with pytest.raises(errors.ConfigError, match=rf"{name}=.* is not a (finite number|share)"):
        cls.from_mapping({**needed, name: value})


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_nor_does_a_strategy(value):
    with pytest.raises(errors.ConfigError, match=r"max_guidance_weight=.* is not a finite number"):
        registry.build("rtc", max_guidance_weight=value)
    with pytest.raises(errors.ConfigError, match=r"m=.* is not a finite number"):
        temporal_ensembling.TemporalEnsembling(m=value)


def test_sampled_data_neither():
    with pytest.raises(errors.ConfigError, match="sample=inf is not a finite number"):
        training_settings.GenerateDataConfig("x", sample=math.inf)


@pytest.mark.parametrize(
    ("cls", "values", "answer"),
    [
        (
            training_settings.TrainExpertConfig,
            {"envs": 10, "rollout": 10, "minibatches": 8},
            "envs=10 times rollout=10 are 100 samples, which minibatches=8 does not divide; .* minibatches=5",
        ),
        (training_settings.TrainFlowConfig, {"channels": 7}, "channels=7 is odd"),
        (training_settings.TrainFlowConfig, {"token_hidden": 0}, "token_hidden=0 is too small"),
        (training_settings.TrainFlowConfig, {"channel_hidden": 0}, "channel_hidden=0 is too small"),
        (training_settings.TrainFlowConfig, {"seed": 2**32}, "seed=4294967296 is out of range"),
        (training_settings.TrainExpertConfig, {"seed": 2**32 - 4}, "seed=4294967292 is out of range"),
        (training_settings.TrainExpertConfig, {"gamma": 1.5}, "gamma=1.5 is not a share"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_rule(cls, values, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        cls("x", **values)


def test_paths_below_home_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = {"out": "~/runs", "policy": "~/policies", "strategy": ["~/mine.py:Mine", "rtc"]}
    config = evaluation_settings.SweepConfig.from_mapping(values)
    assert (config.out, config.policy) == ("/home/me/runs", "/home/me/policies")
    assert config.strategies == ("/home/me/mine.py:Mine", "rtc")
    assert reporting_settings.ReportConfig.from_mapping({"run": ["~/a", "b"]}).runs == ("/home/me/a", "b")
