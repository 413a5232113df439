"""Real-time chunking (Black, Galliker, Levine 2025, arXiv 2506.07339): inpaint the new chunk onto the old one."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.common import schema
from rtc_bench.policies import flow, sampling
from rtc_bench.strategies import base, prefix_weights


def guidance_weight(time: Array, limit: float, spread: float = 1.0) -> Array:
    """min(limit, (1 - t)/t * (t^2 spread^2 + (1 - t)^2)/((1 - t)^2 spread^2)), the limit at t = 0 (algorithm 1, line 21).

    ``spread``: the data's standard deviation, 1 in the paper.
    """
    rest = 1 - time
    variance = (time * time * spread**2 + rest * rest) / (rest * rest * spread**2)
    raw = jnp.where(time == 0, limit, rest / jnp.where(time == 0, 1.0, time) * variance)
    return jnp.minimum(raw, limit)


def pull(velocity, x_t: Array, time: Array, *, target: Array, weights: Array) -> tuple[Array, Array]:
    """``velocity(x_t)`` [B, H, A] at flow time ``time`` [], and how to change it towards ``target`` [B, H, A].

    As far as ``weights`` [H] say (equations 2 to 4). The change is a vector-Jacobian product of the denoised estimate
    through the network, not the error itself.
    """

    def denoised(x_t: Array) -> tuple[Array, Array]:
        v = velocity(x_t)
        return x_t + (1 - time) * v, v

    estimate, pull_back, v = jax.vjp(denoised, x_t, has_aux=True)
    (change,) = pull_back((target - estimate) * weights[None, :, None])
    return v, change


def pull_by_error(velocity, x_t: Array, time: Array, *, target: Array, weights: Array) -> tuple[Array, Array]:
    """The same with the identity in the Jacobian's place: no gradient."""
    v = velocity(x_t)
    return v, (target - (x_t + (1 - time) * v)) * weights[None, :, None]


@dataclasses.dataclass(frozen=True)
class Rtc(base.Strategy):
    """Steps that will be executed before the new chunk is there are held firmly, later ones ever more loosely."""

    schedule: str = "exp"  # prefix_attention_schedule
    max_guidance_weight: float | None = 5.0  # beta; null: n, the number of flow steps
    takes_gradients: ClassVar[bool] = True  # a vector-Jacobian product; else the identity in the Jacobian's place
    takes_velocity: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        schema.one_of(self, schedule=prefix_weights.SCHEDULES)
        if self.max_guidance_weight is not None:
            schema.at_least(self, max_guidance_weight=0)

    @property
    def limit(self) -> float:
        """Of the guidance weight."""
        return float(self.flow_steps) if self.max_guidance_weight is None else self.max_guidance_weight

    def guidance(self, time: Array) -> Array:
        """How strongly the velocity is pulled at a flow time []."""
        return guidance_weight(time, self.limit)

    def plan(self, policy, request, memory):
        """Euler steps of the guided velocity."""
        size = request.previous.shape[1]
        weights = prefix_weights.prefix_weights(request.delay, size - request.horizon, size, self.schedule)
        pull_to_target = pull if self.takes_gradients else pull_by_error

        def velocity(x_t: Array, modulation: flow.TimeModulation) -> Array:
            def plain(x_t: Array) -> Array:
                return policy.velocity(request.obs, x_t, modulation)

            v, change = pull_to_target(plain, x_t, modulation.time, target=request.previous, weights=weights)
            return v + self.guidance(modulation.time) * change

        return sampling.euler(velocity, request.noise, policy.time_modulations(self.flow_steps)), memory
