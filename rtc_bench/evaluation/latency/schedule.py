"""The delays of a sweep: a model of what requests meet, and an estimate of it that strategies are told."""

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import errors, schema
from rtc_bench.evaluation.latency import estimates, models

TRACE = "delay trace"  # in a run's identity: the digest of measured delays
PURPOSE = 3  # what an episode's random numbers at control step 0 are for; the evaluator uses 0 to 2


class Delays(NamedTuple):
    """Of every episode's requests in turn, [E, R] int32, control steps."""

    actual: Any  # between request and arrival
    told: Any  # what the strategy is told


@dataclasses.dataclass(frozen=True)
class Latency:
    """A model of delay and an estimate."""

    model: Any
    estimate: Any

    @property
    def varies(self) -> bool:
        """Whether a request can meet, or be told, anything but d."""
        return not isinstance(self.model, models.Constant) or isinstance(self.estimate, estimates.Offset)

    def digests(self) -> dict[str, str]:
        """Of what delays depend on besides settings: a trace's file."""
        return {TRACE: self.model.digest()} if isinstance(self.model, models.Trace) else {}

    def draw(self, *, seed: int, first: int, episodes: int, requests: int, delay: int) -> Delays:
        """What ``requests`` (R) requests of each of ``episodes`` (E) episodes meet and are told, as NumPy arrays.

        ``first`` is the number of the first episode. An episode's delays depend on seed, number and d alone.
        """
        numbers = jnp.arange(first, first + episodes, dtype=jnp.uint32)
        drawn = _draw(self, jax.random.key(seed), numbers, jnp.int32(delay), requests=requests)
        return Delays(*(np.asarray(rows) for rows in drawn))


@functools.partial(jax.jit, static_argnames=("latency", "requests"))
def _draw(latency: Latency, key: Array, numbers: Array, delay: Array, *, requests: int) -> Delays:
    def of_episode(number: Array) -> Delays:
        own = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, number), 0), PURPOSE)
        actual = latency.model.draw(own, requests, delay)
        return Delays(actual, latency.estimate.told(actual, delay))

    return jax.vmap(of_episode)(numbers)


def build(model: str, estimate: str, options: Mapping[str, Any]) -> Latency:
    """From the names of a model and an estimate, and the settings of both. Raises ConfigError."""
    names = types.SimpleNamespace(delay_model=model, delay_estimate=estimate)
    schema.one_of(names, delay_model=tuple(models.MODELS), delay_estimate=tuple(estimates.ESTIMATES))
    classes = {"delay_model": models.MODELS[model], "delay_estimate": estimates.ESTIMATES[estimate]}
    settings = {setting: [field.name for field in _fields(cls)] for setting, cls in classes.items()}
    known = [name for names in settings.values() for name in names]
    for name in options:
        if name not in known:
            near = errors.did_you_mean(name, known)
            raise errors.ConfigError(
                f"delay_options.{name} is no setting of delay_model={model} or delay_estimate={estimate}{near}; "
                f"settings: {', '.join(known) or 'none'}"
            )
    built = {}
    for setting, cls in classes.items():
        for field in _fields(cls):
            if field.default is dataclasses.MISSING and field.name not in options:
                raise errors.ConfigError(f"{setting}={model} needs delay_options.{field.name}=")
        own = {name: value for name, value in options.items() if name in settings[setting]}
        try:
            built[setting] = cls(**schema.check_types(cls, own))
        except errors.ConfigError as error:
            raise errors.ConfigError(f"delay_options: {error}") from None
    return Latency(built["delay_model"], built["delay_estimate"])


def _fields(cls: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(cls) if field.init]
