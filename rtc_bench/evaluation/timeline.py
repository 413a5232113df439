"""When which action of which chunk is executed."""

import jax.numpy as jnp
from jax import Array


def merge(old: Array, new: Array, delay: Array) -> Array:
    """The chunk [B, H, A] that is executed from a replanning step on: ``delay`` actions of the old one, then the new one.

    Both have index 0 at the replanning step t, when inference of the new chunk begins; it takes d control steps::

        step        t ...... t+d-1 | t+d ..... t+s-1 | t+s ...... t+H-1
        old         e0 .... e(d-1) |                 |
        new                        | n(d) ... n(s-1) | n(s) ... n(H-1)
        executed    e0 .... e(d-1) | n(d) ... n(s-1) | then the next request, see ``shift``

    At t + s the next request is made, and what is left of this chunk is "old" to it. Since d <= s <= H - d, the next
    answer's d steps of inference are always covered.
    """
    return jnp.where((jnp.arange(new.shape[1]) < delay)[None, :, None], old, new)


def shift(chunk: Array, steps: Array) -> Array:
    """The chunk [B, H, A] as seen ``steps`` control steps later: index 0 is the next step, zeros follow its end."""
    size = chunk.shape[1]
    index = jnp.arange(size) + steps
    return jnp.where((index < size)[None, :, None], jnp.take(chunk, jnp.minimum(index, size - 1), axis=1), 0.0)


def is_chunk_boundary(index: Array, delay: Array, horizon: Array) -> Array:
    """True at the step of a cycle at which actions begin to come from a newer chunk (the chunk boundary).

    That is index d; with d = s the new chunk's first action is the next cycle's index 0.
    """
    return index == jnp.where(delay == horizon, 0, delay)
