"""Two lines to measure against: a world that waits, and a policy that is asked where its chunk will begin."""

import dataclasses
from typing import ClassVar

from rtc_bench.strategies import base, naive


@dataclasses.dataclass(frozen=True)
class Synchronous(naive.Naive):
    """The world stands still while a chunk is inferred: d = 0 at the same s. What patience would give."""

    timing: ClassVar[str] = base.WAITING


@dataclasses.dataclass(frozen=True)
class Oracle(base.Strategy):
    """The policy sees the state that the d committed actions lead to, all of it, simulated without actuation noise."""

    timing: ClassVar[str] = base.FROM_ARRIVAL
    looks_ahead: ClassVar[bool] = True

    def plan(self, policy, request, memory):
        """Plain sampling, of what is seen ahead."""
        return self.sample(policy, request.ahead, request.noise), memory
