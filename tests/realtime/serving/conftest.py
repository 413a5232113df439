"""A policy with weights that matter, and a server in this process; its answers use NumPy alone, as XLA's threads may wait."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from rtc_bench.policies import flow

ROOT = pathlib.Path(__file__).resolve().parents[2]
OBS, A, H = 3, 2, 8


@pytest.fixture(scope="session")
def policy():
    config = flow.FlowConfig(OBS, A, H, layers=1, channels=8, channel_hidden=8, token_hidden=8)
    leaves, structure = jax.tree.flatten(flow.init(jax.random.key(0), config))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return flow.FlowPolicy(jax.tree.unflatten(structure, noisy), config, jnp.zeros(OBS), jnp.ones(OBS))
