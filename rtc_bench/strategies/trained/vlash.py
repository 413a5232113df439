"""VLASH (Tang et al. 2025, arXiv 2512.01031): a policy that sees where the robot itself will be when its chunk begins."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from rtc_bench.strategies import base
from rtc_bench.strategies.trained import adapted


@dataclasses.dataclass(frozen=True)
class Vlash(adapted.Adapted):
    """The robot's part of the observation is rolled forward by the d committed actions; the rest is as it was seen.

    The robot are the moving bodies without a role. A model of it is what this asks for beyond an observation.
    """

    timing: ClassVar[str] = base.FROM_ARRIVAL
    looks_ahead: ClassVar[bool] = True
    training: ClassVar[base.TrainingStage | None] = base.TrainingStage("vlash")

    def objective(self, policy, base_policy, batch, key):
        """Flow matching of the chunk that begins d steps later, d drawn evenly, within the episode."""
        horizon = policy.config.horizon
        delay_key, key = jax.random.split(key)
        delay = adapted.draw_delays(delay_key, len(batch.obs), horizon, falling=False)
        delay = jnp.minimum(delay, batch.inside.sum(1) - 1)
        later = jnp.take_along_axis(batch.obs, delay[:, None, None], axis=1)[:, 0]
        obs = jnp.where(batch.own[None], later, batch.obs[:, 0])
        steps = delay[:, None] + jnp.arange(horizon)[None]
        action = jnp.take_along_axis(batch.action, steps[..., None], axis=1)
        return adapted.flow_matching_loss(policy, obs, action, key)

    def plan(self, policy, request, memory):
        """Plain sampling, of the mixed observation."""
        obs = jnp.where(request.own[None], request.ahead, request.obs)
        return self.sample(policy, obs, request.noise), memory
