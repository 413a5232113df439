"""The contact solver of last resort: every pair has its own place, and each batch works on all. Arrays are [..., B].

It runs where some environment has more contacts in a batch than ``packed`` has slots. It is several times slower then, but
no contact is dropped; and as its bodies are constants, matrix products find them, which take no time to compile.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from envs.physics import collide, solve
from envs.physics import constants as const
from envs.physics import state as states


class Spread(solve.Solver):
    """S is Q, the number of pairs that push."""

    def __init__(self, constants: const.Constants, kind: str, batch: Array):
        """``batch`` [Q, B] is each pair's batch, -1 where it does not touch."""
        super().__init__(constants, kind)
        self.batch = batch

    def _filled(self) -> Array:
        return self.batch >= 0

    def _placed(self, table: Array) -> Array:
        return table

    def _sides(self, where: collide.Pose, row: Array) -> tuple[list[collide.Side], Array, Array]:
        bodies = self.constants.bodies
        mass, turn = (jnp.asarray(part[self.rows][..., None]) for part in (bodies.inverse_mass, bodies.inverse_inertia))
        return [collide.side(self.constants, where, rows) for rows in self.rows], mass, turn

    def _of_bodies(self, row: Array, table: Array) -> Array:
        return jnp.einsum("sqm,fmb->fsqb", self._is_body(), table, precision="highest")

    def _sum_up(self, row: Array, at_a: Array, at_b: Array) -> Array:
        less, more = self._is_body()
        added, taken = (
            jnp.einsum("qm,fqb->fmb", which, at, precision="highest") for which, at in ((more, at_b), (less, at_a))
        )
        return added - taken

    def _is_body(self) -> np.ndarray:
        """[2, Q, M] 1 where a pair's body a or b is a moving body, else 0."""
        return (self.rows[..., None] == np.arange(self.constants.bodies.moving)).astype(np.float32)

    def _split(self, held: Array) -> solve.Impulses:
        return held

    def iterate(self, bodies, slots, impulses):
        """As the base class says; the impulses are an array [2, K, Q, B]."""
        done = []
        for k in range(impulses.shape[1]):
            point = self.prepare(bodies, slots, k)

            def batch(carry, number, k=k, point=point):
                bodies, held = carry
                return self.solve(bodies, slots, point, k, slice(None), held, self.batch == number), None

            carry = bodies, tuple(impulses[:, k])
            (bodies, held), _ = jax.lax.scan(batch, carry, np.arange(self.pairs.batches))
            done.append(jnp.stack(held))
        return bodies, jnp.stack(done, 1)

    def remember(self, impulses: solve.Impulses) -> states.Impulses:
        """As the base class says."""
        return states.Impulses(*impulses)
