"""REMAC (arXiv 2601.20130): low-rank adapters for chunks whose executed prefix is held and not learned."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import flow, sampling
from rtc_bench.strategies import base
from rtc_bench.strategies.trained import adapted


@dataclasses.dataclass(frozen=True)
class Remac(adapted.Adapted):
    """The first d actions are held at the old chunk's at every flow step; the adapters learn to make the rest fit.

    In training the prefix is, at first, the data's, and more and more the frozen policy's own denoised prediction.
    """

    training: ClassVar[base.TrainingStage | None] = base.TrainingStage("remac", average=0.999)

    def objective(self, policy, base_policy, batch, key):
        """Flow matching for the actions behind a prefix, whose length d is drawn evenly."""
        obs, action = batch.obs[:, 0], batch.action[:, : policy.config.horizon]
        delay_key, mix_key, key = jax.random.split(key, 3)
        time, noise = adapted.flow_draws(key, action.shape)
        t = time[:, None, None]
        x_t = (1 - t) * noise + t * action
        delay = adapted.draw_delays(delay_key, len(action), action.shape[1], falling=False)
        prefix = jnp.arange(action.shape[1])[None] < delay[:, None]
        predicted = x_t + (1 - t) * base_policy.velocity(obs, x_t, time)
        held = jnp.where(jax.random.uniform(mix_key, t.shape) < 1 - batch.progress, action, predicted)
        x_t = jnp.where(prefix[..., None], held, x_t)
        return adapted.masked_mean((policy.velocity(obs, x_t, time) - (action - noise)) ** 2, ~prefix)

    def plan(self, policy, request, memory):
        """Euler steps with the prefix held."""
        fixed = (jnp.arange(request.previous.shape[1]) < request.delay)[None, :, None]

        def velocity(x_t: Array, modulation: flow.TimeModulation) -> Array:
            return policy.velocity(request.obs, jnp.where(fixed, request.previous, x_t), modulation)

        new = sampling.euler(velocity, request.noise, policy.time_modulations(self.flow_steps))
        return jnp.where(fixed, request.previous, new), memory  # also executed, if the chunk comes before it is said to
