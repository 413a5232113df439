"""PAINT (arXiv 2606.19774): find the noise that leads to the old chunk's steps, and start from it."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import flow, sampling
from rtc_bench.strategies import base


@dataclasses.dataclass(frozen=True)
class Paint(base.Strategy):
    """Three integrations instead of one, and no gradient.

    A plain chunk; the same chunk with its first d actions from the old one, carried back to noise; a chunk from the plain
    one's noise with the first d steps of that.
    """

    takes_velocity: ClassVar[bool] = True

    def plan(self, policy, request, memory):
        """Forward, backward, forward."""
        fixed = (jnp.arange(request.previous.shape[1]) < request.delay)[None, :, None]
        modulations = policy.time_modulations(self.flow_steps)
        plain = self.sample(policy, request.obs, request.noise)
        target = jnp.where(fixed, request.previous, plain)

        def back(x_t: Array, modulation: flow.TimeModulation) -> tuple[Array, None]:
            return x_t - policy.velocity(request.obs, x_t, modulation) / self.flow_steps, None

        noise, _ = jax.lax.scan(back, target, modulations, reverse=True)
        start = jnp.where(fixed, noise, request.noise)
        return sampling.euler(
            lambda x_t, modulation: policy.velocity(request.obs, x_t, modulation), start, modulations
        ), memory
