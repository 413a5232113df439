"""Run strategies in a task: one compilation serves all of them, and every delay and execution horizon."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import devices
from rtc_bench.envs import task_env
from rtc_bench.evaluation import batches, timeline
from rtc_bench.policies import flow
from rtc_bench.strategies import base

NEVER = -1
ACTUATION, FLOW, STRATEGY = 0, 1, 2  # what random numbers of an episode and control step are for


class NotFinite(RuntimeError):
    """A strategy or policy gave actions that are inf or nan; the message names the first episode and control step."""


def _not_finite(time: int, episode: int, seed: int) -> NotFinite:
    return NotFinite(f"actions are inf or nan at control step {time} of episode {episode} (seed {seed})")


class TracedCell(NamedTuple):
    """What is played; all three are traced, so that one program serves every cell."""

    strategy_index: Array  # [] int32
    delay: Array  # [] int32, d
    horizon: Array  # [] int32, s


class _Timing(NamedTuple):
    """When the cell's new chunks are executed, see ``timeline.merge``; control steps after the request."""

    takeover: Array  # [] int32
    begin: Array  # [] int32


Policies = tuple[flow.FlowPolicy, ...]  # what each strategy acts by


class Outcomes(NamedTuple):
    """The first episode of each rollout; one entry per episode, [E]."""

    solved: Any  # bool
    total_reward: Any  # +1 solved, -1 failed, 0 neither
    length: Any  # control steps
    action_change: Any  # mean |difference| of consecutive actions
    boundary_change: Any  # the same, only where a new chunk takes over
    not_finite_at: Any  # int32, the control step at which an action was inf or nan and ended the episode; NEVER


class _StepCarry(NamedTuple):
    """What is carried from control step to control step."""

    state: task_env.State
    obs: Array  # [B, O]
    action: Array  # [B, A], the last one executed
    over: Array  # [B] bool
    solved: Array  # [B] bool
    reward: Array  # [B]
    length: Array  # [B]
    change: Array  # [B], sums of |difference|
    boundary_change: Array  # [B]
    boundaries: Array  # [B], counts
    not_finite_at: Array  # [B] int32


class _CycleCarry(NamedTuple):
    """What is carried from request to request; the batch is the first axis, but the last one in ``run.state``."""

    run: _StepCarry
    chunk: Array  # [B, L, A], executing; L is H, or 2 H where chunks of some strategy begin at their arrival
    memory: tuple  # every strategy's
    keys: Array  # [B], of the episodes
    number: Array  # [B], the episode's position before sorting


BLOCK = 64  # episodes of a cycle together on a CPU: they stay in its cache, and whole blocks can be skipped


