"""Where training episodes begin: at the real start, or at states along ways to success that are neither easy nor hopeless.

Pure functions. Letters: K states, B environments, N samples. State 0 is the real start.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

import envs.env

MEMORY = 0.98  # of an iteration's counts, one iteration later
FLOOR = 0.05  # weight of a state that is always, or never, solved; the greatest weight is 1


class Course(NamedTuple):
    """Start states, and how the episodes from each ended of late."""

    states: envs.env.State  # K of them
    ended: Array  # [K], decaying counts
    solved: Array  # [K]
    limit: Array  # control steps after which an episode is given up


def first(states: envs.env.State, *, limit: float) -> Course:
    """Nothing is known yet."""
    nothing = jnp.zeros(states.time.shape[-1])
    return Course(states, nothing, nothing, jnp.float32(limit))


def start_rate(course: Course) -> Array:
    """Solve rate of late from the real start; 0 while nothing is known."""
    return course.solved[0] / (course.ended[0] + 1)


def weights(course: Course) -> Array:
    """[K], greatest where about half of the episodes are solved (Florensa et al. 2018, arXiv 1705.06366); 0 for the start."""
    rate = (course.solved + 1) / (course.ended + 2)  # an untried state counts as one half
    return (FLOOR + (1 - FLOOR) * 4 * rate * (1 - rate)).at[0].set(0.0)


def draw(course: Course, shape: tuple[int, ...], *, along_way: float, key: Array) -> Array:
    """Indices of start states: by weight, or 0. All 0 if there is no other state.

    ``along_way`` is the share of the former while nothing is solved from the start; it falls by half as all comes to be.
    """
    along_key, which_key = jax.random.split(key)
    total = jnp.cumsum(weights(course))
    picked = jnp.searchsorted(total, jax.random.uniform(which_key, shape) * total[-1], side="right")
    share = along_way * (1 - start_rate(course) / 2)
    along = jax.random.bernoulli(along_key, share, shape) & (total[-1] > 0)
    return jnp.where(along, jnp.minimum(picked, len(total) - 1), 0)


def update(course: Course, origin: Array, ended: Array, solved: Array) -> Course:
    """Count episodes by the state they began at: ``origin`` [N], ``ended`` and ``solved`` [N] bool."""

    def tally(old: Array, flag: Array) -> Array:
        return MEMORY * old + jnp.zeros_like(old).at[origin].add(flag.astype(old.dtype))

    return course._replace(ended=tally(course.ended, ended), solved=tally(course.solved, solved & ended))
