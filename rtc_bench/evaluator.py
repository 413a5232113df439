"""Run a strategy in a task: one compilation per task and strategy serves every delay and execution horizon."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import envs.env
from policies import flow
from rtc_bench import execution, parallel
from rtc_bench.strategies import base

ACTUATION, FLOW, STRATEGY = 0, 1, 2  # what random numbers of an episode and control step are for


class Outcomes(NamedTuple):
    """The first episode of each rollout; one entry per episode, [E]."""

    solved: Any  # bool
    total_reward: Any  # +1 solved, -1 failed, 0 neither
    length: Any  # control steps
    action_change: Any  # mean |difference| of consecutive actions
    boundary_change: Any  # the same, only where a new chunk takes over


class _Run(NamedTuple):
    """What is carried from control step to control step."""

    state: envs.env.State
    obs: Array  # [B, O]
    action: Array  # [B, A], the last one executed
    over: Array  # [B] bool
    solved: Array  # [B] bool
    reward: Array  # [B]
    length: Array  # [B]
    change: Array  # [B], sums of |difference|
    boundary: Array  # [B]
    boundaries: Array  # [B], counts


class _Episodes(NamedTuple):
    """What is carried from request to request; the batch is the first axis, but the last one in ``run.state``."""

    run: _Run
    chunk: Array  # [B, H, A], executing
    memory: base.Memory
    keys: Array  # [B], of the episodes
    place: Array  # [B], where the episode stood at first


BLOCK = (
    64  # episodes that go through a cycle together on a CPU: they stay in its cache, and whole blocks can be skipped
)


class Evaluator:
    """Jitted episodes of one task, policy and strategy, spread over all devices.

    Random numbers belong to (seed, episode, control step) alone, so that every strategy meets the same actuation noise
    and the same flow noise, and neither the batch size nor the number of devices changes a result. Episodes that are over
    are sorted to the end, where whole blocks of them cost nothing.
    """

    def __init__(self, env: envs.env.TaskEnv, policy: flow.FlowPolicy, strategy: base.Strategy, *, batch: int = 512):
        self.env, self.policy, self.strategy = env, policy, strategy
        self.devices = jax.device_count()
        self.local = max(1, batch // self.devices)
        self._spread = parallel.spread(self._episodes, shared=4)

    def __call__(self, *, seed: int, episodes: int, delay: int, horizon: int) -> Outcomes:
        """``episodes`` episodes with inference delay ``delay`` and execution horizon ``horizon``, as NumPy arrays [E]."""
        local = min(self.local, -(-episodes // self.devices))
        many = local * self.devices
        parts = []
        for first in range(0, episodes, many):
            numbers = jnp.arange(first, first + many, dtype=jnp.uint32).reshape(self.devices, local)
            key = jax.random.key(seed)
            parts.append(self._spread(self.policy, key, jnp.int32(delay), jnp.int32(horizon), numbers))
        joined = [
            np.concatenate([np.asarray(leaf).reshape(-1) for leaf in leaves]) for leaves in zip(*parts, strict=True)
        ]
        return Outcomes(*(leaf[:episodes] for leaf in joined))

    def _episodes(self, policy: flow.FlowPolicy, key: Array, delay: Array, horizon: Array, numbers: Array) -> Outcomes:
        count = numbers.shape[0]
        block = BLOCK if jax.default_backend() == "cpu" and count > BLOCK else count
        batch = -(-count // block) * block
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.pad(numbers, (0, batch - count)))
        started = self._start(policy, key, keys)
        started = started._replace(run=started.run._replace(over=jnp.arange(batch) >= count))  # padding is over

        def cycle(carry: tuple[Array, _Episodes]) -> tuple[Array, _Episodes]:
            time, episodes = carry
            episodes = _take(episodes, jnp.argsort(episodes.run.over))
            busy = batch - episodes.run.over.sum(dtype=jnp.int32)

            def go(index: Array, episodes: _Episodes) -> _Episodes:
                here = index * block + jnp.arange(block)
                return _put(episodes, here, self._cycle(policy, delay, horizon, time, _take(episodes, here)))

            return time + horizon, jax.lax.fori_loop(0, (busy + block - 1) // block, go, episodes)

        def busy(carry: tuple[Array, _Episodes]) -> Array:
            return ~carry[1].run.over.all()  # the time limit ends every episode

        _, ended = jax.lax.while_loop(busy, cycle, (jnp.int32(0), started))
        run = _take(ended, jnp.argsort(ended.place)[:count]).run
        steps = jnp.maximum(run.length - 1, 1)
        return Outcomes(
            run.solved, run.reward, run.length, run.change / steps, run.boundary / jnp.maximum(run.boundaries, 1)
        )

    def _start(self, policy: flow.FlowPolicy, key: Array, keys: Array) -> _Episodes:
        batch = keys.shape[0]
        obs, state = self.env.reset(key, batch)
        zero, no = jnp.zeros(batch), jnp.zeros(batch, bool)
        run = _Run(state, obs, jnp.zeros((batch, self.env.action_size)), no, no, zero, zero, zero, zero, zero)
        chunk = self.strategy.first(policy, obs, self._noise(keys, jnp.int32(0)))
        return _Episodes(run, chunk, self.strategy.init(policy, batch), keys, jnp.arange(batch))

    def _cycle(
        self, policy: flow.FlowPolicy, delay: Array, horizon: Array, time: Array, episodes: _Episodes
    ) -> _Episodes:
        """One request, and the control steps until the next."""
        run, _, _, keys, place = episodes
        executing, memory = self._plan(policy, delay, horizon, time, episodes)

        def step(index: Array, run: _Run) -> _Run:
            action = self._action(policy, run.obs, executing, index, memory)
            return self._step(run, action, keys, time + index, execution.takes_over(index, delay, horizon))

        run = jax.lax.fori_loop(0, horizon, step, run)
        return _Episodes(run, execution.shift(executing, horizon), memory, keys, place)

    def _plan(
        self, policy: flow.FlowPolicy, delay: Array, horizon: Array, time: Array, episodes: _Episodes
    ) -> tuple[Array, base.Memory]:
        """What is executed [B, H, A] from a request at ``time`` on, and the memory after it."""
        noise, more = self._noise(episodes.keys, time), _at(episodes.keys, time, STRATEGY)
        request = base.Request(episodes.run.obs, episodes.chunk, delay, horizon, noise, more)
        new, memory = self.strategy.plan(policy, request, episodes.memory)
        return execution.merge(episodes.chunk, new, delay), memory

    def _action(self, policy: flow.FlowPolicy, obs: Array, executing: Array, index: Array, memory) -> Array:
        """The action [B, A] at a step of a cycle."""
        action = self.strategy.correct(policy, obs, jnp.take(executing, index, axis=1), index, memory)
        return jnp.clip(action, self.env.action_low[None], self.env.action_high[None])

    def watch(self, *, seed: int, episode: int, delay: int, horizon: int) -> tuple[list[tuple], bool]:
        """One episode of those that a call plays, step by step, to look at.

        Returns the moving bodies' x, y and angle, each [M], at every control step and at the end, and whether it was solved.
        """
        key, d, s = jax.random.key(seed), jnp.int32(delay), jnp.int32(horizon)
        keys = jax.random.fold_in(key, episode)[None]
        step, plan, choose = jax.jit(self._step), jax.jit(self._plan), jax.jit(self._action)
        place = jax.jit(lambda state: self.env.engine.bodies(state.sim)[:3])
        episodes, frames = jax.jit(self._start)(self.policy, key, keys), []
        for time in range(self.env.max_steps):
            run, index = episodes.run, jnp.int32(time % horizon)
            frames.append(place(run.state))
            if time % horizon == 0:
                executing, memory = plan(self.policy, d, s, jnp.int32(time), episodes)
                episodes = episodes._replace(chunk=execution.shift(executing, s), memory=memory)
            action = choose(self.policy, run.obs, executing, index, memory)
            run = step(run, action, keys, jnp.int32(time), jnp.bool_(False))
            episodes = episodes._replace(run=run)
            if run.over[0]:
                break
        frames.append(place(run.state))
        return [tuple(np.asarray(column)[:, 0] for column in frame) for frame in frames], bool(run.solved[0])

    def _noise(self, keys: Array, time: Array) -> Array:
        """Flow noise [B, H, A] of a control step."""
        shape = (self.policy.config.horizon, self.env.action_size)
        return jax.vmap(lambda key: jax.random.normal(key, shape))(_at(keys, time, FLOW))

    def _step(self, run: _Run, action: Array, keys: Array, time: Array, fresh: Array) -> _Run:
        noise = _at(keys, time, ACTUATION)
        obs, state, reward, terminated, truncated, info = self.env.step(noise, run.state, action)
        alive = ~run.over
        follows = alive & (time > 0)
        change = jnp.where(follows, jnp.abs(action - run.action).mean(-1), 0.0)
        return _Run(
            state=state,
            obs=obs,
            action=action,
            over=run.over | terminated | truncated,
            solved=run.solved | (info["solved"] & alive),
            reward=run.reward + jnp.where(alive, reward, 0.0),
            length=run.length + alive.astype(jnp.float32),
            change=run.change + change,
            boundary=run.boundary + jnp.where(fresh, change, 0.0),
            boundaries=run.boundaries + (follows & fresh).astype(jnp.float32),
        )


def _at(keys: Array, time: Array, purpose: int) -> Array:
    """The episodes' keys [B] at a control step, for one purpose."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, time), purpose))(keys)


def _take(episodes: _Episodes, index: Array) -> _Episodes:
    """The episodes at ``index``."""
    state = jax.tree.map(lambda leaf: leaf[..., index], episodes.run.state)
    return _with_state(jax.tree.map(lambda leaf: leaf[index], _without_state(episodes)), state)


def _put(episodes: _Episodes, index: Array, new: _Episodes) -> _Episodes:
    """``episodes`` with those at ``index``, a run of neighbours, replaced."""

    def written(old: Array, new: Array, axis: int) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, index[0], axis)

    state = jax.tree.map(lambda a, b: written(a, b, a.ndim - 1), episodes.run.state, new.run.state)
    rest = jax.tree.map(lambda a, b: written(a, b, 0), _without_state(episodes), _without_state(new))
    return _with_state(rest, state)


def _without_state(episodes: _Episodes) -> _Episodes:
    return _with_state(episodes, None)


def _with_state(episodes: _Episodes, state) -> _Episodes:
    return episodes._replace(run=episodes.run._replace(state=state))
