"""Where training episodes begin: at the real start, or at states along the paths to success that are neither easy nor hopeless.

Pure functions. Letters: K states, B environments, N samples. State 0 is the real start.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.envs import task_env

DECAY = 0.98  # of an iteration's counts, one iteration later
FLOOR = 0.05  # weight of a state that is always, or never, solved; the greatest weight is 1


class StartDistribution(NamedTuple):
    """Start states, and how the episodes from each ended of late."""

    states: task_env.State  # K of them
    ended: Array  # [K], decaying counts
    solved: Array  # [K]
    limit: Array  # control steps after which an episode is given up


def untried_starts(states: task_env.State, *, limit: float) -> StartDistribution:
    """Nothing is known yet."""
    nothing = jnp.zeros(states.time.shape[-1])
    return StartDistribution(states, nothing, nothing, jnp.float32(limit))


def start_solve_rate(starts: StartDistribution) -> Array:
    """Solve rate of late from the real start; 0 while nothing is known."""
    return starts.solved[0] / (starts.ended[0] + 1)


def start_weights(starts: StartDistribution) -> Array:
    """[K], greatest where about half of the episodes are solved (Florensa et al. 2018, arXiv 1705.06366); 0 for the start."""
    rate = (starts.solved + 1) / (starts.ended + 2)  # an untried state counts as one half
    return (FLOOR + (1 - FLOOR) * 4 * rate * (1 - rate)).at[0].set(0.0)


def sample_start_indices(starts: StartDistribution, shape: tuple[int, ...], *, along_way: float, key: Array) -> Array:
    """Indices of start states: by weight, or 0. All 0 if there is no other state.

    ``along_way`` is the share of the former while nothing is solved from the start; it falls by half as all comes to be.
    """
    along_key, state_key = jax.random.split(key)
    cumulative = jnp.cumsum(start_weights(starts))
    index = jnp.searchsorted(cumulative, jax.random.uniform(state_key, shape) * cumulative[-1], side="right")
    share = along_way * (1 - start_solve_rate(starts) / 2)
    along = jax.random.bernoulli(along_key, share, shape) & (cumulative[-1] > 0)
    return jnp.where(along, jnp.minimum(index, len(cumulative) - 1), 0)


def count_episodes(starts: StartDistribution, start_index: Array, ended: Array, solved: Array) -> StartDistribution:
    """Count episodes by the state they began at: ``start_index`` [N], ``ended`` and ``solved`` [N] bool."""

    def tally(old: Array, flag: Array) -> Array:
        return DECAY * old + jnp.zeros_like(old).at[start_index].add(flag.astype(old.dtype))

    return starts._replace(ended=tally(starts.ended, ended), solved=tally(starts.solved, solved & ended))
