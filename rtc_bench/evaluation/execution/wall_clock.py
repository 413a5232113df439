"""A simulated task on a real clock: it moves on at its rate while the controller infers the next chunk in the background."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import errors
from rtc_bench.envs import task_env
from rtc_bench.evaluation.execution import cycle
from rtc_bench.evaluation.latency import schedule
from rtc_bench.policies import flow
from rtc_bench.realtime import controller, execution, pacing
from rtc_bench.strategies import base

STOP_SECONDS = 60.0  # for inference that is under way when an episode ends, with its latency; it is of no use any more
NEVER_ARRIVED = 255  # control steps: the delay of a request that was open when the episode ended


@dataclasses.dataclass(frozen=True)
class Episode:
    """How an episode on the clock went."""

    solved: bool
    length: int  # control steps
    records: list[execution.InferenceRecord]  # of answered requests
    underruns: int  # control steps
    missed: int  # control steps that began late, see ``pacing.Pacer``
    worst_lateness: float  # seconds

    def delays(self, requests: int) -> schedule.Delays:
        """What its requests met and were told, [1, R], for ``Evaluator``."""
        rows = [[r.observed_delay for r in self.records], [r.estimate for r in self.records]]
        padded = [row[:requests] + [NEVER_ARRIVED] * max(0, requests - len(row)) for row in rows]
        return schedule.Delays(*(np.array([row], np.int32) for row in padded))


class Observation(NamedTuple):
    """What the controller hands from the control loop to inference."""

    run: cycle.Run
    step: int


@dataclasses.dataclass
class WallClock:
    """One task under one strategy at ``hz`` control steps a second; ``clock`` and ``sleep`` in seconds.

    Raises ConfigError for a strategy that needs more than observations and chunks.
    """

    env: task_env.TaskEnv
    policy: flow.FlowPolicy
    strategy: base.Strategy
    hz: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self):
        refused = {"simulator", "waiting", "every step"} & {*self.strategy.needs}
        if refused or self.strategy.timing != base.DELAYED:
            raise errors.ConfigError(
                f"{type(self.strategy).__name__} cannot run on a real clock: it needs {', '.join(sorted(refused))}; "
                "give a strategy that needs observations and chunks alone, such as naive or rtc"
            )
        traced = cycle.Execution(self.env, self.policy.config.horizon, [self.strategy])
        self._policies = jax.jit(traced.prepared)(self.policy)
        self._start, self._plan, self._execute = map(jax.jit, (traced.start, traced.plan, traced.act))

    def play(
        self,
        config: execution.ControllerConfig,
        *,
        seed: int,
        episode: int,
        latency: Callable[[], float] = float,
        on_start: Callable[[controller.Controller], None] = lambda chunks: None,
    ) -> Episode:
        """One episode of those that ``Evaluator`` plays; every inference takes ``latency()`` seconds more than it does.

        ``on_start`` gets the controller before the first control step."""
        cell = cycle.traced_cell(0, config.initial_delay, config.execution_horizon, config.underrun)
        keys = jax.random.fold_in(jax.random.key(seed), episode)[None]
        start = self._start(self._policies, cell, keys)
        memory = start.memory

        def infer(request: execution.Request) -> Any:
            nonlocal memory
            if request.obs is None:  # cold start: compiles, and gives the chunk that ``start`` has
                jax.block_until_ready(self._answer(cell, start, start.run, request, memory))
                return np.asarray(start.chunk[0])
            chunk, memory = self._answer(cell, start, request.obs.run, request, memory)
            chunk = np.asarray(chunk[0])
            self.sleep(latency())
            return chunk

        pacer = pacing.Pacer(self.hz, clock=self.clock, sleep=self.sleep)
        run = self._act(start.run, np.zeros(self.env.action_size, np.float32), keys, 0)  # compiles
        with controller.Controller(infer, config, clock=self.clock) as chunks:
            chunks.start(None)
            on_start(chunks)
            run, step = start.run, 0
            while not bool(run.over[0]):
                pacer.wait()
                action = chunks.get_action(Observation(run, step))
                run = self._act(run, action, keys, step)
                step += 1
            records, counts = chunks.records, chunks.counts
            chunks.stop(timeout=STOP_SECONDS)
        return Episode(bool(run.solved[0]), step, records, counts.underruns, pacer.missed, pacer.worst_lateness)

    def _answer(
        self,
        cell: cycle.TracedCell,
        start: cycle.Episodes,
        run: cycle.Run,
        request: execution.Request,
        memory: tuple,
    ) -> tuple[Array, tuple]:
        """The strategy's chunk [1, H, A] and its memories."""
        told, elapsed, step = (jnp.full(1, number, jnp.int32) for number in request[2:])
        timing = cycle.Timing(told, jnp.zeros_like(told), elapsed, told)
        asked = start._replace(
            run=run, chunk=jnp.asarray(request.previous)[None], time=step, elapsed=elapsed, memory=memory
        )
        return self._plan(self._policies, cell, timing, asked)

    def _act(self, run: cycle.Run, action: np.ndarray, keys: Array, step: int) -> cycle.Run:
        no = jnp.zeros(1, bool)
        return jax.block_until_ready(
            self._execute(run, jnp.asarray(action)[None], keys, jnp.full(1, step, jnp.int32), no, no)
        )
