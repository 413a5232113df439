"""RTC whose guidance knows how far the data spread, instead of 1: a practitioners' variant, taken up around LeRobot."""

import dataclasses
from typing import ClassVar

from rtc_bench.common import errors
from rtc_bench.strategies import rtc


@dataclasses.dataclass(frozen=True)
class RtcSigma(rtc.Rtc):
    """The narrower the data, the stronger the pull. At n = 5 and the default spread all five steps pull as much as the limit
    allows: the guidance is then a constant 5.
    """

    max_guidance_weight: float | None = None
    spread: float = 0.4  # sigma_d, standard deviation of the data's actions

    def __post_init__(self):
        super().__post_init__()
        if not self.spread > 0:
            raise errors.ConfigError(f"spread={self.spread} is out of range; it must be above 0")

    def guidance(self, time):
        """RTC's, with the spread."""
        return rtc.guidance_weight(time, self.limit, self.spread)


@dataclasses.dataclass(frozen=True)
class RtcSigmaIdentity(RtcSigma):
    """The pull is the error itself, without a gradient."""

    takes_gradients: ClassVar[bool] = False
