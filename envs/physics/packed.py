"""The usual contact solver: the few pairs that touch, packed into slots. Arrays are [..., B], batch last."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from envs.physics import collide, solve
from envs.physics import constants as const
from envs.physics import deal as deals
from envs.physics import state as states
from envs.physics.stages import settle


def usual_slots(constants: const.Constants, kind: str) -> int:
    """Slots a batch that nearly always do, counted in rollouts: the more pairs, the more contacts meet in one batch."""
    solved = len(getattr(constants, kind).solved)
    usual = 1 + (solved >= 15) + (solved >= 40) if kind == "polygon_polygon" else 2
    return min(usual, all_slots(constants, kind))


def all_slots(constants: const.Constants, kind: str) -> int:
    """Slots a batch that are always enough, for contacts are dealt to the batches in turn."""
    pairs: const.Pairs = getattr(constants, kind)
    return min(len(pairs.solved), -(-pairs.listed // pairs.batches))


class Packed(solve.Solver):
    """Has ``usual_slots`` a batch, and finds each slot's bodies by compare and select."""

    def __init__(self, constants: const.Constants, kind: str, active: Array):
        """Deal out the pairs that touch, ``active`` [P, B]."""
        super().__init__(constants, kind)
        self.cap, bodies = usual_slots(constants, kind), constants.bodies
        self.deal = deals.deal(self.pairs, active, self.cap)
        outlines = [part.reshape(-1, 8).T for part in (bodies.vertices, bodies.normals)]
        shapes = [[bodies.inverse_mass, bodies.inverse_inertia, bodies.radius], *outlines]
        self.shapes = np.concatenate(shapes, dtype=np.float32)[..., None]  # [19, R, 1]
        both = np.unique(self.rows)
        self.moving = both[both < bodies.moving]

    def _filled(self) -> Array:
        return self.deal.filled

    def _placed(self, table: Array) -> Array:
        return settle(deals.to_slots(self.deal, table))

    def _sides(self, where: collide.Pose, row: Array) -> tuple[list[collide.Side], Array, Array]:
        sides, heft = [], []
        for here, listed in zip(row, self.rows, strict=True):
            first, *others = np.unique(listed)
            pose, shape = (
                settle(deals.of_rows(here, others, table, table[:, first][:, None]))
                for table in (jnp.stack(where), jnp.asarray(self.shapes))
            )
            vertices, normals = shape[3:].reshape(2, 4, 2, *here.shape)
            sides.append(collide.Side(collide.Pose(*pose), vertices, normals, shape[2]))
            heft.append(shape[:2])
        mass, turn = jnp.stack(heft, 1)
        return sides, mass, turn

    def _of_bodies(self, row: Array, table: Array) -> Array:
        return deals.of_rows(row, self.moving, table, 0.0)

    def _sum_up(self, row: Array, at_a: Array, at_b: Array) -> Array:
        moving = np.arange(self.constants.bodies.moving, dtype=np.float32)[None, None, :, None]
        a, b = (row[:, :, None] == moving)[:, None]  # each [1, S, M, B]
        return (jnp.where(b, at_b[:, :, None], 0.0) - jnp.where(a, at_a[:, :, None], 0.0)).sum(1)

    def _split(self, held: Array) -> solve.Impulses:
        """A list [K][batches] of (normal, tangent), each [cap, B]."""
        return [[tuple(batch) for batch in jnp.split(held[:, k], self.pairs.batches, 1)] for k in range(held.shape[1])]

    def iterate(self, bodies, slots, impulses):
        """As the base class says; the impulses are as ``_split`` made them."""
        done: list = []
        for k, row in enumerate(impulses):
            point = self.prepare(bodies, slots, k)
            done.append([])
            for number, held in enumerate(row):
                some = slice(number * self.cap, (number + 1) * self.cap)
                bodies, new = self.solve(bodies, slots, point, k, some, held)
                done[-1].append(new)
        return bodies, done

    def remember(self, impulses: solve.Impulses) -> states.Impulses:
        """As the base class says."""
        flat = [jnp.concatenate([held[part] for held in row]) for part in (0, 1) for row in impulses]
        return states.Impulses(*jnp.split(deals.to_pairs(self.deal, jnp.stack(flat)), 2))
