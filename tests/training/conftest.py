"""Experts, data and settings on the track, a task with an obvious solution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import track_task

from rtc_bench import envs
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data, experts, settings


@pytest.fixture
def on_track(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name, noise_std=0.0, **rest: track_task.Track(noise_std))


def save_expert(path, *, seed, push, **changes):
    """An expert whose mean before squashing is ``push``, and whose file says that it explored by 0.5."""
    expert_config = settings.TrainExpertConfig(task="catapult", width=4, **changes)
    network = experts.build_network(expert_config, track_task.Track())
    params = network.init(jax.random.key(0), jnp.zeros((1, 4 * 7 + 1)))
    params = jax.tree.map(jnp.zeros_like, params)
    params["params"]["Dense_2"]["bias"] = jnp.array([push])
    arrays = {"params": params, "obs_mean": np.zeros(7), "obs_std": np.ones(7), "action_std": np.full(1, 0.5)}
    head = {
        "kind": "expert",
        "solve_rate": 1.0,
        "sampled_solve_rate": 0.9,
        "seed": seed,
        "steps": 1,
        "seconds": 60.0,
        "config": dataclasses.asdict(expert_config),
    }
    checkpoint.save(path, arrays, head)


@pytest.fixture
def expert_saver():
    """(path, seed, push, changed settings): saves an expert that the data's would be mixed with."""
    return save_expert


@pytest.fixture
def data(on_track, tmp_path, lenient):
    """Two experts that push right with different strength, and a short data set of theirs."""
    for seed, push in enumerate((0.6, 1.4)):
        save_expert(tmp_path / "experts" / "catapult" / f"seed{seed}.safetensors", seed=seed, push=push)
    config = settings.GenerateDataConfig(
        task="catapult",
        steps=400,
        experts=str(tmp_path / "experts"),
        batch=16,
        sample="mean",
        out=str(tmp_path / "data"),
        noise_std=0.0,
    )
    return config, expert_data.generate(config)


@pytest.fixture
def small_flow():
    """(data settings, folder) -> settings of a flow policy that trains in a second."""

    def config(data: settings.GenerateDataConfig, folder, **changes) -> settings.TrainFlowConfig:
        values = {"task": "catapult", "data": data.out, "out": str(folder / "flow"), "epochs": 4, "weak_epoch": 1}
        values |= {"batch": 64, "warmup": 5, "eval_every": 2, "eval_episodes": 16, "channels": 8, "channel_hidden": 8}
        return settings.TrainFlowConfig(**{**values, "noise_std": 0.0, **changes})

    return config
