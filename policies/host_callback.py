"""Functions of NumPy arrays, called from within a compiled program: for networks of another framework, and for servers."""

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
    episodes, and ``raise_failure`` raises what it failed by.
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

    return jax.pure_callback(on_host, jax.ShapeDtypeStruct(like.shape, jnp.float32), parts)


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
