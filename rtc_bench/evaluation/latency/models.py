"""Models of delay: what each request of an episode meets, in control steps, around or on top of the sweep's ``delay`` d.

An episode's delays are drawn from its own key, one for each request in turn, so that strategies which ask equally often meet
the same ones.
"""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import schema
from rtc_bench.evaluation.latency import traces

LARGEST = traces.LARGEST  # control steps; longer delays count as this


@dataclasses.dataclass(frozen=True)
class Constant:
    """d, always."""

    def draw(self, key: Array, count: int, delay: Array) -> Array:
        """Delays [count] int32 of an episode's requests, for d = ``delay`` []."""
        del key
        return jnp.full(count, delay, jnp.int32)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """d plus a whole number from -``spread`` to ``spread``; below 0 counts as 0."""

    spread: int = 1  # control steps

    def __post_init__(self):
        schema.at_least(self, spread=0)

    def draw(self, key: Array, count: int, delay: Array) -> Array:
        """See ``Constant``."""
        return _valid(delay + jax.random.randint(key, (count,), -self.spread, self.spread + 1))


@dataclasses.dataclass(frozen=True)
class Lognormal:
    """d times a lognormal factor of mean 1, rounded to whole control steps."""

    sigma: float = 0.5  # standard deviation of the factor's logarithm

    def __post_init__(self):
        schema.at_least(self, sigma=0)

    def draw(self, key: Array, count: int, delay: Array) -> Array:
        """See ``Constant``."""
        factor = jnp.exp(self.sigma * jax.random.normal(key, (count,)) - self.sigma**2 / 2)
        return _valid(jnp.round(delay.astype(jnp.float32) * factor).astype(jnp.int32))


@dataclasses.dataclass(frozen=True)
class Bursts:
    """Two states: calm, d; in a burst, d and ``extra``. A Markov chain over requests, calm at first."""

    extra: int = 4  # control steps
    enter: float = 0.05  # probability to go from calm to burst between two requests
    leave: float = 0.25  # and back

    def __post_init__(self):
        schema.at_least(self, extra=0)
        schema.check_shares(self, "enter", "leave")

    def draw(self, key: Array, count: int, delay: Array) -> Array:
        """See ``Constant``."""

        def next_state(burst: Array, uniform: Array) -> tuple[Array, Array]:
            return jnp.where(burst, uniform >= self.leave, uniform < self.enter), burst

        _, burst = jax.lax.scan(next_state, jnp.bool_(False), jax.random.uniform(key, (count,)))
        return _valid(delay + self.extra * burst.astype(jnp.int32))


@dataclasses.dataclass(frozen=True)
class Spikes:
    """d, and with probability ``share`` ``extra`` more, each request for itself."""

    extra: int = 8  # control steps
    share: float = 0.05

    def __post_init__(self):
        schema.at_least(self, extra=0)
        schema.check_shares(self, "share")

    def draw(self, key: Array, count: int, delay: Array) -> Array:
        """See ``Constant``."""
        return _valid(delay + self.extra * jax.random.bernoulli(key, self.share, (count,)).astype(jnp.int32))


@dataclasses.dataclass(frozen=True)
class Trace:
    """Measured milliseconds, one inference after another, from a random place of the file on; d is added.

    A chunk acts from the first control step after its arrival on. Behind the file's end follows its beginning.
    """

    file: str  # CSV or Parquet, or a shipped one: wired, wireless
    column: str = "ms"

    steps: tuple[int, ...] = dataclasses.field(default=(), init=False, repr=False)  # as read when this was made

    def __post_init__(self):
        steps = traces.control_steps(traces.read(self.file, self.column))
        object.__setattr__(self, "steps", tuple(steps.tolist()))

    def draw(self, key: Array, count: int, delay: Array) -> Array:
        """See ``Constant``."""
        start = jax.random.randint(key, (), 0, len(self.steps))
        return _valid(delay + jnp.asarray(self.steps)[(start + jnp.arange(count)) % len(self.steps)])

    def digest(self) -> str:
        """Of the delays, since a file may change."""
        return hashlib.sha256(np.array(self.steps, np.int32).tobytes()).hexdigest()[:12]


MODELS: dict[str, type] = {
    "constant": Constant,
    "uniform": Uniform,
    "lognormal": Lognormal,
    "bursts": Bursts,
    "spikes": Spikes,
    "trace": Trace,
}


def _valid(delays: Array) -> Array:
    return jnp.clip(delays, 0, LARGEST)


def percentiles(delays: np.ndarray) -> dict[str, float]:
    """Median, 95th and 99th percentile of delays: the smallest that at least such a share does not exceed."""
    names = {"delay_p50": 50, "delay_p95": 95, "delay_p99": 99}
    return {name: float(np.percentile(delays, q, method="inverted_cdf")) for name, q in names.items()}
