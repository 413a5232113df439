"""How the stepper keeps XLA from merging what should stay apart.

XLA fuses cheap arithmetic into each of its readers and computes it again there, all the way back; in a solver, where every
number hangs on the ones before, that costs many times the work itself. Optimisation barriers do not help on a CPU, where
XLA drops them before it fuses. A call that must not be inlined does.
"""

from collections.abc import Callable

import jax
from jax import Array
from jax.experimental.xla_metadata import set_xla_metadata

_ALONE = {"inlineable": "false"}
_ONE_KERNEL = {**_ALONE, "xla_cpu_small_call": "true"}  # CPU: the whole call becomes one compiled function


def _marked(function: Callable, marks: dict[str, str]) -> Callable:
    def inside(*arguments):
        with set_xla_metadata(**dict.fromkeys(_ONE_KERNEL)):  # the marks are the call's, not its content's
            return function(*arguments)

    call = jax.jit(inside)

    def outside(*arguments):
        with set_xla_metadata(**marks):
            return call(*arguments)

    return outside


def stage(function: Callable) -> Callable:
    """``function``, compiled by itself; on a CPU as one function, without a dispatch for each of its loops."""
    return _marked(function, _ONE_KERNEL)


_settled = _marked(lambda value: value, _ALONE)


def settle(value: Array) -> Array:
    """``value``, computed once, however many read it."""
    return _settled(value)
