"""Experts, data and settings on the track, a task with an obvious solution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import track

import envs
from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import dataset, experts


@pytest.fixture
def on_track(monkeypatch):
    monkeypatch.setattr(envs, "make", lambda name, noise_std=0.0, **rest: track.Track(noise_std))


@pytest.fixture
def data(on_track, tmp_path, lenient):
    """Two experts that push right with different strength, and a short data set of theirs."""
    settings = configs.ExpertConfig(task="catapult", width=4)
    env = track.Track()
    network = experts.network_of(settings, env)
    for seed, push in enumerate((0.6, 1.4)):
        params = network.init(jax.random.key(0), jnp.zeros((1, 4 * 7 + 1)))
        params = jax.tree.map(jnp.zeros_like, params)
        params["params"]["Dense_2"]["bias"] = jnp.array([push])  # the mean before squashing
        arrays = {"params": params, "obs_mean": np.zeros(7), "obs_std": np.ones(7)}
        head = {"kind": "expert", "solve_rate": 1.0, "seed": seed, "steps": 1, "config": dataclasses.asdict(settings)}
        checkpoint.save(tmp_path / "experts" / "catapult" / f"seed{seed}.safetensors", arrays, head)
    config = configs.DataConfig(
        task="catapult",
        steps=400,
        experts=str(tmp_path / "experts"),
        batch=16,
        out=str(tmp_path / "data"),
        noise_std=0.0,
    )
    return config, dataset.generate(config)


@pytest.fixture
def small_flow():
    """(data settings, folder) -> settings of a flow policy that trains in a second."""

    def settings(data: configs.DataConfig, folder, **changes) -> configs.TrainFlowConfig:
        given = {"task": "catapult", "data": data.out, "out": str(folder / "flow"), "epochs": 4, "weak_epoch": 1}
        given |= {"batch": 64, "warmup": 5, "eval_every": 2, "eval_episodes": 16, "channels": 8, "channel_hidden": 8}
        return configs.TrainFlowConfig(**{**given, "noise_std": 0.0, **changes})

    return settings
