"""A policy, an expert and data of the track, as files; for tests of what is trained from them."""

import dataclasses

import jax
import jax.numpy as jnp
import line_task
import numpy as np
import track_task

from rtc_bench.common import files
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data, experts
from rtc_bench.training import settings as training_settings

TASK = "catapult"  # whose name the track takes


def save_policy(file, mean=0.0):
    """Its chunks are the noise; ``mean`` makes it another file."""
    policy = dataclasses.replace(line_task.policy(obs_size=7), obs_mean=np.full(7, mean, np.float32))
    checkpoint.save_flow(file, policy, {"task": TASK, "interface": "compact"})


def save_expert(file, push, solve_rate=1.0, seed=0):
    """An expert whose mean action is ``tanh(push)``, wherever it is."""
    config = training_settings.TrainExpertConfig(task=TASK, width=4, history=2)
    network = experts.build_network(config, track_task.Track())
    params = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), jnp.zeros((1, 2 * 7 + 1))))
    params["params"]["Dense_2"]["bias"] = jnp.array([push])
    arrays = {"params": params, "obs_mean": np.zeros(7), "obs_std": np.ones(7), "action_std": np.full(1, 0.5)}
    header = {
        "kind": "expert",
        "solve_rate": solve_rate,
        "seed": seed,
        "steps": 1,
        "config": dataclasses.asdict(config),
    }
    checkpoint.save(file, arrays, header)


def write_data(folder, action=0.4):
    """20 episodes of 10 steps, as ``generate_data.py`` leaves them; an observation says which step of the data it is."""
    count = 200
    obs = np.repeat(np.arange(count, dtype=np.float32)[:, None], 7, 1) / 100
    actions, episode = np.full((count, 1), action, np.float32), np.repeat(np.arange(20), 10)
    steps = expert_data.ExpertSteps(obs, actions, episode, np.zeros(count, bool))
    part = folder / "part-0000.parquet"
    files.write_parquet(part, expert_data._table(steps, first_episode=0, first_index=0, task=0, dt=1 / 30))
    manifest = {"parts": [{"file": part.name, "sha256": files.sha256(part)}], "solve_rate": 1.0}
    files.write_manifest(folder / "manifest.json", {**manifest, "steps": count, "episodes": 20})
