"""What a strategy is told of the delay that its request will meet, from the delays that were observed before.

The queue of observed delays begins with the sweep's ``delay`` d. By the next request every earlier chunk has arrived, because
inference runs one request at a time.
"""

import dataclasses

import jax.numpy as jnp
from jax import Array

from rtc_bench.common import schema


@dataclasses.dataclass(frozen=True)
class Exact:
    """The delay itself."""

    def told(self, actual: Array, delay: Array) -> Array:
        """Estimates [R] int32 for an episode's requests, which will meet the delays ``actual`` [R]; d is ``delay`` []."""
        del delay
        return actual


@dataclasses.dataclass(frozen=True)
class Constant:
    """d, whatever was observed."""

    def told(self, actual: Array, delay: Array) -> Array:
        """See ``Exact``."""
        return jnp.full_like(actual, delay)


@dataclasses.dataclass(frozen=True)
class Offset:
    """``by`` control steps more than the delay; below 0 counts as 0."""

    by: int = 1

    def told(self, actual: Array, delay: Array) -> Array:
        """See ``Exact``."""
        del delay
        return jnp.maximum(actual + self.by, 0)


@dataclasses.dataclass(frozen=True)
class Quantile:
    """Of the last ``window`` observed delays the smallest that a share ``quantile`` of them does not exceed."""

    window: int = 10
    quantile: float = 0.9

    def __post_init__(self):
        schema.at_least(self, window=1)
        schema.check_shares(self, "quantile")

    def told(self, actual: Array, delay: Array) -> Array:
        """See ``Exact``."""
        count = len(actual)
        queue = jnp.concatenate([jnp.full(self.window - 1, -1), jnp.full(1, delay), actual[:-1]])
        observed = jnp.sort(
            queue[jnp.arange(count)[:, None] + jnp.arange(self.window)[None]], axis=1
        )  # -1: nothing yet
        held = jnp.minimum(jnp.arange(count) + 1, self.window)
        rank = jnp.maximum(jnp.ceil(self.quantile * held.astype(jnp.float32) - 1e-4).astype(jnp.int32), 1)
        return jnp.take_along_axis(observed, (self.window - held + rank - 1)[:, None], axis=1)[:, 0]


@dataclasses.dataclass(frozen=True)
class Max(Quantile):
    """The largest of the last ``window`` observed delays, as in Algorithm 1 of arXiv 2506.07339."""

    quantile: float = dataclasses.field(default=1.0, init=False)


ESTIMATES: dict[str, type] = {
    "exact": Exact,
    "constant": Constant,
    "max": Max,
    "quantile": Quantile,
    "offset": Offset,
}
