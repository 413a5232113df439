"""Functions of NumPy arrays, called from within a compiled program: for networks of another framework, and for servers."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

SMALL = 2**16  # bytes; JAX copies larger arguments by threads that, on a CPU, may be waiting for the function itself


_failures: list[Exception] = []  # of functions, in order; an error cannot leave a compiled program in one piece


def call(function: Callable[[dict[str, Any]], np.ndarray], like: Array, arguments: dict[str, Array]) -> Array:
    """What ``function`` makes of the arguments: float32, of the shape of ``like``.

    It is called by the threads of several devices at once; it must not use JAX, and the same arguments must have the same
    answer. Arguments may be of any size: they go over in small parts. Where it fails, the answer is nan, which ends
    episodes, and ``raise_failure`` raises what it failed by. Under ``jax.vmap`` it is called for one entry after the other;
    see ``whole_batches``.
    """
    parts = {name: _parts(value) for name, value in arguments.items()}

    def on_host(parts: dict[str, list]) -> np.ndarray:
        whole = {name: np.concatenate([np.atleast_1d(part) for part in value]) for name, value in parts.items()}
        try:
            answer = function({name: value.reshape(arguments[name].shape) for name, value in whole.items()})
            return np.broadcast_to(np.asarray(answer, np.float32), like.shape)
        except Exception as error:  # whatever a user's code does
            _failures.append(error)
            return np.full(like.shape, np.nan, np.float32)

    return jax.pure_callback(on_host, jax.ShapeDtypeStruct(like.shape, jnp.float32), parts, vmap_method="sequential")


def is_used_by(function: Callable, *arguments: Any) -> bool:
    """Whether a function that JAX traces calls one of NumPy arrays, by ``call`` or by JAX's own means."""
    return re.search(r"\b(pure|io)_callback\[", str(jax.make_jaxpr(function)(*arguments))) is not None


def whole_batches(function: Callable[..., Array]) -> Callable[..., Array]:
    """``function(shared, *arrays)`` of a batch, which under ``jax.vmap`` is called once, with the episodes of all batches.

    Arrays are [B, ...], the first of them too, or numbers [], which become [B]; the answer is [B, ...]. ``shared`` is the
    same for all. There is no gradient through it.
    """
    called = jax.custom_batching.custom_vmap(function)

    @called.def_vmap
    def merged(size: int, mapped: list, shared: Any, *arrays: Array) -> tuple[Array, bool]:
        if any(jax.tree.leaves(mapped[0])):
            raise ValueError("what is shared by a batch differs between batches")
        whole = [
            array if own else jnp.broadcast_to(array, (size, *array.shape))
            for array, own in zip(arrays, mapped[1:], strict=True)
        ]  # [N, B, ...], or [N]
        batch = whole[0].shape[1]
        whole = [jnp.repeat(a, batch) if a.ndim == 1 else a.reshape(-1, *a.shape[2:]) for a in whole]
        answer = called(shared, *whole)
        return answer.reshape(size, batch, *answer.shape[1:]), True

    return called


def raise_failure() -> None:
    """Raise the first error of the functions that were called since, if there was one."""
    if _failures:
        error = _failures[0]
        _failures.clear()
        raise error


def _parts(value: Array) -> list[Array]:
    """Along the first axis, each of few bytes."""
    if not value.ndim:
        return [value]
    length = max(1, SMALL // (value[0].size * value.dtype.itemsize))
    return [value[start : start + length] for start in range(0, len(value), length)]
