"""The tasks as gymnax (1.0) environments: one episode at a time, auto-reset by gymnax's own ``step``.

Meant for code written against gymnax. The batched contract of ``envs.task_env.TaskEnv`` is several times faster than a
vmapped adapter, because the engine skips solver work that no environment of its batch needs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from rtc_bench import envs
from rtc_bench.envs import task_env


@struct.dataclass
class EnvParams(environment.EnvParams):
    """Only the time limit can be changed."""

    max_steps_in_episode: int = task_env.MAX_STEPS


@struct.dataclass
class EnvState(environment.EnvState):
    """A batch of one; ``sim`` is the engine's own pytree."""

    time: jax.Array
    sim: Any


class GymnaxTaskEnv(environment.Environment[EnvState, EnvParams]):
    """One task behind gymnax's interface."""

    def __init__(self, batched: task_env.TaskEnv):
        self.batched = batched

    @property
    def default_params(self) -> EnvParams:
        """256 control steps."""
        return EnvParams()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.batched.name

    @property
    def num_actions(self) -> int:
        """Action dimensions."""
        return self.batched.action_size

    def reset_env(self, key: jax.Array, params: EnvParams) -> tuple[jax.Array, EnvState]:
        """Observation [O] and state at the start."""
        del params
        obs, state = self.batched.reset(key, 1)
        return obs[0], EnvState(time=state.time[0], sim=state.sim)

    def step_env(self, key: jax.Array, state: EnvState, action: jax.Array, params: EnvParams):
        """Observation [O], state, reward, terminated, info with ``solved``, ``failed``, ``distance``."""
        del params
        batch = task_env.State(state.sim, state.time[None])
        obs, batch, reward, terminated, _, info = self.batched.step(key, batch, action[None])
        state = EnvState(time=batch.time[0], sim=batch.sim)
        return obs[0], state, reward[0], terminated[0], {name: value[0] for name, value in info.items()}

    def get_obs(self, state: EnvState, params: EnvParams | None = None, key: jax.Array | None = None) -> jax.Array:
        """Observation [O] of a state."""
        del params, key
        return self.batched.observe(task_env.State(state.sim, state.time[None]))[0]

    def action_space(self, params: EnvParams | None = None) -> spaces.Box:
        """Motors in [-1, 1], thrusters in [0, 1]."""
        del params
        return spaces.Box(
            jnp.asarray(self.batched.action_low), jnp.asarray(self.batched.action_high), (self.batched.action_size,)
        )

    def observation_space(self, params: EnvParams | None = None) -> spaces.Box:
        """Unbounded vectors."""
        del params
        return spaces.Box(-jnp.inf, jnp.inf, (self.batched.obs_size,))


def make(name: str, **options) -> GymnaxTaskEnv:
    """A gymnax environment by task name; options as for ``envs.make``. Raises UnknownTask."""
    return GymnaxTaskEnv(envs.make(name, **options))
