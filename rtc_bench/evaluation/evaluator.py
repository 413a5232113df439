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
from rtc_bench.evaluation import timeline
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
    chunk: Array  # [B, H, A], executing
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
        policy = policy.with_time_modulations({strategy.flow_steps for strategy in self.strategies})
        count = numbers.shape[0]
        block = BLOCK if jax.default_backend() == "cpu" and count > BLOCK else count
        batch = -(-count // block) * block
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.pad(numbers, (0, batch - count)))
        started = self._initial_carry(policy, cell, keys)
        started = started._replace(run=started.run._replace(over=jnp.arange(batch) >= count))  # padding is over

        def cycle(carry: tuple[Array, _CycleCarry]) -> tuple[Array, _CycleCarry]:
            time, episodes = carry
            episodes = _take(episodes, jnp.argsort(episodes.run.over))
            alive = batch - episodes.run.over.sum(dtype=jnp.int32)

            def play_block(index: Array, episodes: _CycleCarry) -> _CycleCarry:
                members = index * block + jnp.arange(block)
                return _put(episodes, members, self._cycle(policy, cell, time, _take(episodes, members)))

            return time + cell.horizon, jax.lax.fori_loop(0, (alive + block - 1) // block, play_block, episodes)

        def any_alive(carry: tuple[Array, _CycleCarry]) -> Array:
            return ~carry[1].run.over.all()  # the time limit ends every episode

        _, ended = jax.lax.while_loop(any_alive, cycle, (jnp.int32(0), started))
        run = _take(ended, jnp.argsort(ended.number)[:count]).run
        steps = jnp.maximum(run.length - 1, 1)
        return Outcomes(
            run.solved,
            run.reward,
            run.length,
            run.change / steps,
            run.boundary_change / jnp.maximum(run.boundaries, 1),
            run.not_finite_at,
        )

    def _initial_carry(self, policy: flow.FlowPolicy, cell: TracedCell, keys: Array) -> _CycleCarry:
        batch = keys.shape[0]
        obs, state = self.env.reset(keys, batch)
        zero, no = jnp.zeros(batch), jnp.zeros(batch, bool)
        action, never = jnp.zeros((batch, self.env.action_size)), jnp.full(batch, NEVER, jnp.int32)
        run = _StepCarry(state, obs, action, no, no, zero, zero, zero, zero, zero, never)
        first_chunks = [functools.partial(strategy.first, policy) for strategy in self.strategies]
        chunk = self._switched(cell, "first", first_chunks, obs, self._noise(keys, jnp.int32(0)))
        memory = tuple(strategy.init(policy, batch) for strategy in self.strategies)
        return _CycleCarry(run, chunk, memory, keys, jnp.arange(batch))

    def _switched(self, cell: TracedCell, name: str, calls: Sequence[Callable[..., Array]], *arguments: Any) -> Array:
        """The call of the cell's strategy; where it is the base's for all strategies, nothing is switched."""
        inherited = [
            getattr(type(strategy), method) is getattr(base.Strategy, method)
            for strategy in self.strategies
            for method in (name, "sample")
        ]
        if all(inherited) and len({strategy.flow_steps for strategy in self.strategies}) == 1:
            return calls[0](*arguments)
        return jax.lax.switch(cell.strategy_index, calls, *arguments)

    def _cycle(self, policy: flow.FlowPolicy, cell: TracedCell, time: Array, episodes: _CycleCarry) -> _CycleCarry:
        """One request, and the control steps until the next.

        Episodes that are over wait at the start: where they ended much may touch, and slow the physics of all.
        """
        run, _, _, keys, number = episodes
        _, start_state = self.env.reset(keys, keys.shape[0])
        run = run._replace(state=self.env.where(run.over, start_state, run.state))
        executing, memory = self._plan(policy, cell, time, episodes)

        def step(index: Array, run: _StepCarry) -> _StepCarry:
            action = self._action(policy, cell, run.obs, executing, index, memory)
            return self._step(
                run, action, keys, time + index, timeline.is_chunk_boundary(index, cell.delay, cell.horizon)
            )

        run = jax.lax.fori_loop(0, cell.horizon, step, run)
        return _CycleCarry(run, timeline.shift(executing, cell.horizon), memory, keys, number)

    def _plan(
        self, policy: flow.FlowPolicy, cell: TracedCell, time: Array, episodes: _CycleCarry
    ) -> tuple[Array, base.Memory]:
        """What is executed [B, H, A] from a request at ``time`` on, and the memories after it."""
        noise, strategy_keys = self._noise(episodes.keys, time), _step_keys(episodes.keys, time, STRATEGY)
        request = base.Request(episodes.run.obs, episodes.chunk, cell.delay, cell.horizon, noise, strategy_keys)

        alive = (~episodes.run.over).sum(dtype=jnp.int32)

        def plan(index: int, request: base.Request, memory: tuple) -> tuple[Array, tuple]:
            new, own_memory = _plan_alive(self.strategies[index], policy, request, memory[index], alive)
            return new, (*memory[:index], own_memory, *memory[index + 1 :])

        plans = [functools.partial(plan, index) for index in range(len(self.strategies))]
        new, memory = jax.lax.switch(cell.strategy_index, plans, request, episodes.memory)
        return timeline.merge(episodes.chunk, new, cell.delay), memory

    def _action(
        self, policy: flow.FlowPolicy, cell: TracedCell, obs: Array, executing: Array, index: Array, memory
    ) -> Array:
        """The action [B, A] at a step of a cycle, within no bounds yet."""

        def correct(strategy: base.Strategy, own_memory: base.Memory, action: Array) -> Array:
            return strategy.correct(policy, obs, action, index, own_memory)

        action = jnp.take(executing, index, axis=1)
        corrections = [
            functools.partial(correct, strategy, own_memory)
            for strategy, own_memory in zip(self.strategies, memory, strict=True)
        ]
        return self._switched(cell, "correct", corrections, action)

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
        episodes, frames = self._jitted("_initial_carry")(self.policy, cell, keys), []
        for time in range(self.env.max_steps):
            run, index = episodes.run, jnp.int32(time % horizon)
            frames.append(poses(run.state))
            if time % horizon == 0:
                executing, memory = plan(self.policy, cell, jnp.int32(time), episodes)
                episodes = episodes._replace(chunk=timeline.shift(executing, horizon), memory=memory)
            action = act(self.policy, cell, run.obs, executing, index, memory)
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


def _plan_alive(
    strategy: base.Strategy, policy: flow.FlowPolicy, request: base.Request, memory: base.Memory, alive: Array
) -> tuple[Array, base.Memory]:
    """The strategy's plan for the first ``alive`` episodes, and some more: in parts, where the strategy says so."""
    batch, part = request.obs.shape[0], strategy.part
    if part is None or batch % part or jax.default_backend() != "cpu":
        return strategy.plan(policy, request, memory)

    def part_of(tree: Any, index: Array) -> Any:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * part, part), tree)

    def plan_part(index: Array, planned: tuple) -> tuple:
        fields = {name: part_of(getattr(request, name), index) for name in ("obs", "previous", "noise", "key")}
        new = strategy.plan(policy, request._replace(**fields), part_of(planned[1], index))
        update = jax.lax.dynamic_update_slice_in_dim
        return jax.tree.map(lambda whole, leaf: update(whole, leaf, index * part, 0), planned, new)

    return jax.lax.fori_loop(0, (alive + part - 1) // part, plan_part, (jnp.zeros_like(request.previous), memory))


def _step_keys(keys: Array, time: Array, purpose: int) -> Array:
    """The episodes' keys [B] at a control step, for one purpose."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, time), purpose))(keys)


def _take(episodes: _CycleCarry, index: Array) -> _CycleCarry:
    """The episodes at ``index``."""
    state = jax.tree.map(lambda leaf: leaf[..., index], episodes.run.state)
    return _with_state(jax.tree.map(lambda leaf: leaf[index], _without_state(episodes)), state)


def _put(episodes: _CycleCarry, index: Array, new: _CycleCarry) -> _CycleCarry:
    """``episodes`` with those at ``index``, a run of neighbours, replaced."""

    def update(old: Array, new: Array, axis: int) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, index[0], axis)

    state = jax.tree.map(lambda a, b: update(a, b, a.ndim - 1), episodes.run.state, new.run.state)
    rest = jax.tree.map(lambda a, b: update(a, b, 0), _without_state(episodes), _without_state(new))
    return _with_state(rest, state)


def _without_state(episodes: _CycleCarry) -> _CycleCarry:
    return _with_state(episodes, None)


def _with_state(episodes: _CycleCarry, state) -> _CycleCarry:
    return episodes._replace(run=episodes.run._replace(state=state))
