"""When which action of which chunk is executed."""

import jax.numpy as jnp
from jax import Array


def merge(old: Array, new: Array, takeover: Array, begin: Array | None = None) -> Array:
    """What is executed [B, L, A] from a replanning step t on: ``takeover`` actions of the old chunk, then the new one.

    ``old`` [B, L, A] has index 0 at t, when inference of the new chunk begins; it takes d control steps. ``new`` [B, H, A]
    has its index 0 at t, or ``begin`` steps later; L is H, or 2 H if some chunk begins later. By a strategy's timing::

        step           t ...... t+d-1 | t+d ..... t+s-1 | t+s ...... t+H-1 | ...... t+d+H-1
        old            e0 .... e(d-1) |                 |                  |
        new                           | n(d) ... n(s-1) | n(s) ... n(H-1)  |                     delayed: takeover d
        executed       e0 .... e(d-1) | n(d) ... n(s-1) | then the next request, see ``shift``

        new                           | n0 .. n(s-d-1)  | n(s-d) ...       |  ...... n(H-1)      from arrival: d, begin d
        new            n0 ......................n(s-1)  | n(s) ... n(H-1)  |                     waiting: takeover 0

    At t + s the next request is made, and what is left of this chunk is "old" to it. Since d <= s <= H - d (from arrival and
    waiting: d <= s <= H), the next answer's d steps of inference are always covered, if d is what it was said to be.

    A chunk may come late, because delays vary. It acts from its arrival on, the next request waits for it, and where the old
    one has run out before, there is an underrun. Here s = 2, H = 8, the old chunk was asked for 4 steps before t, and D = 6::

        step           t  t+1 t+2 t+3 | t+4      t+5    | t+6      t+7  | t+8 ...
        old            o4 o5  o6  o7  | (has run out)   |               |
        new            (inference)                      | n6       n7   | (has run out)
        executed       o4 o5  o6  o7  | underrun        | n6       n7   | underrun, if the next chunk is not there
        requests       ^                                  ^ the next: max(s, D) steps after this one

    ``takeover`` and ``begin`` are [], or [B] where episodes differ.
    """
    index, size = jnp.arange(old.shape[1])[None], new.shape[1]
    if begin is not None:
        own = index - _column(begin)
        inside = (own >= 0) & (own < size)
        own = jnp.broadcast_to(jnp.clip(own, 0, size - 1), old.shape[:2])
        new = jnp.where(inside[..., None], jnp.take_along_axis(new, own[..., None], axis=1), 0.0)
    return jnp.where((index < _column(takeover))[..., None], old, new)


def _column(number: Array) -> Array:
    """[] or [B] as [1, 1] or [B, 1]."""
    return jnp.reshape(number, (-1, 1))


def index_in_chunk(index: Array, *, takeover: Array, begin: Array, old_index: Array) -> Array:
    """The place of a cycle's action ``index`` in the chunk that it came with: the new one's, or before the takeover the old
    one's, whose place at the cycle's start is ``old_index``. A place of H or more is an underrun.
    """
    return jnp.where(index < takeover, index + old_index, index - begin)


def shift(chunk: Array, steps: Array) -> Array:
    """The chunk [B, H, A] as seen ``steps`` ([] or [B]) control steps later: index 0 is the next, zeros follow its end."""
    size = chunk.shape[1]
    index = jnp.arange(size)[None] + _column(steps)
    last = jnp.broadcast_to(jnp.minimum(index, size - 1), chunk.shape[:2])
    return jnp.where((index < size)[..., None], jnp.take_along_axis(chunk, last[..., None], axis=1), 0.0)


def is_chunk_boundary(index: Array, *, takeover: Array, first: Array) -> Array:
    """True at the step of a cycle at which actions begin to come from a newer chunk (the chunk boundary).

    That is the takeover. One that falls on the cycle's end or later comes in the next cycle, at its index ``first``, see
    ``next_first``.
    """
    return (index == takeover) | (index == first)


def next_first(takeover: Array, length: Array) -> Array:
    """The index of the next cycle at which a chunk takes over that did not in this one, of ``length`` steps; -1: none."""
    return jnp.where(takeover >= length, takeover - length, -1)