class Evaluator:
    """Jitted episodes of one task and policy under any of the strategies, spread over all devices.

    The physics takes longest to compile, so strategies share a program that switches between their plans.
    Random numbers belong to (seed, episode, control step) alone, so that every strategy meets the same actuation noise
    and the same flow noise, and neither the batch size nor the number of devices changes a result. Episodes that are over
    are sorted to the end, where whole blocks of them cost nothing.
    """

    def __init__(self, env: task_env.TaskEnv, policy: flow.FlowPolicy, *strategies: base.Strategy, batch: int = 512):
        self.env, self.policy, self.strategies = env, policy, strategies
        self.devices = jax.device_count()
        self.episodes_per_device = -(-batch // self.devices)
        self._begins_late = any(strategy.timing == base.FROM_ARRIVAL for strategy in strategies)
        self._sharded = devices.ShardedFunction(self._episodes, shared=3)
        self._compiled_count = 0  # episodes that a compiled program plays

    def __call__(
        self, *, seed: int, episodes: int, delay: int, horizon: int, strategy_index: int = 0, first: int = 0
    ) -> Outcomes:
        """``episodes`` episodes with inference delay ``delay`` and execution horizon ``horizon``, as NumPy arrays [E].

        ``strategy_index`` counts the strategies as they were given; ``first`` is the number of the first episode. Raises
        NotFinite.
        """
        count = self._compiled_count or self._episodes_per_run(episodes)
        cell = {"seed": seed, "delay": delay, "horizon": horizon, "strategy_index": strategy_index}
        parts = [
            self._sharded(*self._arguments(number, count, **cell)) for number in range(first, first + episodes, count)
        ]
        joined = [
            np.concatenate([np.asarray(leaf).reshape(-1) for leaf in leaves]) for leaves in zip(*parts, strict=True)
        ]
        outcomes = Outcomes(*(leaf[:episodes] for leaf in joined))
        for episode in np.flatnonzero(outcomes.not_finite_at != NEVER)[:1]:
            raise _not_finite(outcomes.not_finite_at[episode], first + episode, seed)
        return outcomes

    def compile(self, episodes: int) -> None:
        """Compile the program that plays so many episodes or fewer, so that calls need not; for instance in another thread."""
        self.lower(episodes).compile()
        self._compiled_count = self._episodes_per_run(episodes)

    def lower(self, episodes: int) -> jax.stages.Lowered:
        """The program that plays so many episodes, not compiled yet."""
        cell = {"seed": 0, "delay": 0, "horizon": 1, "strategy_index": 0}
        return self._sharded.lower(*self._arguments(0, self._episodes_per_run(episodes), **cell))

    def program_arguments(self, episodes: int, **cell: int) -> list:
        """What the program takes for a cell's first run, on its devices; ``cell`` as in a call."""
        return self._sharded.put(self._arguments(0, self._episodes_per_run(episodes), **cell))

    def _episodes_per_run(self, episodes: int) -> int:
        """How many a run of the program plays: runs of equal size, no larger than the batch."""
        runs = -(-episodes // (self.episodes_per_device * self.devices))
        return -(-episodes // (runs * self.devices)) * self.devices

    def _arguments(self, first: int, count: int, *, seed: int, delay: int, horizon: int, strategy_index: int) -> tuple:
        numbers = jnp.arange(first, first + count, dtype=jnp.uint32).reshape(self.devices, -1)
        cell = TracedCell(*map(jnp.int32, (strategy_index, delay, horizon)))
        return self.policy, jax.random.key(seed), cell, numbers

    def _episodes(self, policy: flow.FlowPolicy, key: Array, cell: TracedCell, numbers: Array) -> Outcomes:
        policies = self._prepared(policy)
        count = numbers.shape[0]
        block = BLOCK if jax.default_backend() == "cpu" and count > BLOCK else count
        batch = -(-count // block) * block
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.pad(numbers, (0, batch - count)))
        started = self._initial_carry(policies, cell, keys)
        started = started._replace(run=started.run._replace(over=jnp.arange(batch) >= count))  # padding is over

        def cycle(carry: tuple[Array, _CycleCarry]) -> tuple[Array, _CycleCarry]:
            time, episodes = carry
            episodes = batches.take(episodes, jnp.argsort(episodes.run.over))
            alive = batch - episodes.run.over.sum(dtype=jnp.int32)

            def play_block(index: Array, episodes: _CycleCarry) -> _CycleCarry:
                members = index * block + jnp.arange(block)
                return batches.put(
                    episodes, members, self._cycle(policies, cell, time, batches.take(episodes, members))
                )

            return time + cell.horizon, jax.lax.fori_loop(0, (alive + block - 1) // block, play_block, episodes)

        def any_alive(carry: tuple[Array, _CycleCarry]) -> Array:
            return ~carry[1].run.over.all()  # the time limit ends every episode

        _, ended = jax.lax.while_loop(any_alive, cycle, (jnp.int32(0), started))
        run = batches.take(ended, jnp.argsort(ended.number)[:count]).run
        steps = jnp.maximum(run.length - 1, 1)
        return Outcomes(
            run.solved,
            run.reward,
            run.length,
            run.change / steps,
            run.boundary_change / jnp.maximum(run.boundaries, 1),
            run.not_finite_at,
        )

    def _prepared(self, policy: flow.FlowPolicy) -> tuple[flow.FlowPolicy, ...]:
        """What each strategy acts by."""
        return tuple(strategy.prepare(policy) for strategy in self.strategies)

    def _initial_carry(self, policies: Policies, cell: TracedCell, keys: Array) -> _CycleCarry:
        batch = keys.shape[0]
        obs, state = self.env.reset(keys, batch)
        zero, no = jnp.zeros(batch), jnp.zeros(batch, bool)
        action, never = jnp.zeros((batch, self.env.action_size)), jnp.full(batch, NEVER, jnp.int32)
        run = _StepCarry(state, obs, action, no, no, zero, zero, zero, zero, zero, never)
        firsts = self._methods("first", policies)
        chunk = self._switched(cell, "first", firsts, obs, self._noise(keys, jnp.int32(0)))
        if self._begins_late:
            chunk = jnp.pad(chunk, ((0, 0), (0, chunk.shape[1]), (0, 0)))
        memory = tuple(init(batch) for init in self._methods("init", policies))
        return _CycleCarry(run, chunk, memory, keys, jnp.arange(batch))

    def _methods(self, name: str, policies: Policies) -> list[Callable]:
        """Every strategy's method of this name, with its policy."""
        pairs = zip(self.strategies, policies, strict=True)
        return [functools.partial(getattr(strategy, name), policy) for strategy, policy in pairs]

    def _timing(self, cell: TracedCell) -> _Timing:
        waits, late = (
            jnp.array([strategy.timing == timing for strategy in self.strategies])[cell.strategy_index]
            for timing in (base.WAITING, base.FROM_ARRIVAL)
        )
        return _Timing(jnp.where(waits, 0, cell.delay), jnp.where(late, cell.delay, 0))

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

    def _cycle(self, policies: Policies, cell: TracedCell, time: Array, episodes: _CycleCarry) -> _CycleCarry:
        """One request, and the control steps until the next.

        Episodes that are over wait at the start: where they ended much may touch, and slow the physics of all.
        """
        run, _, _, keys, number = episodes
        _, start_state = self.env.reset(keys, keys.shape[0])
        run = run._replace(state=self.env.where(run.over, start_state, run.state))
        executing, memory = self._plan(policies, cell, time, episodes._replace(run=run))
        takeover = self._timing(cell).takeover

        def step(index: Array, run: _StepCarry) -> _StepCarry:
            action = self._action(policies, cell, run.obs, executing, index, time, memory)
            is_boundary = timeline.is_chunk_boundary(index, takeover, cell.horizon)
            return self._step(run, action, keys, time + index, is_boundary)

        run = jax.lax.fori_loop(0, cell.horizon, step, run)
        return _CycleCarry(run, timeline.shift(executing, cell.horizon), memory, keys, number)

    def _plan(
        self, policies: Policies, cell: TracedCell, time: Array, episodes: _CycleCarry
    ) -> tuple[Array, base.Memory]:
        """What is executed [B, L, A] from a request at ``time`` on, and the memories after it."""
        noise, strategy_keys = self._noise(episodes.keys, time), _step_keys(episodes.keys, time, STRATEGY)
        previous = episodes.chunk[:, : noise.shape[1]]
        seen = {"ahead": self._ahead(cell, episodes), "own": jnp.asarray(self.env.own)}
        request = base.Request(episodes.run.obs, previous, cell.delay, cell.horizon, noise, strategy_keys, **seen)
        alive = (~episodes.run.over).sum(dtype=jnp.int32)

        def plan(index: int, request: base.Request, memory: tuple) -> tuple[Array, tuple]:
            strategy = self.strategies[index]
            request = request if strategy.looks_ahead else request._replace(ahead=None)
            new, own_memory = batches.plan_alive(strategy, policies[index], request, memory[index], alive)
            return new, (*memory[:index], own_memory, *memory[index + 1 :])

        plans = [functools.partial(plan, index) for index in range(len(self.strategies))]
        new, memory = jax.lax.switch(cell.strategy_index, plans, request, episodes.memory)
        timing = self._timing(cell)
        begin = timing.begin if self._begins_late else None
        return timeline.merge(episodes.chunk, new, timing.takeover, begin), memory

    def _ahead(self, cell: TracedCell, episodes: _CycleCarry) -> Array | None:
        """For a strategy that looks ahead, the observation [B, O] when its chunk will arrive; for others that of now.

        None where no strategy does. All share one simulation, because compiling physics is dear.
        """
        looks = [strategy.looks_ahead for strategy in self.strategies]
        if not any(looks):
            return None
        steps = jnp.where(jnp.array(looks)[cell.strategy_index], self._timing(cell).takeover, 0)
        return self.env.observe(self.env.predict(episodes.run.state, episodes.chunk, steps))

    def _action(
        self, policies: Policies, cell: TracedCell, obs: Array, executing: Array, index: Array, time: Array, memory
    ) -> Array:
        """The action [B, A] at a step of a cycle whose request was at ``time``, within no bounds yet."""
        place = timeline.index_in_chunk(
            index, is_first_cycle=time == 0, horizon=cell.horizon, **self._timing(cell)._asdict()
        )

        def correct(method: Callable, own_memory: base.Memory, action: Array) -> Array:
            return method(obs, action, place, own_memory)

        corrections = [
            functools.partial(correct, method, own_memory)
            for method, own_memory in zip(self._methods("correct", policies), memory, strict=True)
        ]
        return self._switched(cell, "correct", corrections, jnp.take(executing, index, axis=1))

    def replay(
        self, *, seed: int, episode: int, delay: int, horizon: int, strategy_index: int = 0
    ) -> tuple[list[tuple], bool]:
        """One episode of those that a call plays, step by step, to look at.

        Returns the moving bodies' x, y and angle, each [M], at every control step and at the end, and whether it was solved.
        """
        key, cell = jax.random.key(seed), TracedCell(*map(jnp.int32, (strategy_index, delay, horizon)))
        keys = jax.random.fold_in(key, episode)[None]
        step, plan, act = (self._jitted(name) for name in ("_step", "_plan", "_action"))
        poses = jax.jit(lambda state: self.env.engine.bodies(state.sim)[:3])
        policies = self._jitted("_prepared")(self.policy)
        episodes, frames = self._jitted("_initial_carry")(policies, cell, keys), []
        for time in range(self.env.max_steps):
            run, index = episodes.run, jnp.int32(time % horizon)
            frames.append(poses(run.state))
            if time % horizon == 0:
                executing, memory = plan(policies, cell, jnp.int32(time), episodes)
                episodes = episodes._replace(chunk=timeline.shift(executing, horizon), memory=memory)
            action = act(policies, cell, run.obs, executing, index, time - index, memory)
            run = step(run, action, keys, jnp.int32(time), jnp.bool_(False))
            episodes = episodes._replace(run=run)
            if run.over[0]:
                break
        if run.not_finite_at[0] != NEVER:
            raise _not_finite(time, episode, seed)
        frames.append(poses(run.state))
        return [tuple(np.asarray(column)[:, 0] for column in frame) for frame in frames], bool(run.solved[0])

    @functools.cache  # noqa: B019  (an evaluator lives as long as its program)
    def _jitted(self, name: str):
        return jax.jit(getattr(self, name))

    def _noise(self, keys: Array, time: Array) -> Array:
        """Flow noise [B, H, A] of a control step."""
        shape = (self.policy.config.horizon, self.env.action_size)
        return jax.vmap(lambda key: jax.random.normal(key, shape))(_step_keys(keys, time, FLOW))

    def _step(self, run: _StepCarry, action: Array, keys: Array, time: Array, is_boundary: Array) -> _StepCarry:
        noise = _step_keys(keys, time, ACTUATION)
        finite = jnp.isfinite(action).all(-1)
        action = jnp.where(
            finite[:, None], jnp.clip(action, self.env.action_low[None], self.env.action_high[None]), 0.0
        )
        obs, state, reward, terminated, truncated, info = self.env.step(noise, run.state, action)
        alive = ~run.over
        follows = alive & (time > 0)
        change = jnp.where(follows, jnp.abs(action - run.action).mean(-1), 0.0)
        return _StepCarry(
            state=state,
            obs=obs,
            action=action,
            over=run.over | terminated | truncated | ~finite,
            solved=run.solved | (info["solved"] & alive),
            reward=run.reward + jnp.where(alive, reward, 0.0),
            length=run.length + alive.astype(jnp.float32),
            change=run.change + change,
            boundary_change=run.boundary_change + jnp.where(is_boundary, change, 0.0),
            boundaries=run.boundaries + (follows & is_boundary).astype(jnp.float32),
            not_finite_at=jnp.where(alive & ~finite, time, run.not_finite_at),
        )


def _step_keys(keys: Array, time: Array, purpose: int) -> Array:
    """The episodes' keys [B] at a control step, for one purpose."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, time), purpose))(keys)
