"""What a chunk costs under each strategy, measured here and now."""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp

from rtc_bench.common import progress
from rtc_bench.policies import flow
from rtc_bench.strategies import base

BATCHES = (1, 256)
ROUNDS, SECONDS = 7, 0.05  # timings a strategy, which take turns; each lasts at least so long


@dataclasses.dataclass(frozen=True)
class ChunkCost:
    """Milliseconds a chunk, on one device; median of rounds."""

    strategy: str
    batch: int
    milliseconds: float
    ratio: float  # to the first strategy's, median of the rounds' ratios


def measure(policy: flow.FlowPolicy, strategies: Mapping[str, base.Strategy]) -> list[ChunkCost]:
    """Each strategy's ``plan`` alone, at d = s = 2, for one episode and for many at once."""
    with progress.bar("milliseconds a chunk", len(BATCHES) * len(strategies), "programs") as advance:
        return [cost for batch in BATCHES for cost in _measure_at(policy, strategies, batch, advance)]


def _measure_at(
    policy: flow.FlowPolicy, strategies: Mapping[str, base.Strategy], batch: int, advance: progress.Progress
) -> list[ChunkCost]:
    request = _request(policy, batch)
    calls = {}
    for name, strategy in strategies.items():
        plan, own = jax.jit(strategy.plan), strategy.prepare(policy)
        arguments = (own, request, strategy.init(own, batch))
        calls[name] = lambda plan=plan, arguments=arguments: jax.block_until_ready(plan(*arguments))
        calls[name]()  # compiles
        advance(advance.done + 1, note=name)
    milliseconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            milliseconds[name].append(_seconds(call) * 1000 / batch)
    reference = next(iter(milliseconds.values()))
    return [
        ChunkCost(
            name,
            batch,
            statistics.median(own),
            statistics.median(a / b for a, b in zip(own, reference, strict=True)),
        )
        for name, own in milliseconds.items()
    ]


def _request(policy: flow.FlowPolicy, batch: int) -> base.Request:
    """Of random observations and chunks."""
    shape = (batch, policy.config.horizon, policy.config.action_size)
    keys = jax.random.split(jax.random.key(0), 3)
    obs = policy.obs_mean[None] + policy.obs_std[None] * jax.random.normal(keys[0], (batch, policy.config.obs_size))
    draws = jax.random.normal(keys[1], (2, *shape))
    two = jnp.int32(2)
    # What is seen ahead comes from a simulator, whose time is none of the strategy's.
    seen = {"ahead": obs, "own": jnp.zeros(policy.config.obs_size, bool)}
    return base.Request(obs, draws[0], two, two, draws[1], jax.random.split(keys[2], batch), **seen)


class _Counting:
    """Counts evaluations of a policy's network in ``counts``, which all copies share."""

    counts: ClassVar[list[int]] = []

    def velocity(self, obs, x_t, time):
        """Notes how many chunks are evaluated."""
        self.counts.append(x_t.shape[0])
        return super().velocity(obs, x_t, time)


def network_evaluations(policy: flow.FlowPolicy, strategy: base.Strategy) -> int:
    """How often the policy's network is evaluated for one chunk, counted while one is planned at d = s = 2.

    0 for a policy that gives chunks alone: nobody knows how it makes them.
    """
    prepared = strategy.prepare(policy)
    counting_type = type("CountingPolicy", (_Counting, type(prepared)), {})
    counting = counting_type(**{field.name: getattr(prepared, field.name) for field in dataclasses.fields(prepared)})
    with jax.disable_jit():
        request, memory = _request(policy, 1), strategy.init(prepared, 1)
        _Counting.counts.clear()
        strategy.plan(counting, request, memory)
    return sum(_Counting.counts)


def _seconds(call) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS or not count:
        call()
        count += 1
    return (time.perf_counter() - began) / count
