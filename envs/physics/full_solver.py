"""The contact solver of last resort: every pair has its own slot, and each batch works on all. Arrays are [..., B].

It runs where some environment has more contacts in a batch than ``slot_solver`` has slots. It is several times slower then, but
no contact is dropped; and as its bodies are constants, matrix products find them, which take no time to compile.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs.physics import collision, contact_solver
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states


class FullSolver(contact_solver.ContactSolver):
    """S is Q, the number of pairs that push."""

    def __init__(self, constants: const.Constants, kind: str, solver_batch: Array):
        """``solver_batch`` [Q, B] is each pair's, -1 where it does not touch."""
        super().__init__(constants, kind)
        self.solver_batch = solver_batch

    def _filled(self) -> Array:
        return self.solver_batch >= 0

    def _to_slots(self, table: Array) -> Array:
        return table

    def _sides(self, pose: collision.Pose, row: Array) -> tuple[list[collision.Side], Array, Array]:
        bodies = self.constants.bodies
        inverse_mass, inverse_inertia = (
            jnp.asarray(part[self.rows][..., None]) for part in (bodies.inverse_mass, bodies.inverse_inertia)
        )
        return [collision.side(self.constants, pose, rows) for rows in self.rows], inverse_mass, inverse_inertia

    def _of_bodies(self, row: Array, table: Array) -> Array:
        return jnp.einsum("sqm,fmb->fsqb", self._is_body(), table, precision="highest")

    def _sum_up(self, row: Array, at_a: Array, at_b: Array) -> Array:
        is_a, is_b = self._is_body()
        sum_at_b, sum_at_a = (
            jnp.einsum("qm,fqb->fmb", is_body, at, precision="highest") for is_body, at in ((is_b, at_b), (is_a, at_a))
        )
        return sum_at_b - sum_at_a

    def _is_body(self) -> np.ndarray:
        """[2, Q, M] 1 where a pair's body a or b is a moving body, else 0."""
        return (self.rows[..., None] == np.arange(self.constants.bodies.moving)).astype(np.float32)

    def _split(self, impulses: Array) -> contact_solver.SolverImpulses:
        return impulses

    def iterate(self, bodies, slots, impulses):
        """As the base class says; the impulses are an array [2, K, Q, B]."""
        updated = []
        for k in range(impulses.shape[1]):
            point = self.prepare(bodies, slots, k)

            def batch(carry, number, k=k, point=point):
                bodies, old = carry
                return self.solve(bodies, slots, point, k, slice(None), old, self.solver_batch == number), None

            carry = bodies, tuple(impulses[:, k])
            (bodies, new), _ = jax.lax.scan(batch, carry, np.arange(self.pairs.batches))
            updated.append(jnp.stack(new))
        return bodies, jnp.stack(updated, 1)

    def remember(self, impulses: contact_solver.SolverImpulses) -> states.Impulses:
        """As the base class says."""
        return states.Impulses(*impulses)
