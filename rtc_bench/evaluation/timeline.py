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
    waiting: d <= s <= H), the next answer's d steps of inference are always covered.
    """
    index, size = jnp.arange(old.shape[1]), new.shape[1]
    if begin is not None:
        own = index - begin
        inside = (own >= 0) & (own < size)
        new = jnp.where(inside[None, :, None], jnp.take(new, jnp.clip(own, 0, size - 1), axis=1), 0.0)
    return jnp.where((index < takeover)[None, :, None], old, new)


def index_in_chunk(index: Array, *, is_first_cycle: Array, horizon: Array, takeover: Array, begin: Array) -> Array:
    """The place of a cycle's action ``index`` in the chunk that it came with: the new one's, or before the takeover that of
    the request before (in the first cycle: of the chunk that began the episode).
    """
    old = jnp.where(is_first_cycle, index, index + horizon - begin)
    return jnp.where(index < takeover, old, index - begin)


def shift(chunk: Array, steps: Array) -> Array:
    """The chunk [B, H, A] as seen ``steps`` control steps later: index 0 is the next step, zeros follow its end."""
    size = chunk.shape[1]
    index = jnp.arange(size) + steps
    return jnp.where((index < size)[None, :, None], jnp.take(chunk, jnp.minimum(index, size - 1), axis=1), 0.0)


def is_chunk_boundary(index: Array, takeover: Array, horizon: Array) -> Array:
    """True at the step of a cycle at which actions begin to come from a newer chunk (the chunk boundary).

    That is the takeover; where it is s the new chunk's first action is the next cycle's index 0.
    """
    return index == jnp.where(takeover == horizon, 0, takeover)
