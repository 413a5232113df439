"""What a chunk costs under each strategy, measured here and now."""

import dataclasses
import statistics
import time
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from policies import flow
from rtc_bench.strategies import base

BATCHES = (1, 256)
ROUNDS, SECONDS = 7, 0.05  # timings a strategy, which take turns; each lasts at least so long


@dataclasses.dataclass(frozen=True)
class Cost:
    """Milliseconds a chunk, on one device; median of rounds."""

    strategy: str
    batch: int
    milliseconds: float
    ratio: float  # to the first strategy's, median of the rounds' ratios


def measure(policy: flow.FlowPolicy, built: Mapping[str, base.Strategy]) -> list[Cost]:
    """Each strategy's ``plan`` alone, at d = s = 2, for one episode and for many at once."""
    return [one for batch in BATCHES for one in _at(policy, built, batch)]


def _at(policy: flow.FlowPolicy, built: Mapping[str, base.Strategy], batch: int) -> list[Cost]:
    shape = (batch, policy.config.horizon, policy.config.action_size)
    keys = jax.random.split(jax.random.key(0), 3)
    obs = policy.obs_mean + policy.obs_std * jax.random.normal(keys[0], (batch, policy.config.obs_size))
    draws = jax.random.normal(keys[1], (2, *shape))
    two = jnp.int32(2)
    request = base.Request(obs, draws[0], two, two, draws[1], jax.random.split(keys[2], batch))
    calls = {}
    for name, strategy in built.items():
        plan, memory = jax.jit(strategy.plan), strategy.init(policy, batch)
        calls[name] = lambda plan=plan, memory=memory: jax.block_until_ready(plan(policy, request, memory))
        calls[name]()  # compiles
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            took[name].append(_seconds(call) * 1000 / batch)
    first = next(iter(took.values()))
    return [
        Cost(name, batch, statistics.median(ms), statistics.median(a / b for a, b in zip(ms, first, strict=True)))
        for name, ms in took.items()
    ]


def _seconds(call) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS or not count:
        call()
        count += 1
    return (time.perf_counter() - began) / count
