"""Episodes under a strategy, traced, from request to request (a cycle)."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.envs import task_env
from rtc_bench.evaluation import settings
from rtc_bench.evaluation.execution import batches, timeline
from rtc_bench.evaluation.latency import schedule
from rtc_bench.policies import flow
from rtc_bench.strategies import base

NEVER = -1
ACTUATION, FLOW, STRATEGY = 0, 1, 2  # what random numbers of an episode and control step are for

Policies = tuple[flow.FlowPolicy, ...]  # what each strategy acts by


class TracedCell(NamedTuple):
    """What is played; all of it is traced, so that one program serves every cell."""

    strategy_index: Array  # [] int32
    delay: Array  # [] int32, d
    horizon: Array  # [] int32, s
    underrun: Array  # [] int32, of settings.UNDERRUNS


def traced_cell(strategy_index: int, delay: int, horizon: int, underrun: str = settings.UNDERRUNS[0]) -> TracedCell:
    """A cell, from Python's numbers."""
    return TracedCell(*map(jnp.int32, (strategy_index, delay, horizon, settings.UNDERRUNS.index(underrun))))


class Timing(NamedTuple):
    """When a cycle's new chunk acts, see ``timeline.merge``; control steps after the request. [], or [B] where delays vary."""

    takeover: Array
    begin: Array
    length: Array  # until the next request
    told: Array  # what the strategy is told of the delay


class Run(NamedTuple):
    """What is carried from control step to control step."""

    state: task_env.State
    obs: Array  # [B, O]
    action: Array  # [B, A], the last one executed
    change: Array  # [B, A], from the one before it to the last one
    over: Array  # [B] bool
    solved: Array  # [B] bool
    reward: Array  # [B]
    length: Array  # [B]
    changes: Array  # [B], sums of |difference|
    boundary_changes: Array  # [B]
    boundary_jerks: Array  # [B], sums of |second difference|
    boundaries: Array  # [B], counts
    underruns: Array  # [B] int32, control steps
    not_finite_at: Array  # [B] int32


class Episodes(NamedTuple):
    """What is carried from request to request; the batch is the first axis, but the last one in ``run.state``."""

    run: Run
    chunk: Array  # [B, L, A], executing; L is H, or 2 H where chunks of some strategy begin at their arrival
    chunk_index: Array  # [B] int32, its place of the next control step, as the policy counted it
    boundary: Array  # [B] int32, see ``timeline.next_first``
    last_action: Array  # [B, A], of the newest chunk
    time: Array  # [B] int32, control steps
    elapsed: Array  # [B] int32, control steps since the last request
    requests: Array  # [B] int32, made
    misestimates: Array  # [B] int32, requests that were told another delay than they met
    memory: tuple  # every strategy's
    keys: Array  # [B], of the episodes
    number: Array  # [B], the episode's position before sorting


class Cycle(NamedTuple):
    """What is fixed at a request."""

    timing: Timing
    executing: Array  # [B, L, A] from the request on
    last_action: Array  # [B, A], the new chunk's
    memory: tuple


