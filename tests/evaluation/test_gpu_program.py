"""The program that a GPU gets, run here: it plays all episodes at once, unsorted, and the same ones."""

import jax
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation import evaluator
from rtc_bench.evaluation.latency import schedule
from rtc_bench.strategies import registry


@pytest.mark.parametrize("varying", [False, True])
def test_it_plays_the_same_episodes(monkeypatch, varying):
    names = ("naive", "temporal_ensembling", "bid", "rtc")
    env = line_task.Line(goal=6.0, noise_std=0.5, max_steps=40)
    delays = schedule.Delays(*(np.random.default_rng(0).integers(0, 3, (140, 40), np.int32) for _ in range(2)))
    outcomes = {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        strategies = (registry.build(name, flow_steps=2) for name in names)
        evaluate = evaluator.Evaluator(env, line_task.policy(), *strategies)
        cell = {"seed": 3, "episodes": 140, "delay": 1, "horizon": 2, "delays": delays if varying else None}
        outcomes[backend] = [evaluate(**cell, strategy_index=index) for index in range(len(names))]
    for name, on_cpu, on_gpu in zip(names, outcomes["cpu"], outcomes["gpu"], strict=True):
        assert on_cpu.length.min() < on_cpu.length.max()
        for field in ("solved", "length", "total_reward", "requests", "underruns"):
            np.testing.assert_array_equal(getattr(on_gpu, field), getattr(on_cpu, field), err_msg=f"{name} {field}")
