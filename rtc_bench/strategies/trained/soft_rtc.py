"""Soft RTC (arXiv 2605.25537): training-time RTC whose prefix fades out, instead of ending."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from rtc_bench.common import schema
from rtc_bench.strategies import base
from rtc_bench.strategies.trained import tt_rtc


@dataclasses.dataclass(frozen=True)
class SoftRtc(tt_rtc.TtRtc):
    """An action is given by a share w: 1 before d, then falling linearly to 0 at min(ceil(window d), H / 2 + 1).

    The network sees w times the old action plus 1 - w times the noisy one, at flow time w + (1 - w) t. With window = 1
    nothing fades, and it is training-time RTC.
    """

    window: float = 2.0  # N
    training: ClassVar[base.TrainingStage | None] = base.TrainingStage("soft_rtc")

    def __post_init__(self):
        super().__post_init__()
        schema.at_least(self, window=1)

    def given(self, delay: Array, horizon: int) -> Array:
        """The shares w [H] for a delay []."""
        delay = delay.astype(jnp.float32)
        end = jnp.minimum(jnp.ceil(self.window * delay), horizon // 2 + 1)
        index = jnp.arange(float(horizon))
        fall = jnp.clip((end - index) / (jnp.maximum(end - delay, 0) + 1), 0.0, 1.0)
        return jnp.where(index < delay, 1.0, fall)
