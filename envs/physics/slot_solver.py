"""The usual contact solver: the few pairs that touch, packed into slots. Arrays are [..., B], batch last."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs.physics import collision, contact_slots, contact_solver
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states
from rtc_bench.envs.physics.materialization import materialize


def usual_slots(constants: const.Constants, kind: str) -> int:
    """Slots a batch that nearly always do, counted in rollouts: the more pairs, the more contacts meet in one batch."""
    solved = len(getattr(constants, kind).pushing)
    usual = 1 + (solved >= 15) + (solved >= 40) if kind == "polygon_polygon" else 2
    return min(usual, all_slots(constants, kind))


def all_slots(constants: const.Constants, kind: str) -> int:
    """Slots a batch that are always enough, for contacts are assigned to the batches in turn."""
    pairs: const.Pairs = getattr(constants, kind)
    return min(len(pairs.pushing), -(-pairs.max_active // pairs.batches))


class SlotSolver(contact_solver.ContactSolver):
    """Has ``usual_slots`` a batch, and finds each slot's bodies by compare and select."""

    def __init__(self, constants: const.Constants, kind: str, active: Array):
        """Assign slots to the pairs that touch, ``active`` [P, B]."""
        super().__init__(constants, kind)
        self.cap, bodies = usual_slots(constants, kind), constants.bodies
        self.assignment = contact_slots.assign(self.pairs, active, self.cap)
        outlines = [part.reshape(-1, 8).T for part in (bodies.vertices, bodies.normals)]
        shapes = [[bodies.inverse_mass, bodies.inverse_inertia, bodies.radius], *outlines]
        self.shapes = np.concatenate(shapes, dtype=np.float32)[..., None]  # [19, R, 1]
        rows = np.unique(self.rows)
        self.moving = rows[rows < bodies.moving]

    def _filled(self) -> Array:
        return self.assignment.filled

    def _to_slots(self, table: Array) -> Array:
        return materialize(contact_slots.to_slots(self.assignment, table))

    def _sides(self, pose: collision.Pose, row: Array) -> tuple[list[collision.Side], Array, Array]:
        sides, inertias = [], []
        for side_row, pair_rows in zip(row, self.rows, strict=True):
            first, *others = np.unique(pair_rows)
            side_pose, shape = (
                materialize(contact_slots.select_rows(side_row, others, table, table[:, first][:, None]))
                for table in (jnp.stack(pose), jnp.asarray(self.shapes))
            )
            vertices, normals = shape[3:].reshape(2, 4, 2, *side_row.shape)
            sides.append(collision.Side(collision.Pose(*side_pose), vertices, normals, shape[2]))
            inertias.append(shape[:2])
        return sides, *jnp.stack(inertias, 1)

    def _of_bodies(self, row: Array, table: Array) -> Array:
        return contact_slots.select_rows(row, self.moving, table, 0.0)

    def _sum_up(self, row: Array, at_a: Array, at_b: Array) -> Array:
        moving = np.arange(self.constants.bodies.moving, dtype=np.float32)[None, None, :, None]
        a, b = (row[:, :, None] == moving)[:, None]  # each [1, S, M, B]
        return (jnp.where(b, at_b[:, :, None], 0.0) - jnp.where(a, at_a[:, :, None], 0.0)).sum(1)

    def _split(self, impulses: Array) -> contact_solver.SolverImpulses:
        """A list [K][batches] of (normal, tangent), each [cap, B]."""
        return [
            [tuple(batch) for batch in jnp.split(impulses[:, k], self.pairs.batches, 1)]
            for k in range(impulses.shape[1])
        ]

    def iterate(self, bodies, slots, impulses):
        """As the base class says; the impulses are as ``_split`` made them."""
        updated: list = []
        for k, batches in enumerate(impulses):
            point = self.prepare(bodies, slots, k)
            updated.append([])
            for number, old in enumerate(batches):
                batch = slice(number * self.cap, (number + 1) * self.cap)
                bodies, new = self.solve(bodies, slots, point, k, batch, old)
                updated[-1].append(new)
        return bodies, updated

    def remember(self, impulses: contact_solver.SolverImpulses) -> states.Impulses:
        """As the base class says."""
        flat = [jnp.concatenate([batch[part] for batch in batches]) for part in (0, 1) for batches in impulses]
        return states.Impulses(*jnp.split(contact_slots.to_pairs(self.assignment, jnp.stack(flat)), 2))
