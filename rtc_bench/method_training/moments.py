"""What a training stage learns from, on the device: moments of a task's data, or of roll-outs that an expert labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import devices, progress
from rtc_bench.envs import task_env
from rtc_bench.policies import actor_critic, flow
from rtc_bench.strategies import base, naive
from rtc_bench.training import expert_data, experts
from rtc_bench.training import settings as training_settings

EPISODES = 512  # of a roll-out
OWN_NOISE = 2  # what a key of an episode and control step is for: the policy's flow noise


class DataMoments(NamedTuple):
    """Every control step of a task's data is a moment."""

    obs: Array  # [N, O]
    action: Array  # [N, A]
    end: Array  # [N] int32, index after the step's episode

    @property
    def size(self) -> int:
        """Moments."""
        return len(self.end)

    def batch(self, index: Array, *, horizon: int, own: Array, progress: Array) -> base.Batch:
        """The moments ``index`` [K]."""
        steps = index[:, None] + jnp.arange(horizon)[None]
        last = self.end[index][:, None] - 1
        action = expert_data.action_chunks(self.action, self.end, index, horizon=2 * horizon)
        return base.Batch(self.obs[jnp.minimum(steps, last)], action, steps <= last, own, progress)


class RolloutMoments(NamedTuple):
    """Every chunk that a policy executed is a moment."""

    obs: Array  # [N, H, O]
    action: Array  # [N, H, A], what the expert would have done
    inside: Array  # [N, H] bool, before the episode's end
    chunk: Array  # [N, H, A]

    @property
    def size(self) -> int:
        """Moments."""
        return len(self.inside)

    def batch(self, index: Array, *, horizon: int, own: Array, progress: Array) -> base.Batch:
        """The moments ``index`` [K]; there is no action beyond the chunk, so 0 stands there."""
        inside = self.inside[index]
        steps = jnp.minimum(jnp.arange(horizon)[None], inside.sum(1)[:, None] - 1)
        obs = jnp.take_along_axis(self.obs[index], steps[..., None], axis=1)
        action = jnp.pad(jnp.where(inside[..., None], self.action[index], 0.0), ((0, 0), (0, horizon), (0, 0)))
        return base.Batch(obs, action, inside, own, progress, self.chunk[index])


Moments = DataMoments | RolloutMoments


def of_data(steps: expert_data.ExpertSteps) -> DataMoments:
    """A task's data on the device."""
    end = expert_data.episode_ends(steps.episode).astype(np.int32)
    return DataMoments(jnp.asarray(steps.obs), jnp.asarray(steps.action), jnp.asarray(end))


def best_expert(folder: str, task: str) -> tuple[experts.Expert, dict[str, Any]]:
    """The expert of the highest solve rate by mean actions, and its header. Raises CheckpointError if there is none."""
    members, headers = experts.load(folder, task, min_solve_rate=0.0, checkpoints=True)
    number = max(range(len(members)), key=lambda number: headers[number]["solve_rate"])
    return members[number], headers[number]


def of_rollouts(
    env: task_env.TaskEnv,
    policy: flow.FlowPolicy,
    expert: experts.Expert,
    expert_config: training_settings.TrainExpertConfig,
    *,
    steps: int,
    seed: int,
) -> RolloutMoments:
    """Play the policy naively (d = 0, s = H) until ``steps`` control steps are there, and label each by the expert's mean."""
    player = devices.ShardedFunction(_Player(env, expert_config).episodes, shared=2)
    parts: list[RolloutMoments] = []
    with progress.bar(f"{env.name}: roll-outs", steps, "control steps") as advance:
        advance.wait(f"compiling {env.name}")
        count = 0
        while count < steps:
            key = jax.random.fold_in(jax.random.key(seed), len(parts))
            keys = jax.random.split(key, devices.rounded_up(EPISODES)).reshape(jax.device_count(), -1)
            played = [np.asarray(leaf) for leaf in player(policy, expert, keys)]  # [D, T, B, H, ...]
            columns = [devices.episodes_of(np.moveaxis(leaf, 2, 1), EPISODES) for leaf in played]
            columns = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in columns]
            used = columns[RolloutMoments._fields.index("inside")].any(1)
            parts.append(RolloutMoments(*(leaf[used] for leaf in columns)))
            count += int(parts[-1].inside.sum())
            advance(min(count, steps))
    return RolloutMoments(*(jnp.asarray(np.concatenate(leaves)) for leaves in zip(*parts, strict=True)))


class _Player(NamedTuple):
    """Episodes of the policy, with an expert looking on."""

    env: task_env.TaskEnv
    config: training_settings.TrainExpertConfig  # the expert's

    def episodes(self, policy: flow.FlowPolicy, expert: experts.Expert, keys: Array) -> tuple[Array, ...]:
        """All chunks [T, B, H, ...] of the episodes of ``keys`` [B], as the fields of ``RolloutMoments``."""
        env, horizon = self.env, policy.config.horizon
        network, motors = experts.build_network(self.config, env), experts.motor_count(env)
        sampler = naive.Naive()
        policy = sampler.prepare(policy)

        def step(carry: tuple, action: Array) -> tuple[tuple, tuple]:
            state, obs, history, over = carry
            raw, _ = network.apply(expert.params, experts.features(history))
            label = actor_critic.squash(raw, motors)
            step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
            action = jnp.clip(action, env.action_low[None], env.action_high[None])
            next_obs, state, _, terminated, truncated, _ = env.step(step_keys, state, action)
            history = experts.append_frame(history, next_obs, action, expert)
            return (state, next_obs, history, over | terminated | truncated), (obs, label, ~over)

        def cycle(carry: tuple, _) -> tuple[tuple, tuple]:
            state, obs = carry[:2]
            step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
            shape = (horizon, env.action_size)
            noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, OWN_NOISE), shape))(step_keys)
            chunk = sampler.sample(policy, obs, noise)
            carry, (seen, label, inside) = jax.lax.scan(step, carry, chunk.swapaxes(0, 1))
            return carry, (seen.swapaxes(0, 1), label.swapaxes(0, 1), inside.T, chunk)

        obs, state = env.reset(keys, len(keys))
        sizes = {"history_length": self.config.history, "action_size": env.action_size}
        history = experts.initial_history(obs, expert, **sizes)
        start = (state, obs, history, jnp.zeros(len(keys), bool))
        return jax.lax.scan(cycle, start, length=-(-env.max_steps // horizon))[1]
