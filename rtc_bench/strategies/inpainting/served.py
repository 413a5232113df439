"""Inpainting that a policy server does itself, by the strategy that it was started with."""

import dataclasses

from rtc_bench.common import errors
from rtc_bench.strategies import base


@dataclasses.dataclass(frozen=True)
class Served(base.Strategy):
    """The old chunk, d and s go with the observation to the server. How many flow steps it takes is its own affair."""

    def check(self, policy):
        """Only a policy server holds chunks to one another."""
        if not getattr(policy, "continues_chunks", False):
            raise errors.ConfigError(
                "served hands the old chunk to a policy server, and this policy is none; start one with "
                f"`{errors.command('serve')}` and give policy=ws://host:port, or use another strategy"
            )

    def plan(self, policy, request, memory):
        """The server's answer."""
        return policy.continued(request.obs, request.noise, request.previous, request.delay, request.horizon), memory
