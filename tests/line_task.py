"""A task with a closed-form answer, for tests of the evaluator: a point that actions and noise push along a line."""

import contextlib
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rtc_bench.policies import flow
from rtc_bench.strategies import base

with contextlib.suppress(RuntimeError):  # JAX is running already
    jax.config.update("jax_num_cpu_devices", 2)


class State(NamedTuple):
    position: Any  # [B]
    time: Any  # [B]

    @property
    def sim(self):
        return self.position


class Line:
    """Observes (time, position). Solved beyond +goal, failed beyond -goal; keeps paying +1 after an episode's end."""

    name, obs_size, action_size, max_steps = "line", 2, 1, 256
    own = np.array([False, True])
    action_low, action_high = np.array([-1e6], np.float32), np.array([1e6], np.float32)

    def __init__(self, goal=np.inf, noise_std=0.0, max_steps=256, step_log=None):
        self.goal, self.noise_std, self.max_steps, self.step_log = goal, noise_std, max_steps, step_log

    def reset(self, key, batch):
        state = State(jnp.zeros(batch), jnp.zeros(batch, jnp.int32))
        return self.observe(state), state

    def observe(self, state):
        return jnp.stack([state.time.astype(jnp.float32), state.position], -1)

    def where(self, mask, then, otherwise):
        return jax.tree.map(lambda a, b: jnp.where(mask, a, b), then, otherwise)

    def predict(self, state, actions, steps):
        """Without noise, whatever ``noise_std`` is."""
        pushes = jnp.where(jnp.arange(actions.shape[1])[None] < jnp.reshape(steps, (-1, 1)), actions[:, :, 0], 0.0)
        return State(state.position + pushes.sum(1), state.time + steps)

    def step(self, key, state, action):
        if self.step_log is not None:  # a list that every executed (time, action) is added to
            jax.debug.callback(lambda t, a: self.step_log.append((int(t), np.asarray(a))), state.time[0], action[:, 0])
        noise = jax.vmap(lambda episode_key: jax.random.normal(episode_key, (1,)))(key)
        position = state.position + (action + self.noise_std * noise)[:, 0]
        after = State(position, state.time + 1)
        solved, failed = position > self.goal, position < -self.goal
        reward = solved.astype(jnp.float32) - failed.astype(jnp.float32)
        truncated = (after.time >= self.max_steps) & ~solved & ~failed
        info = {"solved": solved, "failed": failed, "distance": jnp.abs(self.goal - position)}
        return self.observe(after), after, reward, solved | failed, truncated, info


def policy(horizon=8, obs_size=2, action_size=1):
    """A tiny untrained flow policy. Its velocity is 0: the chunk is the noise."""
    config = flow.FlowConfig(obs_size, action_size, horizon, layers=1, channels=4, channel_hidden=4, token_hidden=4)
    params = jax.tree.map(jnp.zeros_like, flow.init(jax.random.key(0), config))
    return flow.FlowPolicy(params, config, jnp.zeros(obs_size), jnp.ones(obs_size), weak=params)


FIRST = 90_000  # the chunk that executes before any request


def entry(asked_at, index):
    """What an encoded chunk holds: which chunk, which index in it."""
    return 100 * asked_at + index


@dataclasses.dataclass(frozen=True)
class Encoded(base.Strategy):
    """Chunks whose entries say (control step of the request, index)."""

    requests: Any = None  # a list that every (time, previous chunk) is added to

    def first(self, policy, obs, noise):
        return jnp.broadcast_to(FIRST + jnp.arange(noise.shape[1], dtype=jnp.float32)[None, :, None], noise.shape)

    def plan(self, policy, request, memory):
        if self.requests is not None:
            jax.debug.callback(
                lambda t, p: self.requests.append((int(t), np.asarray(p))), request.obs[0, 0], request.previous[0, :, 0]
            )
        index = jnp.arange(request.previous.shape[1], dtype=jnp.float32)
        return entry(request.obs[:, :1], index[None])[:, :, None], memory


class Placed(Encoded):
    """The same encoded actions, but their index is what ``correct`` is told."""

    def first(self, policy, obs, noise):
        return jnp.full_like(noise, FIRST)

    def plan(self, policy, request, memory):
        chunk, memory = super().plan(policy, request, memory)
        return jnp.broadcast_to(chunk[:, :1], chunk.shape), memory

    def correct(self, policy, obs, action, index, memory):
        return action + index.astype(jnp.float32)
