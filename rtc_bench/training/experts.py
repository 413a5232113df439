"""A trained expert: what it sees, how it acts, how often it solves, and loading those that are good enough."""

import hashlib
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import devices, errors
from rtc_bench.envs import task_env
from rtc_bench.policies import actor_critic, checkpoint
from rtc_bench.training import settings

NetworkParams = dict[str, Any]


EXPLORATION = 1  # what a key of an episode and control step is for, besides actuation noise


class History(NamedTuple):
    """What an expert sees besides now."""

    frames: Array  # [B, history, O], oldest first, scaled
    last_action: Array  # [B, A]


class Expert(NamedTuple):
    """A trained expert: network parameters, the fixed observation scaling, and how far it explored in the end."""

    params: NetworkParams
    obs_mean: Array  # [O]
    obs_std: Array
    action_std: Array  # [A], of actions before squashing


def digest(expert: Expert) -> str:
    """Of all its numbers."""
    sha256 = hashlib.sha256()
    for leaf in jax.tree.leaves(expert):
        sha256.update(np.asarray(leaf).tobytes())
    return sha256.hexdigest()[:12]


def initial_history(obs: Array, expert: Expert, *, history_length: int, action_size: int) -> History:
    """At an episode's start: the first frame, repeated; no action yet."""
    frame = _scaled(obs, expert)[:, None]
    return History(jnp.repeat(frame, history_length, 1), jnp.zeros((obs.shape[0], action_size)))


def append_frame(history: History, obs: Array, action: Array, expert: Expert) -> History:
    """Shift a new observation [B, O], and the action [B, A] that led to it, in."""
    return History(jnp.concatenate([history.frames[:, 1:], _scaled(obs, expert)[:, None]], 1), action)


def features(history: History) -> Array:
    """Network input [B, history * O + A]."""
    return jnp.concatenate([history.frames.reshape(history.frames.shape[0], -1), history.last_action], -1)


def _scaled(obs: Array, expert: Expert) -> Array:
    return jnp.clip((obs - expert.obs_mean[None]) / expert.obs_std[None], -5.0, 5.0)


def motor_count(env: task_env.TaskEnv) -> int:
    """How many leading action dimensions are motors (bounded below by -1, not 0)."""
    return int((env.action_low < 0).sum())


def build_network(config: settings.TrainExpertConfig, env: task_env.TaskEnv) -> actor_critic.ActorCritic:
    """The network of this size for this task."""
    return actor_critic.ActorCritic(env.action_size, config.width, learned_std=config.learned_std)


def sampled_action(
    network: actor_critic.ActorCritic, expert: Expert, history: History, motor_count: int, *, noise: Array
) -> Array:
    """The expert's action [B, A] as it explores, within bounds; ``noise`` [B, A] is Gaussian."""
    mean = network.apply(expert.params, features(history))[0]
    return actor_critic.squash(mean + expert.action_std[None] * noise, motor_count)


def action_noise(step_keys: Array, action_size: int) -> Array:
    """[B, A] from the keys [B] of a control step, apart from the actuation noise that they give."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, EXPLORATION), (action_size,)))(step_keys)


class ExpertEvaluator:
    """Jitted solve rate of experts from the real start under actuation noise, by their mean actions or as they explore."""

    def __init__(self, env: task_env.TaskEnv, network: actor_critic.ActorCritic, *, history_length: int):
        self.env, self.network, self.history_length = env, network, history_length
        self._run = devices.ShardedFunction(self._episodes, shared=1)

    def __call__(self, expert: Expert, *, seed: int, episodes: int) -> np.ndarray:
        """Whether each episode was solved by mean actions, [episodes] bool."""
        return self.sampled(expert._replace(action_std=jnp.zeros(self.env.action_size)), seed=seed, episodes=episodes)

    def sampled(self, expert: Expert, *, seed: int, episodes: int) -> np.ndarray:
        """Whether each episode was solved by actions sampled as the expert explores, [episodes] bool."""
        numbers = jnp.arange(devices.rounded_up(episodes))
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(numbers)
        return devices.episodes_of(self._run(expert, keys.reshape(jax.device_count(), -1)), episodes)

    def _episodes(self, expert: Expert, keys: Array) -> Array:
        env = self.env
        obs, state = env.reset(keys, keys.shape[0])
        history = initial_history(obs, expert, history_length=self.history_length, action_size=env.action_size)

        def step(carry):
            state, history, solved, over = carry
            step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
            noise = action_noise(step_keys, env.action_size)
            action = sampled_action(self.network, expert, history, motor_count(env), noise=noise)
            obs, state, _, terminated, truncated, info = env.step(step_keys, state, action)
            solved = solved | (info["solved"] & ~over)
            return state, append_frame(history, obs, action, expert), solved, over | terminated | truncated

        undecided = jnp.zeros(keys.shape[0], bool)
        return jax.lax.while_loop(lambda c: ~c[3].all(), step, (state, history, undecided, undecided))[2]


def load(
    folder: pathlib.Path | str, task: str, *, min_solve_rate: float, rate: str = "solve_rate", checkpoints: bool = False
) -> tuple[list[Expert], list[dict[str, Any]]]:
    """All experts of a task whose solve rate suffices, and their headers.

    Raises CheckpointError if there is none, and for experts of different settings.

    ``rate`` is "solve_rate" (by mean actions) or "sampled_solve_rate"; ``checkpoints``: the kept ones, too, of each seed's
    last training.
    """
    folder_of_task = pathlib.Path(folder) / task
    paths = finished = sorted(folder_of_task.glob("seed*.safetensors"))
    if checkpoints:
        paths = [*finished, *sorted((folder_of_task / "checkpoints").glob("seed*.safetensors"))]
    loaded = [checkpoint.load(path, kind="expert") for path in paths]
    for path, (arrays, _) in zip(paths, loaded, strict=True):
        if set(arrays) != set(Expert._fields):
            raise checkpoint.CheckpointError(f"{path}: an expert of an older version; train it again")
    trained = {header["seed"]: header["config"] for _, header in loaded[: len(finished)]}
    for path, (_, header) in zip(finished, loaded, strict=False):
        config, first = header["config"], loaded[0][1]["config"]
        if config != first:
            names = ", ".join(sorted(name for name in config if config[name] != first.get(name)))
            raise checkpoint.CheckpointError(
                f"{path}: trained by other settings ({names}) than {finished[0].name}; move it away, or train all alike"
            )
    loaded = [item for item in loaded if trained.get(item[1]["seed"]) == item[1]["config"]]
    good = [(Expert(**arrays), header) for arrays, header in loaded if header[rate] >= min_solve_rate]
    for expert, header in good:
        checkpoint.check_weights(f"{folder_of_task}, seed {header['seed']}", expert._asdict())
    if not good:
        rates = ", ".join(f"{header[rate]:.2f}" for _, header in loaded)
        lack = f" solves {min_solve_rate:.2f} or more (found: {rates})" if loaded else ""
        raise checkpoint.CheckpointError(
            f"no expert of {task} in {pathlib.Path(folder).absolute()}{lack}; "
            f"train one with `{errors.command('train-expert')} task={task}`"
        )
    return [expert for expert, _ in good], [header for _, header in good]
