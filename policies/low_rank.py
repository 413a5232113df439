"""Low-rank adapters: what is added to a network's parameters by further training (LoRA, arXiv 2106.09685)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Any]


def init(key: Array, params: Params, rank: int) -> Params:
    """Adapters that change nothing yet: a product [I, R] [R, O] for each matrix of ``params``, a vector for each bias.

    A matrix that a product would not make smaller gets a matrix.
    """
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(tree, [_init(key, leaf, rank) for key, leaf in zip(keys, leaves, strict=True)])


def _init(key: Array, leaf: Array, rank: int) -> Params:
    if leaf.ndim == 2 and rank * sum(leaf.shape) < leaf.size:
        size_in, size_out = leaf.shape
        return {"in": jax.random.normal(key, (size_in, rank)) * size_in**-0.5, "out": jnp.zeros((rank, size_out))}
    return {"added": jnp.zeros(leaf.shape)}


def apply(params: Params, adapters: Params) -> Params:
    """The parameters with their adapters added."""

    def adapted(leaf: Array, adapter: Params) -> Array:
        return leaf + (adapter["added"] if "added" in adapter else adapter["in"] @ adapter["out"])

    return jax.tree.map(adapted, params, adapters)
