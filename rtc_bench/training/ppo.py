"""PPO with the RPO perturbation (arXiv 2212.07536), as pure functions. Shapes: T steps, B environments, N samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import actor_critic


class Transition(NamedTuple):
    """One control step of every environment; stacked over time each leaf is [T, B, ...]."""

    features: Array  # [B, F]
    raw_action: Array  # [B, A], before squashing
    log_prob: Array  # [B], of the raw action
    value: Array  # [B]
    reward: Array  # [B], a truncated episode's holds the value of where it was cut
    done: Array  # [B] bool, the episode ended here


def gae(reward: Array, value: Array, done: Array, last_value: Array, *, gamma: float, decay: float) -> Array:
    """Generalised advantage estimates [T, B] (arXiv 1506.02438, equation 16). ``last_value`` [B] follows step T - 1."""

    def back(carry, step):
        advantage, following = carry
        reward, value, done = step
        alive = 1.0 - done.astype(value.dtype)
        delta = reward + gamma * following * alive - value
        advantage = delta + gamma * decay * alive * advantage
        return (advantage, value), advantage

    start = (jnp.zeros_like(last_value), last_value)
    return jax.lax.scan(back, start, (reward, value, done), reverse=True)[1]


def shaping(before: Array, after: Array, solved: Array, *, gamma: float) -> Array:
    """Potential-based reward [B] for metres nearer (Ng et al. 1999), from distances [B] before and after a step.

    A solved episode ends at potential 0, so that over an episode shaping pays the first distance, whichever way led to the
    goal; centres may be metres apart where shapes touch, and without this waiting would pay as much as solving.
    """
    return before - gamma * jnp.where(solved, 0.0, after)


def policy_loss(ratio: Array, advantage: Array, *, clip: float) -> Array:
    """The clipped surrogate objective, as a loss: mean over N of -min(r A, clip(r) A)."""
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage).mean()


def loss(
    outputs: tuple[Array, Array],
    batch: Transition,
    advantage: Array,
    target: Array,
    *,
    key: Array,
    clip: float,
    value_coefficient: float,
    std: Array | float,
    perturbation: float,
) -> Array:
    """RPO loss of N samples: PPO's, with the mean shifted by uniform noise in [-perturbation, perturbation]."""
    mean, value = outputs
    mean = mean + jax.random.uniform(key, mean.shape, minval=-perturbation, maxval=perturbation)
    distribution = actor_critic.gaussian(mean, std)
    ratio = jnp.exp(distribution.log_prob(batch.raw_action) - batch.log_prob)
    normal = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    value_loss = 0.5 * jnp.mean((value - target) ** 2)
    return policy_loss(ratio, normal, clip=clip) + value_coefficient * value_loss
