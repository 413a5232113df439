"""How the stepper keeps XLA from computing the same thing in many places.

XLA fuses cheap arithmetic into each of its readers and computes it again there, all the way back; in a solver, where every
number hangs on the ones before, that costs many times the work itself. Optimisation barriers do not help on a CPU, where
XLA drops them before it fuses. The result of a call that must not be inlined is kept.
"""

import jax
from jax import Array
from jax.experimental.xla_metadata import set_xla_metadata


@jax.jit
def _same(value: Array) -> Array:
    return value


def materialize(value: Array) -> Array:
    """``value``, computed once, however many read it."""
    with set_xla_metadata(inlineable="false"):
        return _same(value)
