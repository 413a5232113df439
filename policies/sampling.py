"""Turning a velocity field into action chunks. Noise is an argument: same noise, same chunk."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array


def times(steps: int) -> np.ndarray:
    """Flow times [steps] of equal Euler steps from 0; added up as in the published code, so that roundings agree."""
    size, time, flow_times = np.float32(1.0 / steps), np.float32(0.0), []
    for _ in range(steps):
        flow_times.append(time)
        time = time + size
    return np.array(flow_times, np.float32)


def euler(velocity: Callable[[Array, Any], Array], noise: Array, modulations: Any) -> Array:
    """Integrate from noise (t = 0) to a chunk (t = 1) in equal Euler steps.

    ``velocity(x_t [B, H, A], modulation)`` -> [B, H, A]; ``noise`` [B, H, A]; ``modulations`` holds n of what it takes for
    a flow time, along the first axis: ``times(n)``, or ``FlowPolicy.time_modulations(n)``.
    """
    size = 1.0 / len(jax.tree.leaves(modulations)[0])

    def step(x_t: Array, modulation: Any) -> tuple[Array, None]:
        return x_t + size * velocity(x_t, modulation), None

    return jax.lax.scan(step, noise, modulations)[0]
