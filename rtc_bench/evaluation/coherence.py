"""Whether a chunking method can matter for a policy, or for data: how far asking anew differs from continuing a chunk."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import devices
from rtc_bench.envs import task_env
from rtc_bench.policies import flow
from rtc_bench.strategies import naive

BLOCK = 64  # observations whose neighbours are looked for at once
NEAR_BOUND = 0.05  # an action this near to one counts as saturated, in units of action


class Coherence(NamedTuple):
    """Over control steps (a policy's: of naive episodes without delay, s = 1) and over action dimensions."""

    spread: float  # standard deviation of a chunk's first action over draws at one observation (root mean square)
    correlation: float  # of a chunk's first and second action, over the same draws (pooled)
    asking_anew: float  # |first action of the new chunk - second action of the old one|
    continuing: float  # |second action of the old chunk - its first|
    saturation: float  # share of executed actions near a bound


class _Sums(NamedTuple):
    """Over control steps of episodes that are not over, each summed over action dimensions too; one entry an episode."""

    steps: Any
    first: Any  # squared deviations of the first action from the mean over draws
    second: Any
    product: Any  # of both deviations
    asking_anew: Any
    continuing: Any
    saturated: Any


def measure(
    env: task_env.TaskEnv,
    policy: flow.FlowPolicy,
    *,
    seed: int,
    episodes: int = 64,
    draws: int = 16,
    flow_steps: int = 5,
) -> Coherence:
    """Play ``episodes`` naively and draw ``draws`` chunks at every observation on the way."""
    keys = jax.random.split(jax.random.key(seed), devices.rounded_up(episodes)).reshape(jax.device_count(), -1)
    play = functools.partial(_play, env, draws=draws, flow_steps=flow_steps)
    sums = devices.ShardedFunction(play, shared=1)(policy, keys)
    total = _Sums(*(float(devices.episodes_of(leaf, episodes).sum(dtype=np.float64)) for leaf in sums))
    values = total.steps * env.action_size
    return Coherence(
        spread=(total.first / values * draws / (draws - 1)) ** 0.5,
        correlation=total.product / max(1e-12, (total.first * total.second) ** 0.5),
        asking_anew=total.asking_anew / values,
        continuing=total.continuing / values,
        saturation=total.saturated / values,
    )


def _play(env: task_env.TaskEnv, policy: flow.FlowPolicy, keys: Array, *, draws: int, flow_steps: int) -> _Sums:
    """``keys`` [B], one an episode."""
    strategy, batch = naive.Naive(flow_steps=flow_steps), keys.shape[0]
    shape = (draws, policy.config.horizon, env.action_size)

    def step(carry: tuple, _) -> tuple[tuple, None]:
        state, obs, previous, over, sums = carry
        step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), shape), out_axes=1)(step_keys)
        chunks = jax.vmap(lambda noise: strategy.sample(policy, obs, noise))(noise)  # [draws, B, H, A]
        alive, follows = ~over, ~over & (state.time > 0)
        action = jnp.clip(chunks[0, :, 0], env.action_low[None], env.action_high[None])
        saturated = _near_bound(action, env.action_low, env.action_high)
        sums = _added(sums, chunks, previous, saturated, alive, follows)
        obs, state, _, terminated, truncated, _ = env.step(step_keys, state, action)
        return (state, obs, chunks[0], over | terminated | truncated, sums), None

    obs, state = env.reset(keys, batch)
    zero = jnp.zeros(batch)
    carry = (state, obs, jnp.zeros((batch, *shape[1:])), jnp.zeros(batch, bool), _Sums(*[zero] * len(_Sums._fields)))
    return jax.lax.scan(step, carry, length=env.max_steps)[0][4]


def _added(sums: _Sums, chunks: Array, previous: Array, saturated: Array, alive: Array, follows: Array) -> _Sums:
    first, second = (chunks[:, :, index] - chunks[:, :, index].mean(0)[None] for index in (0, 1))

    def total(values: Array, mask: Array) -> Array:
        return jnp.where(mask[:, None], values, 0.0).sum(1)

    new = _Sums(
        steps=alive.astype(jnp.float32),
        first=total((first * first).mean(0), alive),
        second=total((second * second).mean(0), alive),
        product=total((first * second).mean(0), alive),
        asking_anew=total(jnp.abs(chunks[0, :, 0] - previous[:, 1]), follows),
        continuing=total(jnp.abs(previous[:, 1] - previous[:, 0]), follows),
        saturated=total(saturated.astype(jnp.float32), alive),
    )
    return jax.tree.map(jnp.add, sums, new)


def _near_bound(action: Any, low: np.ndarray, high: np.ndarray) -> Any:
    """Whether each action [N, A] lies near a bound [A]."""
    return (action < low[None] + NEAR_BOUND) | (action > high[None] - NEAR_BOUND)


def measure_data(
    obs: np.ndarray,
    action: np.ndarray,
    episode: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    *,
    seed: int = 0,
    steps: int = 1024,
    draws: int = 16,
) -> Coherence:
    """The same of data: obs [N, O], action [N, A] within ``bounds``, episode [N] ascending, at ``steps`` steps drawn from them.

    Data has one action an observation. So what followed the ``draws`` nearest observations of other episodes stands for draws at
    one observation; a spread includes what the neighbours differ by.
    """
    scaled = ((obs - obs.mean(0)) / np.maximum(obs.std(0), 1e-2)).astype(np.float32)
    goes_on = np.flatnonzero(np.append(episode[1:] == episode[:-1], False))  # steps with a next one in their episode
    asked = np.sort(np.random.default_rng(seed).choice(goes_on, min(steps, len(goes_on)), replace=False))
    near = _nearest(scaled, episode, asked, goes_on, draws)  # [S, draws]
    after = _nearest(scaled, episode, asked + 1, np.arange(len(episode)), 1)[:, 0]
    first, second = (action[near + index] for index in (0, 1))
    first, second = first - first.mean(1, keepdims=True), second - second.mean(1, keepdims=True)
    return Coherence(
        spread=float(((first * first).mean() * draws / (draws - 1)) ** 0.5),
        correlation=float((first * second).sum() / max(1e-12, ((first**2).sum() * (second**2).sum()) ** 0.5)),
        asking_anew=float(np.abs(action[after] - action[asked + 1]).mean()),
        continuing=float(np.abs(action[asked + 1] - action[asked]).mean()),
        saturation=float(_near_bound(action, *bounds).mean()),
    )


def _nearest(
    points: np.ndarray, episode: np.ndarray, asked: np.ndarray, candidates: np.ndarray, count: int
) -> np.ndarray:
    """[S, count] of ``candidates``: the nearest points of other episodes than the asked one's."""
    others = points[candidates]
    squares = (others * others).sum(1)
    nearest = []
    for block in np.array_split(asked, -(-len(asked) // BLOCK)):
        distance = squares - 2 * points[block] @ others.T  # and the asked point's square, the same for all
        distance[episode[block][:, None] == episode[candidates][None]] = np.inf
        nearest.append(np.argpartition(distance, count - 1, axis=1)[:, :count])
    return candidates[np.concatenate(nearest)]