class Execution:
    """One task under any of the strategies. Without ``schedule.Delays`` the cell's delay is met, and told, at every request."""

    def __init__(self, env: task_env.TaskEnv, horizon: int, strategies: Sequence[base.Strategy]):
        self.env, self.horizon, self.strategies = env, horizon, strategies
        self._begins_late = any(strategy.timing == base.FROM_ARRIVAL for strategy in strategies)

    def prepared(self, policy: flow.FlowPolicy) -> Policies:
        """What each strategy acts by."""
        return tuple(strategy.prepare(policy) for strategy in self.strategies)

    def start(self, policies: Policies, cell: TracedCell, keys: Array) -> Episodes:
        """Episodes with these keys [B], before the first request."""
        batch = keys.shape[0]
        obs, state = self.env.reset(keys, batch)
        zero, no, count = jnp.zeros(batch), jnp.zeros(batch, bool), jnp.zeros(batch, jnp.int32)
        action = jnp.zeros((batch, self.env.action_size))
        run = Run(state, obs, action, action, no, no, zero, zero, zero, zero, zero, zero, count, count + NEVER)
        firsts = self._methods("first", policies)
        chunk = self._switched(cell, "first", firsts, obs, self._noise(keys, count))
        last_action = chunk[:, -1]
        if self._begins_late:
            chunk = jnp.pad(chunk, ((0, 0), (0, chunk.shape[1]), (0, 0)))
        memory = tuple(init(batch) for init in self._methods("init", policies))
        elapsed = jnp.full(batch, cell.horizon, jnp.int32)
        counts = {"time": count, "requests": count, "misestimates": count, "elapsed": elapsed}
        executed = {"chunk_index": count, "boundary": count + NEVER, "last_action": last_action}
        return Episodes(run, chunk, **executed, **counts, memory=memory, keys=keys, number=jnp.arange(batch))

    def play_cycle(
        self, policies: Policies, cell: TracedCell, delays: schedule.Delays | None, episodes: Episodes
    ) -> Episodes:
        """One request, and the control steps until the next.

        Episodes that are over wait at the start: where they ended much may touch, and slow the physics of all.
        """
        _, start_state = self.env.reset(episodes.keys, episodes.keys.shape[0])
        run = episodes.run
        run = run._replace(state=self.env.where(run.over, start_state, run.state))
        episodes = episodes._replace(run=run)
        cycle = self.request(policies, cell, delays, episodes)
        length = cycle.timing.length
        steps = jnp.where(run.over, 0, length).max() if length.ndim else length

        def step(index: Array, run: Run) -> Run:
            new = self.step(policies, cell, episodes, cycle, run, index)
            return batches.where_run(index < length, new, run) if length.ndim else new

        return self.end(delays, episodes, cycle, jax.lax.fori_loop(0, steps, step, run))

    def length(self, cell: TracedCell, delays: schedule.Delays | None, episodes: Episodes) -> Array:
        """Control steps of the cycle that begins, [] or [B]."""
        return self._timing(cell, delays, episodes).length

    def _timing(self, cell: TracedCell, delays: schedule.Delays | None, episodes: Episodes) -> Timing:
        waits, late = (
            jnp.array([strategy.timing == timing for strategy in self.strategies])[cell.strategy_index]
            for timing in (base.WAITING, base.FROM_ARRIVAL)
        )
        if delays is None:
            takeover, begin = jnp.where(waits, 0, cell.delay), jnp.where(late, cell.delay, 0)
            return Timing(takeover, begin, cell.horizon, cell.delay)
        actual, told = (self._of_request(numbers, episodes) for numbers in delays)
        # more than what is left of the old chunk is not committed; it can be more than H where that one begins late
        told = jnp.clip(told, 0, jnp.clip(self.horizon - episodes.chunk_index, 0, self.horizon))
        told = jnp.where(waits, cell.delay, told)
        begin = jnp.where(late, told, 0)
        return Timing(jnp.maximum(actual, begin), begin, jnp.maximum(actual, cell.horizon), told)

    @staticmethod
    def _of_request(numbers: Array, episodes: Episodes) -> Array:
        """Of [E, R] those of the episodes' next requests, [B]."""
        return numbers[episodes.number, jnp.minimum(episodes.requests, numbers.shape[1] - 1)]

    def request(
        self, policies: Policies, cell: TracedCell, delays: schedule.Delays | None, episodes: Episodes
    ) -> Cycle:
        """What is executed from a request on, and the strategies' memories after it."""
        timing = self._timing(cell, delays, episodes)
        new, memory = self.plan(policies, cell, timing, episodes)
        begin = timing.begin if self._begins_late else None
        return Cycle(timing, timeline.merge(episodes.chunk, new, timing.takeover, begin), new[:, -1], memory)

    def plan(self, policies: Policies, cell: TracedCell, timing: Timing, episodes: Episodes) -> tuple[Array, tuple]:
        """The answer [B, H, A] to a request, and the strategies' memories after it."""
        noise = self._noise(episodes.keys, episodes.time)
        strategy_keys = _step_keys(episodes.keys, episodes.time, STRATEGY)
        previous = episodes.chunk[:, : self.horizon]
        seen = {"ahead": self._ahead(cell, timing, episodes), "own": jnp.asarray(self.env.own)}
        elapsed = episodes.elapsed if timing.told.ndim else cell.horizon
        request = base.Request(episodes.run.obs, previous, timing.told, elapsed, noise, strategy_keys, **seen)
        alive = (~episodes.run.over).sum(dtype=jnp.int32)

        def plan(index: int, request: base.Request, memory: tuple) -> tuple[Array, tuple]:
            strategy = self.strategies[index]
            request = request if strategy.looks_ahead else request._replace(ahead=None)
            new, own_memory = batches.plan_alive(strategy, policies[index], request, memory[index], alive)
            return new, (*memory[:index], own_memory, *memory[index + 1 :])

        plans = [functools.partial(plan, index) for index in range(len(self.strategies))]
        return jax.lax.switch(cell.strategy_index, plans, request, episodes.memory)

    def _ahead(self, cell: TracedCell, timing: Timing, episodes: Episodes) -> Array | None:
        """For a strategy that looks ahead, the observation [B, O] when its chunk will arrive, as it is told; for others that
        of now.

        None where no strategy does. All share one simulation, because compiling physics is dear.
        """
        looks = [strategy.looks_ahead for strategy in self.strategies]
        if not any(looks):
            return None
        waits = jnp.array([strategy.timing == base.WAITING for strategy in self.strategies])[cell.strategy_index]
        steps = jnp.where(jnp.array(looks)[cell.strategy_index] & ~waits, timing.told, 0)
        return self.env.observe(self.env.predict(episodes.run.state, episodes.chunk, steps))

    def step(
        self, policies: Policies, cell: TracedCell, episodes: Episodes, cycle: Cycle, run: Run, index: Array
    ) -> Run:
        """The control step ``index`` [] of the cycle that ``episodes`` are at."""
        timing = cycle.timing
        varies = timing.length.ndim > 0
        old_index = episodes.chunk_index if varies else episodes.chunk_index[0]  # of the living, which are in front
        bounds = {"takeover": timing.takeover, "begin": timing.begin, "old_index": old_index}
        place = timeline.index_in_chunk(index, **bounds)
        action = jnp.take(cycle.executing, jnp.minimum(index, cycle.executing.shape[1] - 1), axis=1)
        underrun = jnp.zeros_like(run.over)
        if varies:
            underrun = place >= self.horizon
            newest = jnp.where((index < timing.takeover)[:, None], episodes.last_action, cycle.last_action)
            substitutes = jnp.stack([run.action, jnp.zeros_like(action), newest])
            action = jnp.where(underrun[:, None], substitutes[cell.underrun], action)
            place = jnp.clip(place, 0, self.horizon - 1)

        def correct(method: Callable, own_memory: base.Memory, action: Array) -> Array:
            call = functools.partial(batches.correct_each, method) if varies else method
            return call(run.obs, action, place, own_memory)

        methods = zip(self._methods("correct", policies), cycle.memory, strict=True)
        corrections = [functools.partial(correct, method, own_memory) for method, own_memory in methods]
        action = self._switched(cell, "correct", corrections, action)
        boundary = timeline.is_chunk_boundary(index, takeover=timing.takeover, first=episodes.boundary)
        return self.act(run, action, episodes.keys, episodes.time + index, boundary & ~underrun, underrun)

    def act(self, run: Run, action: Array, keys: Array, time: Array, is_boundary: Array, underrun: Array) -> Run:
        """Execute actions [B, A] at control steps [B]."""
        noise = _step_keys(keys, time, ACTUATION)
        finite = jnp.isfinite(action).all(-1)
        action = jnp.where(
            finite[:, None], jnp.clip(action, self.env.action_low[None], self.env.action_high[None]), 0.0
        )
        obs, state, reward, terminated, truncated, info = self.env.step(noise, run.state, action)
        alive = ~run.over
        follows = alive & (time > 0)
        change = action - run.action
        size = jnp.where(follows, jnp.abs(change).mean(-1), 0.0)
        jerk = jnp.where(follows & (time > 1), jnp.abs(change - run.change).mean(-1), 0.0)
        return Run(
            state=state,
            obs=obs,
            action=action,
            change=change,
            over=run.over | terminated | truncated | ~finite,
            solved=run.solved | (info["solved"] & alive),
            reward=run.reward + jnp.where(alive, reward, 0.0),
            length=run.length + alive.astype(jnp.float32),
            changes=run.changes + size,
            boundary_changes=run.boundary_changes + jnp.where(is_boundary, size, 0.0),
            boundary_jerks=run.boundary_jerks + jnp.where(is_boundary, jerk, 0.0),
            boundaries=run.boundaries + (follows & is_boundary).astype(jnp.float32),
            underruns=run.underruns + (alive & underrun).astype(jnp.int32),
            not_finite_at=jnp.where(alive & ~finite, time, run.not_finite_at),
        )

    def end(self, delays: schedule.Delays | None, episodes: Episodes, cycle: Cycle, run: Run) -> Episodes:
        """Where the next request is made."""
        takeover, begin, length, _ = cycle.timing
        alive = ~episodes.run.over
        misestimates = episodes.misestimates
        if delays is not None:
            actual, told = (self._of_request(numbers, episodes) for numbers in delays)
            misestimates += (alive & (actual != told)).astype(jnp.int32)
        return episodes._replace(
            run=run,
            chunk=timeline.shift(cycle.executing, length),
            chunk_index=jnp.broadcast_to(length - begin, alive.shape),
            boundary=jnp.broadcast_to(timeline.next_first(takeover, length), alive.shape),
            last_action=cycle.last_action,
            time=episodes.time + length,
            elapsed=jnp.broadcast_to(length, alive.shape),
            requests=episodes.requests + alive.astype(jnp.int32),
            misestimates=misestimates,
            memory=cycle.memory,
        )

    def _methods(self, name: str, policies: Policies) -> list[Callable]:
        """Every strategy's method of this name, with its policy."""
        pairs = zip(self.strategies, policies, strict=True)
        return [functools.partial(getattr(strategy, name), policy) for strategy, policy in pairs]

    def _switched(self, cell: TracedCell, name: str, calls: Sequence[Callable[..., Array]], *arguments: Any) -> Array:
        """The call of the cell's strategy; those that are the base's, and would do the same, share one branch."""
        numbers: dict[Any, int] = {}
        branches: list[Callable[..., Array]] = []
        branch_of_strategy = []
        for index, (strategy, call) in enumerate(zip(self.strategies, calls, strict=True)):
            names = (name, "sample", "prepare") if name == "first" else (name,)
            inherited = all(getattr(type(strategy), method) is getattr(base.Strategy, method) for method in names)
            number = numbers.setdefault(("base", strategy.flow_steps) if inherited else index, len(branches))
            if number == len(branches):
                branches.append(call)
            branch_of_strategy.append(number)
        if len(branches) == 1:
            return branches[0](*arguments)
        return jax.lax.switch(jnp.array(branch_of_strategy)[cell.strategy_index], branches, *arguments)

    def _noise(self, keys: Array, time: Array) -> Array:
        """Flow noise [B, H, A] of control steps [B]."""
        shape = (self.horizon, self.env.action_size)
        return jax.vmap(lambda key: jax.random.normal(key, shape))(_step_keys(keys, time, FLOW))


def _step_keys(keys: Array, time: Array, purpose: int) -> Array:
    """The episodes' keys [B] at control steps [B], for one purpose."""
    return jax.vmap(lambda key, time: jax.random.fold_in(jax.random.fold_in(key, time), purpose))(keys, time)
