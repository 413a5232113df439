"""RTC whose guidance knows how far the data spread, instead of 1: a practitioners' variant, taken up around LeRobot."""

import dataclasses
from typing import ClassVar

from jax import Array

from rtc_bench.common import errors, schema
from rtc_bench.policies import flow, sampling
from rtc_bench.strategies import base, prefix_weights, rtc


@dataclasses.dataclass(frozen=True)
class RtcSigma(base.Strategy):
    """The narrower the data, the stronger the pull. At n = 5 and the default spread all five steps pull as much as the limit
    allows: the guidance is then a constant 5.
    """

    spread: float = 0.4  # sigma_d, standard deviation of the data's actions
    schedule: str = "exp"
    max_guidance_weight: float | None = None  # null: n, the number of flow steps
    part: ClassVar[int | None] = 32
    takes_gradients: ClassVar[bool] = True  # a vector-Jacobian product; else the identity in the Jacobian's place
    takes_velocity: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        schema.one_of(self, schedule=prefix_weights.SCHEDULES)
        if not self.spread > 0:
            raise errors.ConfigError(f"spread={self.spread} is out of range; it must be above 0")
        if self.max_guidance_weight is not None:
            schema.at_least(self, max_guidance_weight=0)

    def plan(self, policy, request, memory):
        """Euler steps of the guided velocity."""
        size = request.previous.shape[1]
        weights = prefix_weights.prefix_weights(request.delay, size - request.horizon, size, self.schedule)
        limit = float(self.flow_steps) if self.max_guidance_weight is None else self.max_guidance_weight

        def velocity(x_t: Array, modulation: flow.TimeModulation) -> Array:
            def plain(x_t: Array) -> Array:
                return policy.velocity(request.obs, x_t, modulation)

            guidance = rtc.guidance_weight(modulation.time, limit, self.spread)
            pull = rtc.pull if self.takes_gradients else rtc.pull_by_error
            v, correction = pull(plain, x_t, modulation.time, target=request.previous, weights=weights)
            return v + guidance * correction

        return sampling.euler(velocity, request.noise, policy.time_modulations(self.flow_steps)), memory


@dataclasses.dataclass(frozen=True)
class RtcSigmaIdentity(RtcSigma):
    """The pull is the error itself, without a gradient."""

    takes_gradients: ClassVar[bool] = False
