"""A strategy in one file: fade from the old chunk to the new one. Try it with

python scripts/compare.py strategy=examples/blend.py:Blend baseline=[naive,rtc]
"""

import dataclasses

import jax.numpy as jnp

from rtc_bench.strategies import base


@dataclasses.dataclass(frozen=True)
class Blend(base.Strategy):
    """Fade from the old chunk to the new one over the steps that they share."""

    steps: int = 3  # control steps of the fade

    def plan(self, policy, request, memory):
        """``request.delay`` (d) and ``request.horizon`` (s) are traced: no Python branches on them."""
        new = self.sample(policy, request.obs, request.noise)  # [B, H, A], index 0 is the next control step
        index = jnp.arange(new.shape[1])
        shared = index < new.shape[1] - request.horizon  # request.previous is 0 beyond its end
        fade = jnp.clip((index - request.delay + 1) / (self.steps + 1), 0.0, 1.0)
        weight = jnp.where(shared, fade, 1.0)[None, :, None]
        return (1 - weight) * request.previous + weight * new, memory
