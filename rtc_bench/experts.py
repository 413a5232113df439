"""Train experts: search for a success, then RPO from states along it and from the real start; keep what solves."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import envs
import envs.env
from policies import actor_critic, checkpoint
from rtc_bench import config as configs
from rtc_bench import parallel

Params = dict[str, Any]


class Memory(NamedTuple):
    """What an expert sees besides now."""

    frames: Array  # [B, history, O], oldest first, scaled
    last_action: Array  # [B, A]


class Expert(NamedTuple):
    """A trained expert: network parameters and the fixed observation scaling."""

    params: Params
    obs_mean: Array  # [O]
    obs_std: Array


def first_memory(obs: Array, expert: Expert, *, history: int, action_size: int) -> Memory:
    """The memory at an episode's start: the first frame, repeated; no action yet."""
    frame = _scaled(obs, expert)[:, None]
    return Memory(jnp.repeat(frame, history, 1), jnp.zeros((obs.shape[0], action_size)))


def remember(memory: Memory, obs: Array, action: Array, expert: Expert) -> Memory:
    """Shift a new observation [B, O], and the action [B, A] that led to it, in."""
    return Memory(jnp.concatenate([memory.frames[:, 1:], _scaled(obs, expert)[:, None]], 1), action)


def features(memory: Memory) -> Array:
    """Network input [B, history * O + A]."""
    return jnp.concatenate([memory.frames.reshape(memory.frames.shape[0], -1), memory.last_action], -1)


def _scaled(obs: Array, expert: Expert) -> Array:
    return jnp.clip((obs - expert.obs_mean[None]) / expert.obs_std[None], -5.0, 5.0)


def motors_of(env: envs.env.TaskEnv) -> int:
    """How many leading action dimensions are motors (bounded below by -1, not 0)."""
    return int((env.action_low < 0).sum())


def network_of(config: configs.ExpertConfig, env: envs.env.TaskEnv) -> actor_critic.ActorCritic:
    """The network of this size for this task."""
    return actor_critic.ActorCritic(env.action_size, config.width)


def mean_action(network: actor_critic.ActorCritic, expert: Expert, memory: Memory, motors: int) -> Array:
    """The expert's action [B, A] without exploration, within bounds."""
    return actor_critic.squash(network.apply(expert.params, features(memory))[0], motors)


class Evaluation:
    """Jitted solve rate of experts from the real start, by their mean actions, under actuation noise."""

    def __init__(self, env: envs.env.TaskEnv, network: actor_critic.ActorCritic, *, history: int):
        self.env, self.network, self.history = env, network, history
        self._run = parallel.Spread(self._episodes, shared=1)

    def __call__(self, expert: Expert, *, seed: int, episodes: int) -> np.ndarray:
        """Whether each episode was solved, [episodes] bool."""
        devices = jax.device_count()
        local = -(-episodes // devices)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(local * devices))
        return np.asarray(self._run(expert, keys.reshape(devices, local))).reshape(-1)[:episodes]

    def _episodes(self, expert: Expert, keys: Array) -> Array:
        env, motors = self.env, motors_of(self.env)
        obs, state = env.reset(keys[0], keys.shape[0])
        memory = first_memory(obs, expert, history=self.history, action_size=env.action_size)

        def step(carry):
            state, memory, solved, over = carry
            action = mean_action(self.network, expert, memory, motors)
            step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
            obs, state, _, terminated, truncated, info = env.step(step_keys, state, action)
            solved = solved | (info["solved"] & ~over)
            return state, remember(memory, obs, action, expert), solved, over | terminated | truncated

        undecided = jnp.zeros(keys.shape[0], bool)
        return jax.lax.while_loop(lambda c: ~c[3].all(), step, (state, memory, undecided, undecided))[2]


def load(folder: pathlib.Path | str, task: str, *, min_solve_rate: float) -> tuple[list[Expert], list[dict[str, Any]]]:
    """All experts of a task whose solve rate suffices, and their headers. Raises CheckpointError if there is none."""
    files = sorted((pathlib.Path(folder) / task).glob("seed*.safetensors"))
    loaded = [checkpoint.load(file, kind="expert") for file in files]
    good = [(Expert(**arrays), head) for arrays, head in loaded if head["solve_rate"] >= min_solve_rate]
    if not good:
        rates = ", ".join(f"{head['solve_rate']:.2f}" for _, head in loaded) or "none"
        raise checkpoint.CheckpointError(
            f"no expert of {task} in {folder} solves {min_solve_rate:.2f} or more (found: {rates}); "
            f"train one with `python scripts/train_expert.py task={task}`"
        )
    return [expert for expert, _ in good], [head for _, head in good]
