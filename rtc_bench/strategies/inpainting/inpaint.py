"""Overwriting, in the manner of Diffuser (Janner et al. 2022, arXiv 2205.09991): the steps that are fixed, noised, at
every flow step."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import flow, sampling
from rtc_bench.strategies import base


@dataclasses.dataclass(frozen=True)
class Inpaint(base.Strategy):
    """Before each flow step the first d actions are (1 - t) noise + t times the old chunk's. No gradient."""

    takes_velocity: ClassVar[bool] = True

    def plan(self, policy, request, memory):
        """Euler steps, each from an overwritten chunk."""
        fixed = (jnp.arange(request.previous.shape[1]) < request.delay)[None, :, None]

        def overwritten(x_t: Array, time: Array) -> Array:
            noised = (1 - time) * request.noise + time * request.previous
            return jnp.where(fixed, noised, x_t)

        def velocity(x_t: Array, modulation: flow.TimeModulation) -> Array:
            # The fixed actions' own velocity does not matter: the next step overwrites what it makes of them.
            return policy.velocity(request.obs, overwritten(x_t, modulation.time), modulation)

        new = sampling.euler(velocity, request.noise, policy.time_modulations(self.flow_steps))
        return jnp.where(fixed, request.previous, new), memory  # also executed, if the chunk comes before it is said to
