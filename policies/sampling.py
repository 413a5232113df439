"""Turning a velocity field into action chunks. Noise is an argument: same noise, same chunk."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def euler(velocity: Callable[[Array, Array], Array], noise: Array, *, steps: int) -> Array:
    """Integrate from noise (t = 0) to a chunk (t = 1) in ``steps`` equal Euler steps.

    ``velocity(x_t [B, H, A], time [])`` -> [B, H, A]; ``noise`` [B, H, A].
    """

    size = 1.0 / steps

    def step(carry: tuple[Array, Array], _) -> tuple[tuple[Array, Array], None]:
        x_t, time = carry  # time is added up as in the published code, so that roundings agree
        return (x_t + size * velocity(x_t, time), time + size), None

    return jax.lax.scan(step, (noise, jnp.zeros((), noise.dtype)), length=steps)[0][0]
