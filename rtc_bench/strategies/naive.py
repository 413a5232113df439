"""Naive asynchronous execution: the new chunk replaces the old one as soon as it is there."""

import dataclasses

from rtc_bench.strategies import base


@dataclasses.dataclass(frozen=True)
class Naive(base.Strategy):
    """No attention is paid to the old chunk, so actions jump where chunks meet."""

    def plan(self, policy, request, memory):
        """Plain sampling."""
        return self.sample(policy, request.obs, request.noise), memory
