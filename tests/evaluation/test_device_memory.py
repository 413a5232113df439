"""How many episodes are played at once, and what happens where a device has no memory for them. Limits and errors are made up."""

import jax
import line_task
import numpy as np
import pytest

from rtc_bench.common import devices, errors
from rtc_bench.evaluation import evaluator, settings
from rtc_bench.strategies import registry

EPISODES = 100
CELL = {"seed": 3, "episodes": EPISODES, "delay": 1, "horizon": 2}


def build(batch=None):
    env = line_task.Line(goal=6.0, noise_std=0.5)
    return evaluator.Evaluator(env, line_task.policy(), registry.build("naive", flow_steps=2), batch=batch)


@pytest.fixture(scope="module")
def expected():
    return build(batch=EPISODES)(**CELL)


class Device:
    """An evaluator's function on a device that has memory for ``most`` episodes; it notes how many it plays."""

    def __init__(self, function, most, message="RESOURCE_EXHAUSTED: Out of memory while trying to allocate"):
        self.function, self.most, self.message, self.played = function, most, message, []

    def _check(self, arguments):
        count = arguments[3].size
        if count > self.most:
            raise jax.errors.JaxRuntimeError(self.message)
        return count

    def __call__(self, *arguments):
        self.played.append(self._check(arguments))
        return self.function(*arguments)

    def lower(self, *arguments):
        self._check(arguments)
        return self.function.lower(*arguments)


def check_same(outcomes, expected):
    for name in ("solved", "total_reward", "length", "requests"):
        np.testing.assert_array_equal(getattr(outcomes, name), getattr(expected, name), err_msg=name)


def test_a_device_that_does_not_say_what_it_has_plays_512_and_nothing_is_said(capsys):
    assert devices.memory_limit() is None  # a CPU
    evaluate = build()
    evaluate.compile(EPISODES)
    assert evaluate.episodes_per_device * evaluate.devices == 512
    assert capsys.readouterr().out == ""


def test_all_episodes_at_once_where_memory_allows_and_a_line_says_so(monkeypatch, capsys, expected):
    monkeypatch.setattr(devices, "memory_limit", lambda: 78 * 2**30)
    evaluate = build()
    evaluate.compile(EPISODES)
    evaluate._sharded = Device(evaluate._sharded, EPISODES)
    check_same(evaluate(**CELL), expected)
    assert evaluate._sharded.played == [EPISODES]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("line: 100 episodes at once, some ")
    assert line.endswith(" of 78 GiB")


def test_fewer_where_the_program_would_need_more_than_there_is(monkeypatch, capsys, expected):
    needed = devices.program_bytes(build().lower(EPISODES).compile())
    monkeypatch.setattr(devices, "memory_limit", lambda: needed / 1.5 / evaluator.SHARE)
    evaluate = build()
    evaluate.compile(EPISODES)
    evaluate._sharded = Device(evaluate._sharded, EPISODES)
    check_same(evaluate(**CELL), expected)
    assert evaluate._sharded.played == [50, 50]
    refused, fitting = capsys.readouterr().out.splitlines()
    assert "no memory for 100 episodes at once (100 episodes at once, some" in refused
    assert "going on with 50" in refused
    assert fitting.startswith("line: 50 episodes at once")


@pytest.mark.parametrize("compiles_first", [True, False])
def test_memory_that_runs_out_all_the_same_costs_half_the_batch_and_no_result(compiles_first, capsys, expected):
    evaluate = build(batch=EPISODES)
    if compiles_first:
        evaluate.compile(EPISODES)
    evaluate._sharded = Device(evaluate._sharded, 60)
    check_same(evaluate(**CELL), expected)
    assert evaluate._sharded.played == [50, 50]
    check_same(evaluate(**CELL), expected)
    assert evaluate._sharded.played == [50] * 4
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("line: the device has no memory for 100 episodes at once; going on with 50")


def test_memory_that_runs_out_while_compiling(capsys):
    evaluate = build(batch=EPISODES)
    evaluate._sharded = Device(evaluate._sharded, 60)
    evaluate.compile(EPISODES)
    assert evaluate._compiled_count == 50
    assert "going on with 50" in capsys.readouterr().out


def test_no_memory_for_a_few_episodes_is_one_line():
    evaluate = build(batch=EPISODES)
    evaluate._sharded = Device(evaluate._sharded, 0)
    with pytest.raises(errors.ConfigError, match="no memory for 50 episodes at once; end other programs on it"):
        evaluate(**CELL)


def test_another_error_is_not_taken_for_it():
    evaluate = build(batch=EPISODES)
    evaluate._sharded = Device(evaluate._sharded, 0, "INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        evaluate(**CELL)


@pytest.mark.parametrize("batch", ["many", 0])
def test_a_batch_is_a_number_or_auto(batch):
    with pytest.raises(errors.ConfigError, match="give auto, or one from 1 on"):
        settings.SweepConfig(batch=batch)
