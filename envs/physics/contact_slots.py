"""Which of a scene's pairs touch, packed into the few slots that the solver works on.

A scene keeps up to 60 pairs, of which a handful touch at a time. Kinetix solves contacts in sequential batches, and
deals them out by their rank among the active pairs of its whole list; here every batch has ``cap`` slots, and the
touching pairs of a batch take them in turn. What a slot holds differs between environments, so it is chosen by compare and
select over the few candidates: no gather or scatter, and the batch axis stays the innermost.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs.physics import constants as const

_DIGIT = 5  # bits: a batch never holds more than 16 contacts


class SlotAssignment(NamedTuple):
    """Where the solved pairs of one kind sit."""

    solver_batch: Array  # [Q, B] int32, -1 where a pair does not touch
    slot: Array  # [Q, B] int32, batch * cap + position in the batch; beyond the last slot where a pair has none
    filled: Array  # [S, B] bool
    overflow: Array  # [] bool: some pair that touches found no slot


def product(matrix: np.ndarray, array: Array) -> Array:
    """A constant matrix times [N, B]."""
    return jnp.dot(jnp.asarray(matrix, jnp.float32), array, precision="highest")


def assign(pairs: const.Pairs, active: Array, cap: int) -> SlotAssignment:
    """Give every touching pair (``active`` [P, B]) its slot; S = batches * cap."""
    touching = active[pairs.pushing]
    list_position = pairs.first_position[:, None] - product(pairs.later, active.astype(jnp.float32))
    batch = list_position.astype(jnp.int32) % pairs.batches
    # One product counts the touching pairs further down the list in all batches at once, as digits of one number.
    digits = jnp.where(touching, (1 << (_DIGIT * batch)).astype(jnp.float32), 0.0)
    counts = product(pairs.later[:, pairs.pushing], digits).astype(jnp.int32)
    position_in_batch = (counts >> (_DIGIT * batch)) & (2**_DIGIT - 1)
    fits = touching & (position_in_batch < cap)
    size = pairs.batches * cap
    slot = jnp.where(fits, batch * cap + position_in_batch, size)
    filled = (slot[None] == np.arange(size, dtype=np.int32)[:, None, None]).any(1)
    return SlotAssignment(jnp.where(touching, batch, -1), slot, filled, (touching & ~fits).any())


def to_slots(assignment: SlotAssignment, table: Array) -> Array:
    """[F, Q, B or 1] of the pairs -> [F, S, B] of the slots; an empty slot gets the first pair's."""
    numbers = np.arange(assignment.filled.shape[0], dtype=np.int32)[:, None, None]
    sits_in = assignment.slot[None] == numbers  # [S, Q, B]
    gathered = jnp.where(sits_in[None], table[:, None], 0.0).sum(2)
    return jnp.where(assignment.filled[None], gathered, table[:, :1])


def to_pairs(assignment: SlotAssignment, values: Array) -> Array:
    """[F, S, B] of the slots -> [F, Q, B] of the pairs; a pair without a slot gets 0."""
    numbers = np.arange(assignment.filled.shape[0], dtype=np.int32)[:, None, None]
    sits_in = assignment.slot[None] == numbers
    return jnp.where(sits_in[None], values[:, :, None], 0.0).sum(1)


def select_rows(row: Array, candidates: np.ndarray, table: Array, otherwise: Array | float) -> Array:
    """What a table [F, R, B or 1] says of the body that sits in each slot: [..., B] rows -> [F, ..., B].

    Where the row is none of the ``candidates``, the result is ``otherwise``, which broadcasts to it.
    """
    shape = (table.shape[0], *row.shape)
    selected = jnp.broadcast_to(otherwise, shape)
    for candidate in candidates:
        entry = table[:, candidate].reshape(shape[0], *(1,) * (row.ndim - 1), -1)
        selected = jnp.where((row == np.float32(candidate))[None], jnp.broadcast_to(entry, shape), selected)
    return selected
