"""Training-time RTC (Black et al. 2025, arXiv 2512.05964): a policy that was trained to go on from a given prefix."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import sampling
from rtc_bench.strategies import base
from rtc_bench.strategies.trained import adapted


@dataclasses.dataclass(frozen=True)
class TtRtc(adapted.Adapted):
    """Every action of a chunk has a flow time of its own; those that will be executed anyway are given, at time 1.

    One evaluation a flow step, no gradient.
    """

    training: ClassVar[base.TrainingStage | None] = base.TrainingStage("tt_rtc")

    def given(self, delay: Array, horizon: int) -> Array:
        """How far each action of a chunk is given [H], from 0 (noise) to 1 (clean), for a delay []."""
        return (jnp.arange(horizon) < delay).astype(jnp.float32)

    def objective(self, policy, base_policy, batch, key):
        """Flow matching for the actions that are not given; delays are drawn, shorter ones more often."""
        action = batch.action[:, : policy.config.horizon]
        delay_key, key = jax.random.split(key)
        time, noise = adapted.flow_draws(key, action.shape)
        delay = adapted.draw_delays(delay_key, len(action), action.shape[1], falling=True)
        given = jax.vmap(lambda delay: self.given(delay, action.shape[1]))(delay)
        times = given + (1 - given) * time[:, None]  # [K, H]
        x_t = (1 - times)[..., None] * noise + times[..., None] * action
        error = (policy.velocity(batch.obs[:, 0], x_t, times) - (action - noise)) ** 2
        return adapted.masked_mean(error, given < 1)

    def plan(self, policy, request, memory):
        """Euler steps, with the given actions mixed in before each."""
        size = request.previous.shape[1]
        given = self.given(request.delay, size)
        share = given[None, :, None]

        def mixed(x_t: Array) -> Array:
            return share * request.previous + (1 - share) * x_t

        def velocity(x_t: Array, time: Array) -> Array:
            return policy.velocity(request.obs, mixed(x_t), (given + (1 - given) * time)[None])

        return mixed(sampling.euler(velocity, request.noise, jnp.asarray(sampling.times(self.flow_steps)))), memory
