"""Settings: what is accepted, and what each wrong one answers."""

import dataclasses

import pytest

from rtc_bench.common import errors
from rtc_bench.evaluation import settings
from rtc_bench.realtime import execution

PAIRS = [(d, s) for d in range(9) for s in range(1, 9) if d <= s <= 8 - d]


def test_pairs():
    assert settings.delay_horizon_pairs("0..4", "auto", 8) == ((0, 1), (1, 1), (2, 2), (3, 3), (4, 4))
    assert settings.delay_horizon_pairs("0..4", "all", 8) == tuple(PAIRS)
    assert len(PAIRS) == 24
    assert settings.delay_horizon_pairs([0, 2], [3, 5], 8) == ((0, 3), (0, 5), (2, 3), (2, 5))
    assert settings.delay_horizon_pairs(6, "auto", 16) == ((6, 6),)


def test_pairs_where_a_chunk_loses_no_action():
    whole = [(d, s) for d in range(8) for s in range(1, 9) if d <= s]
    assert settings.delay_horizon_pairs("0..7", "all", 8, whole_chunk=True) == tuple(whole)
    assert settings.delay_horizon_pairs([0, 7], 8, 8, whole_chunk=True) == ((0, 8), (7, 8))
    with pytest.raises(errors.ConfigError, match=r"delay=8 .*\(d <= s <= 8\); valid: 0\.\.7"):
        settings.delay_horizon_pairs(8, "auto", 8, whole_chunk=True)
    with pytest.raises(errors.ConfigError, match=r"horizon=4 .*valid for delay=5: 5\.\.8"):
        settings.delay_horizon_pairs(5, 4, 8, whole_chunk=True)


@pytest.mark.parametrize(
    ("delay", "horizon", "answer"),
    [
        (5, "auto", r"delay=5 does not fit a chunk of 8.*valid: 0\.\.4"),
        (-1, "auto", r"delay=-1 .*valid: 0\.\.4"),
        ("4..0", "auto", r"delay=4\.\.0 runs backwards; write delay=0\.\.4"),
        (0, 9, r"horizon=9 does not fit delay=0 and a chunk of 8.*valid for delay=0: 1\.\.8"),
        (0, 0, r"horizon=0 .*valid for delay=0: 1\.\.8"),
        ([0, 3], 2, r"horizon=2 does not fit delay=3.*valid for delay=3: 3\.\.5"),
        (3, 6, r"horizon=6 does not fit delay=3.*3\.\.5"),
        (3, "1..6", r"horizon=1 does not fit delay=3.*3\.\.5"),
        (0, "atuo", r"horizon='atuo'.*horizon=auto"),
    ],
)
def test_pairs_that_break_the_constraint_are_refused_with_the_valid_range(delay, horizon, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        settings.delay_horizon_pairs(delay, horizon, 8)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"delay": "4..0"}, "runs backwards"),
        ({"delay": "x"}, "delay='x'"),
        ({"horizon": "atuo"}, "horizon='atuo'"),
        ({"engine": "slow"}, "engine='slow'.*fast, kinetix"),
        ({"interface": "kinetics"}, "did you mean 'kinetix'"),
        ({"strategy": []}, "strategy=.* is empty"),
        ({"task": []}, "task=.* is empty"),
        ({"task": 3}, "task=3 is not a text or a list"),
        ({"episodes": 0}, "episodes=0 is too small"),
        ({"episodes": "many"}, "episodes='many' is not a whole number"),
        ({"episodes": 1.5}, "episodes=1.5 is not a whole number"),
        ({"episodes": True}, "episodes=True is not a whole number"),
        ({"noise_std": -0.1}, "noise_std=-0.1 is too small"),
        ({"seed": -1}, "seed=-1 is out of range"),
        ({"options": {"rtc": 3}}, r"options\.rtc=3 is not a group"),
        ({"wandb": {"mode": "ofline"}}, "wandb.*mode='ofline'.*did you mean 'offline'.*offline, online, disabled"),
        ({"wandb": "offline"}, "wandb.*'offline' is not a group of settings.*mode"),
        ({"epsodes": 3}, "unknown setting 'epsodes'.*did you mean 'episodes'"),
    ],
)
def test_wrong_settings_name_the_value_and_the_remedy(values, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        settings.SweepConfig.from_mapping(values)


def test_from_mapping_converts_what_yaml_cannot_say():
    config = settings.SweepConfig.from_mapping({"strategy": ["rtc"], "noise_std": 0, "wandb": {"mode": "disabled"}})
    assert config.strategies == ("rtc",)
    assert (config.noise_std, type(config.noise_std)) == (0.0, float)
    assert config.wandb == settings.WandbConfig(mode="disabled")
    assert settings.SweepConfig(strategy="bid").strategies == ("bid",)


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.SweepConfig().seed = 1


def test_underruns_are_the_controller_s():
    assert tuple(execution.UNDERRUNS) == settings.UNDERRUNS
