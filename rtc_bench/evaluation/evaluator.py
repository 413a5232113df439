"""Run strategies in a task: one compilation serves all of them, and every delay and execution horizon."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import devices, errors
from rtc_bench.envs import task_env
from rtc_bench.evaluation import settings
from rtc_bench.evaluation.execution import batches, cycle
from rtc_bench.evaluation.latency import schedule
from rtc_bench.policies import flow
from rtc_bench.strategies import base


class NotFinite(RuntimeError):
    """A strategy or policy gave actions that are inf or nan; the message names the first episode and control step."""


def _not_finite(time: int, episode: int, seed: int) -> NotFinite:
    return NotFinite(f"actions are inf or nan at control step {time} of episode {episode} (seed {seed})")


class Outcomes(NamedTuple):
    """The first episode of each rollout; one entry per episode, [E]."""

    solved: Any  # bool
    total_reward: Any  # +1 solved, -1 failed, 0 neither
    length: Any  # control steps
    action_change: Any  # mean |difference| of consecutive actions
    boundary_change: Any  # the same, only where a new chunk takes over
    boundary_jerk: Any  # mean |second difference| there
    underruns: Any  # int32, control steps at which the chunks had run out
    requests: Any  # int32
    misestimates: Any  # int32, requests that were told another delay than they met
    not_finite_at: Any  # int32, the control step at which an action was inf or nan and ended the episode; NEVER
    delays: Any = None  # bytes, the control steps that each request took; empty where the delay does not vary


LAST = 2**30  # a sorting key
BATCH = 512  # episodes at once, of all devices together, where a device does not say how much memory it has
MOST, FEWEST = 16384, 16  # at once on each device: more fill no GPU better; fewer are not what memory lacks
SHARE = 0.9  # of a device's memory that a program may need
LANES = 32  # narrower blocks are rounded differently by XLA on a CPU: results would hang on the number of devices
BLOCK = 64  # episodes of a cycle together on a CPU: they stay in its cache, and whole blocks can be skipped


class Evaluator:
    """Jitted episodes of one task and policy under any of the strategies, spread over all devices.

    The physics takes longest to compile, so strategies share a program that switches between their plans.
    Random numbers belong to (seed, episode, control step) alone, so that every strategy meets the same actuation noise
    and the same flow noise, and batch and number of devices change a result by rounding at most. Episodes that are over
    are sorted to the end, where whole blocks of them cost nothing.

    ``batch`` is how many episodes are played at once, over all devices. None: as many as ``compile`` finds that their memory
    holds, or ``BATCH`` where they do not say. Where memory runs out all the same, it is halved, and the call goes on.
    """

    def __init__(
        self, env: task_env.TaskEnv, policy: flow.FlowPolicy, *strategies: base.Strategy, batch: int | None = None
    ):
        self.env, self.policy, self.strategies = env, policy, strategies
        self.devices = jax.device_count()
        self._memory = None if batch else devices.memory_limit()
        self.episodes_per_device = MOST if self._memory else -(-(batch or BATCH) // self.devices)
        self.execution = cycle.Execution(env, policy.config.horizon, strategies)
        self._sharded = devices.ShardedFunction(self._episodes, shared=3)
        self._compiled_count = 0  # episodes that a compiled program plays

    def __call__(
        self,
        *,
        seed: int,
        episodes: int,
        delay: int,
        horizon: int,
        strategy_index: int = 0,
        first: int = 0,
        delays: schedule.Delays | None = None,
        underrun: str = settings.UNDERRUNS[0],
    ) -> Outcomes:
        """``episodes`` episodes with inference delay ``delay`` and execution horizon ``horizon``, as NumPy arrays [E].

        ``strategy_index`` counts the strategies as they were given; ``first`` is the number of the first episode. ``delays``
        [E, R] of these episodes stand in ``delay``'s place; they make another program. Raises NotFinite, and ConfigError
        where the devices have no memory left for a few episodes.
        """
        delays = self._delays_met(delays, strategy_index)
        cell = {"delay": delay, "horizon": horizon, "strategy_index": strategy_index, "underrun": underrun}
        parts: list[list[np.ndarray]] = []
        start = 0
        while start < episodes:
            count = self._compiled_count or self._episodes_per_run(episodes)
            own = None if delays is None else schedule.Delays(*(rows[start : start + count] for rows in delays))
            try:
                part = self._sharded(*self._arguments(first + start, count, own, seed=seed, **cell))
                parts.append([np.asarray(leaf).reshape(-1) for leaf in part[:-1]])
            except jax.errors.JaxRuntimeError as error:
                if not devices.is_out_of_memory(error):
                    raise
                self._play_fewer(count)
            else:
                start += count
        joined = [np.concatenate(leaves) for leaves in zip(*parts, strict=True)]
        outcomes = Outcomes(*(leaf[:episodes] for leaf in joined), delays=np.full(episodes, b"", object))
        if delays is not None:
            met = [bytes(row[:count].tolist()) for row, count in zip(delays.actual, outcomes.requests, strict=False)]
            outcomes = outcomes._replace(delays=np.array(met, object))
        for episode in np.flatnonzero(outcomes.not_finite_at != cycle.NEVER)[:1]:
            raise _not_finite(outcomes.not_finite_at[episode], first + episode, seed)
        return outcomes

    def compile(self, episodes: int, delays: schedule.Delays | None = None) -> None:
        """Compile the program that plays so many episodes or fewer, so that calls need not; for instance in another thread.

        ``delays`` [1 or more, R]: the program for such.
        """
        self._compiled_count = 0
        while not self._compiled_count:
            count = self._episodes_per_run(episodes)
            try:
                program = self.lower(episodes, delays).compile()
            except jax.errors.JaxRuntimeError as error:
                if not devices.is_out_of_memory(error):
                    raise
                self._play_fewer(count)
            else:
                if self._fits(program, count):
                    self._compiled_count = count

    def _fits(self, program: jax.stages.Compiled, count: int) -> bool:
        """Whether the memory suffices for the program of so many episodes; if not, fewer are played from now on."""
        needed = devices.program_bytes(program)
        if self._memory is None or needed is None:
            return True
        gib = 2**30
        fitting = f"{count:,} episodes at once, some {needed / gib:.2g} of {self._memory / gib:.3g} GiB"
        if needed <= SHARE * self._memory:
            print(f"{self.env.name}: {fitting}", flush=True)
            return True
        self._play_fewer(count, halvings=math.ceil(math.log2(needed / (SHARE * self._memory))), reason=f" ({fitting})")
        return False

    def _play_fewer(self, count: int, *, halvings: int = 1, reason: str = "") -> None:
        """Half as many at once as the ``count`` that a device has no memory for, or half of that, and so on."""
        per_device = count // self.devices >> halvings
        text = f"{self.env.name}: the device has no memory for {count:,} episodes at once{reason}"
        if per_device < FEWEST:
            raise errors.ConfigError(f"{text}; end other programs on it, or name fewer strategies")
        self.episodes_per_device, self._compiled_count = per_device, 0
        print(f"{text}; going on with {per_device * self.devices:,}, with the same results up to rounding", flush=True)

    def lower(self, episodes: int, delays: schedule.Delays | None = None) -> jax.stages.Lowered:
        """The program that plays so many episodes, not compiled yet."""
        cell = {"seed": 0, "delay": 0, "horizon": 1, "strategy_index": 0}
        return self._sharded.lower(*self._arguments(0, self._episodes_per_run(episodes), delays, **cell))

    def program_arguments(self, episodes: int, **cell: int) -> list:
        """What the program takes for a cell's first run, on its devices; ``cell`` as in a call."""
        return self._sharded.put(self._arguments(0, self._episodes_per_run(episodes), None, **cell))

    def _delays_met(self, delays: schedule.Delays | None, strategy_index: int) -> schedule.Delays | None:
        """None of them by a strategy that the world waits for."""
        if delays is None or self.strategies[strategy_index].timing != base.WAITING:
            return delays
        return schedule.Delays(*(np.zeros_like(rows) for rows in delays))

    def _episodes_per_run(self, episodes: int) -> int:
        """How many a run of the program plays: runs of equal size, no larger than the batch."""
        runs = -(-episodes // (self.episodes_per_device * self.devices))
        return -(-episodes // (runs * self.devices)) * self.devices

    def _arguments(
        self,
        first: int,
        count: int,
        delays: schedule.Delays | None,
        *,
        seed: int,
        delay: int,
        horizon: int,
        strategy_index: int,
        underrun: str = settings.UNDERRUNS[0],
    ) -> tuple:
        numbers = jnp.arange(first, first + count, dtype=jnp.uint32).reshape(self.devices, -1)
        cell = cycle.traced_cell(strategy_index, delay, horizon, underrun)
        if delays is not None:
            padded = (np.pad(rows[:count], ((0, max(0, count - len(rows))), (0, 0))) for rows in delays)
            delays = schedule.Delays(*(jnp.asarray(rows).reshape(*numbers.shape, -1) for rows in padded))
        return self.policy, jax.random.key(seed), cell, numbers, delays

    def _episodes(
        self,
        policy: flow.FlowPolicy,
        key: Array,
        cell: cycle.TracedCell,
        numbers: Array,
        delays: schedule.Delays | None,
    ) -> Outcomes:
        policies = self.execution.prepared(policy)
        count = numbers.shape[0]
        blocks_are_skipped = jax.default_backend() == "cpu"  # a GPU plays all at once, and need not sort
        block = min(BLOCK, -(-count // LANES) * LANES) if blocks_are_skipped else count
        batch = -(-count // block) * block
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.pad(numbers, (0, batch - count)))
        started = self.execution.start(policies, cell, keys)
        started = started._replace(run=started.run._replace(over=jnp.arange(batch) >= count))  # padding is over
        if delays is not None:
            delays = schedule.Delays(*(jnp.pad(rows, ((0, batch - count), (0, 0))) for rows in delays))

        def play_cycle(episodes: cycle.Episodes) -> cycle.Episodes:
            if not blocks_are_skipped:
                return self.execution.play_cycle(policies, cell, delays, episodes)
            over = episodes.run.over
            if delays is None:
                order = jnp.argsort(over)
            else:  # blocks of cycles of like lengths
                order = jnp.argsort(jnp.where(over, LAST, self.execution.length(cell, delays, episodes)))
            episodes = batches.take(episodes, order)
            alive = batch - episodes.run.over.sum(dtype=jnp.int32)

            def play_block(index: Array, episodes: cycle.Episodes) -> cycle.Episodes:
                members = index * block + jnp.arange(block)
                played = self.execution.play_cycle(policies, cell, delays, batches.take(episodes, members))
                return batches.put(episodes, members, played)

            return jax.lax.fori_loop(0, (alive + block - 1) // block, play_block, episodes)

        def any_alive(episodes: cycle.Episodes) -> Array:
            return ~episodes.run.over.all()  # the time limit ends every episode

        ended = jax.lax.while_loop(any_alive, play_cycle, started)
        return _outcomes(batches.take(ended, jnp.argsort(ended.number)[:count]))

    def replay(
        self,
        *,
        seed: int,
        episode: int,
        delay: int,
        horizon: int,
        strategy_index: int = 0,
        delays: schedule.Delays | None = None,
        underrun: str = settings.UNDERRUNS[0],
    ) -> tuple[list[tuple], bool]:
        """One episode of those that a call plays, step by step, to look at; ``delays`` [1, R] are its own.

        Returns the moving bodies' x, y and angle, each [M], at every control step and at the end, and whether it was solved.
        """
        cell = cycle.traced_cell(strategy_index, delay, horizon, underrun)
        keys = jax.random.fold_in(jax.random.key(seed), episode)[None]
        delays = self._delays_met(delays, strategy_index)
        request, step, end = (self._jitted(name) for name in ("request", "step", "end"))
        poses = jax.jit(lambda state: self.env.engine.bodies(state.sim)[:3])
        policies = self._jitted("prepared")(self.policy)
        episodes = self._jitted("start")(policies, cell, keys)
        run, frames = episodes.run, []
        while not run.over[0]:
            playing = request(policies, cell, delays, episodes)
            for index in range(int(jnp.max(playing.timing.length))):
                frames.append(poses(run.state))
                run = step(policies, cell, episodes, playing, run, jnp.int32(index))
                if run.over[0]:
                    break
            episodes = end(delays, episodes, playing, run)
        if run.not_finite_at[0] != cycle.NEVER:
            raise _not_finite(int(run.not_finite_at[0]), episode, seed)
        frames.append(poses(run.state))
        return [tuple(np.asarray(column)[:, 0] for column in frame) for frame in frames], bool(run.solved[0])

    @functools.cache  # noqa: B019  (an evaluator lives as long as its program)
    def _jitted(self, name: str):
        return jax.jit(getattr(self.execution, name))


def _outcomes(ended: cycle.Episodes) -> Outcomes:
    run = ended.run
    steps, boundaries = jnp.maximum(run.length - 1, 1), jnp.maximum(run.boundaries, 1)
    return Outcomes(
        run.solved,
        run.reward,
        run.length,
        run.changes / steps,
        run.boundary_changes / boundaries,
        run.boundary_jerks / boundaries,
        run.underruns,
        ended.requests,
        ended.misestimates,
        run.not_finite_at,
    )
