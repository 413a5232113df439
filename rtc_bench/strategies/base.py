"""What a strategy is: a request for a chunk in, a chunk out."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

from jax import Array

from rtc_bench.common import schema
from rtc_bench.policies import flow, sampling

Memory = Any  # a pytree of arrays, each with the batch as its first axis


class Request(NamedTuple):
    """Asked at a replanning step.

    ``previous`` is the chunk now executing, shifted so that index 0 is the next control step; past its end it is 0::

        previous   p0  p1  p2 | p3 ..  | 0 ..          index 0 .. d-1 is executed whatever the answer is
        answer     -   -   -  | a3 ..  |               index d .. s-1 is executed, then comes the next request
    """

    obs: Array  # [B, O]
    previous: Array  # [B, H, A]
    delay: Array  # [] int32, d
    horizon: Array  # [] int32, s
    noise: Array  # [B, H, A], the same for every strategy at this episode and step
    key: Array  # [B] typed keys, for a strategy that needs more noise


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Base class. Fields are hyper-parameters; ``d`` and ``s`` are traced, so one compilation serves every cell.

    Override ``plan``; ``init`` if it keeps memory between chunks; ``correct`` if it touches single actions.
    """

    flow_steps: int = 5  # n, Euler steps
    part: ClassVar[int | None] = None  # episodes that a CPU plans at a time (None: all); few where a chunk is dear

    def __post_init__(self):
        schema.at_least(self, flow_steps=1)
        for field in dataclasses.fields(self):
            if isinstance(value := getattr(self, field.name), float):
                schema.check_finite(field.name, value)

    def check(self, policy: flow.FlowPolicy) -> None:
        """Called before anything runs: raise ConfigError if the policy lacks what the strategy needs."""

    def init(self, policy: flow.FlowPolicy, batch: int) -> Memory:
        """Memory at an episode's start; every leaf is [B, ...]."""
        del policy, batch
        return ()

    def first(self, policy: flow.FlowPolicy, obs: Array, noise: Array) -> Array:
        """The chunk [B, H, A] that is executing when the first request is made."""
        return self.sample(policy, obs, noise)

    def plan(self, policy: flow.FlowPolicy, request: Request, memory: Memory) -> tuple[Array, Memory]:
        """A new chunk [B, H, A], index 0 at the next control step, and the memory to keep."""
        raise NotImplementedError

    def correct(self, policy: flow.FlowPolicy, obs: Array, action: Array, index: Array, memory: Memory) -> Array:
        """Called just before an action [B, A] is executed; ``index`` [] is its place in its chunk."""
        del policy, obs, index, memory
        return action

    def sample(self, policy: flow.FlowPolicy, obs: Array, noise: Array) -> Array:
        """Plain Euler sampling."""
        modulations = policy.time_modulations(self.flow_steps)
        return sampling.euler(lambda x_t, modulation: policy.velocity(obs, x_t, modulation), noise, modulations)
