"""A strategy that learns one number for each action dimension, for tests of training stages and of what they leave."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from rtc_bench.strategies import base, naive


@dataclasses.dataclass(frozen=True)
class Shift(naive.Naive):
    """Naive chunks, shifted by what brings them nearest to the data's."""

    share: float = 1.0
    training: ClassVar = base.TrainingStage("shift", epochs=3, batch=32, learning_rate=0.01, warmup=2)

    def initial_weights(self, policy, key):
        return {"shift": jnp.zeros((1, policy.config.action_size))}

    def loss(self, policy, weights, batch, key):
        horizon = policy.config.horizon
        noise = 0.1 * jax.random.normal(key, batch.action[:, :horizon].shape)
        chunk = self.sample(policy, batch.obs[:, 0], noise) + weights["shift"][None]
        error = (chunk - batch.action[:, :horizon]) ** 2
        return error.mean(where=batch.inside[..., None])

    def correct(self, policy, obs, action, index, memory):
        return action + self.share * self.weights(policy)["shift"]
