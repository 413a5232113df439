"""How strongly a new chunk is held to the old one, step by step."""

import jax.numpy as jnp
from jax import Array

SCHEDULES = ("exp", "linear", "ones", "zeros")


def prefix_weights(start: Array, end: Array, size: int, schedule: str) -> Array:
    """Weights [size] of RTC's soft mask (arXiv 2506.07339, equation 5).

    Steps before ``start`` (= d) weigh 1, from ``end`` (= H - s) on 0, between them the schedule decides; the end wins
    where the bounds cross::

        i        0 ... start-1 | start ... end-1 | end ... size-1
        exp      1             | falls, convex   | 0
        linear   1             | falls           | 0
        ones     1             | 1               | 0
        zeros    1             | 0               | 0                  (hard masking)
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; schedules: {', '.join(SCHEDULES)}")
    start, end = jnp.minimum(start, end), jnp.asarray(end)
    index = jnp.arange(size)
    if schedule == "ones":
        weights = jnp.ones(size)
    elif schedule == "zeros":
        weights = (index < start).astype(jnp.float32)
    else:
        fall = (end - index).astype(jnp.float32) / (end - start + 1).astype(jnp.float32)
        weights = jnp.clip(fall, 0.0, 1.0)
        if schedule == "exp":
            weights = weights * jnp.expm1(weights) / (jnp.e - 1)
    return jnp.where(index >= end, 0.0, jnp.where(index < start, 1.0, weights))
