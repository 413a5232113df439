"""Contacts: sequential impulses, in batches as Kinetix deals them (see ``deal``). Arrays are [..., B], batch last."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from envs.physics import collide
from envs.physics import constants as const
from envs.physics import deal as deals
from envs.physics import state as states
from envs.physics.stages import settle


class Bodies(NamedTuple):
    """The moving bodies as the solver sees them."""

    position: Array  # [2, M, B] m
    velocity: Array  # [2, M, B] m/s
    spin: Array  # [M, B] rad/s


class Slots(NamedTuple):
    """The touching pairs of one kind, S slots with K contact points each; constant during a physics step."""

    row: Array  # [2, S, B] rows of body a and body b
    mass: Array  # [2, S, B] inverse masses of both
    turn: Array  # [2, S, B] inverse inertias
    friction: Array  # [S, B]
    keeps: Array  # [S, B]
    active: Array  # [K, S, B] bool
    normal: Array  # [2, S, B] x and y, from a to b
    tangent: Array  # [2, S, B]
    target: Array  # [K, S, B] m/s, wanted separation speed
    point: Array  # [K, 2, 1, S, B] m, world


class Point(NamedTuple):
    """One contact point of every slot during one solver iteration: what only depends on positions."""

    lever: Array  # [2, 2, S, B] x and y of both arms (from the body's centre), turned by 90 degrees
    stiff_normal: Array  # [S, B] effective masses
    stiff_tangent: Array
    coupling: Array  # [S, B] tangential speed that a unit normal impulse causes


def dot(a: Array, b: Array) -> Array:
    """Over the leading axis of 2."""
    return a[0] * b[0] + a[1] * b[1]


def usual_slots(constants: const.Constants, kind: str) -> int:
    """Slots a batch that nearly always do, counted in rollouts: the more pairs, the more contacts meet in one batch."""
    usual = 1 + len(getattr(constants, kind).solved) // 20 if kind == "polygon_polygon" else 2
    return min(usual, all_slots(constants, kind))


def all_slots(constants: const.Constants, kind: str) -> int:
    """Slots a batch that are always enough, for contacts are dealt to the batches in turn."""
    pairs: const.Pairs = getattr(constants, kind)
    return min(len(pairs.solved), -(-pairs.listed // pairs.batches))


class Solver:
    """Solves one kind of pair ("polygon_polygon", "circle_polygon" or "circle_circle") with ``cap`` slots a batch."""

    def __init__(self, constants: const.Constants, kind: str, cap: int):
        self.pairs: const.Pairs = getattr(constants, kind)
        self.constants, self.kind, self.cap = constants, kind, cap
        self.size = self.pairs.batches * cap
        self.rows = [np.unique(side[self.pairs.solved]) for side in (self.pairs.a, self.pairs.b)]
        both = np.unique(np.concatenate(self.rows))
        self.moving = both[both < constants.bodies.moving]

    def gather(self, where: collide.Pose, deal: deals.Deal, bodies: Bodies) -> Slots:
        """Fill the slots; ``bodies`` are as they move before motors act."""
        pairs, solved = self.pairs, self.pairs.solved
        fixed = np.stack([pairs.a[solved], pairs.b[solved], pairs.friction, pairs.restitution, pairs.keeps_impulse])
        taken = settle(deals.to_slots(deal, jnp.asarray(fixed, jnp.float32)[..., None]))
        row, (friction, restitution, keeps) = taken[:2], taken[2:]
        sides = [self._side(where, row[i], self.rows[i]) for i in range(2)]
        (side_a, *heft_a), (side_b, *heft_b) = sides
        mass, turn = (jnp.stack(both) for both in zip(heft_a, heft_b, strict=True))
        manifold = collide.MANIFOLDS[self.kind](side_a, side_b)
        active = jnp.concatenate([deal.filled[None], deal.filled[None] & manifold.active[1:]])
        normal = settle(jnp.stack([manifold.normal_x, manifold.normal_y]))
        point = settle(jnp.stack([manifold.x, manifold.y], 1))[:, :, None]
        depth = jnp.minimum(0.0, -manifold.penetration + const.SLOP)
        target = settle(jnp.broadcast_to((-const.CONTACT_BIAS / const.DT * depth)[None], active.shape))
        slots = Slots(
            row, mass, turn, friction, keeps, active, normal, jnp.stack([normal[1], -normal[0]]), target, point
        )
        if pairs.restitution.any():
            levers = [self.lever(bodies, row, at) for at in point]
            closing = [dot(self.speed(bodies, row, lever), normal) for lever in levers]
            slots = slots._replace(target=target - jnp.stack(closing) * restitution[None])
        return slots

    def _side(self, where: collide.Pose, row: Array, candidates: np.ndarray) -> tuple[collide.Side, Array, Array]:
        bodies = self.constants.bodies
        count = len(bodies.radius)
        table = np.concatenate(
            [
                bodies.inverse_mass[None],
                bodies.inverse_inertia[None],
                bodies.radius[None],
                bodies.vertices.transpose(1, 2, 0).reshape(8, count),
                bodies.normals.transpose(1, 2, 0).reshape(8, count),
            ]
        )
        pose = collide.Pose(*settle(deals.of_rows(row, candidates, jnp.stack(where))))
        shape = settle(deals.of_rows(row, candidates, jnp.asarray(table)[..., None]))
        vertices, normals = (shape[i : i + 8].reshape(4, 2, *row.shape) for i in (3, 11))
        return collide.Side(pose, vertices, normals, shape[2]), shape[0], shape[1]

    def _of_body(self, row: Array, table: Array) -> Array:
        """[F, M, B] of the moving bodies -> [F, 2, S, B] of both bodies of every slot; 0 for a static one."""
        shape = (table.shape[0], *row.shape)
        taken = jnp.zeros(shape, table.dtype)
        for candidate in self.moving:
            here = (row == np.float32(candidate))[None]
            taken = jnp.where(here, jnp.broadcast_to(table[:, candidate][:, None, None], shape), taken)
        return taken

    def lever(self, bodies: Bodies, row: Array, point: Array) -> Array:
        """[2, 2, S, B], of points [2, 1, S, B] (about the origin for static bodies, where it does not matter)."""
        arm = point - self._of_body(row, bodies.position)
        return settle(jnp.stack([-arm[1], arm[0]]))

    def speed(self, bodies: Bodies, row: Array, lever: Array) -> Array:
        """Velocity [2, S, B] of b relative to a at the contact points."""
        each = self._of_body(row, bodies.velocity) + self._of_body(row, bodies.spin[None]) * lever
        return each[:, 1] - each[:, 0]

    def push(self, bodies: Bodies, row: Array, lever: Array, impulse: Array) -> Bodies:
        """Add ``impulse`` [2, S, B] at b, and its opposite at a, to the velocities."""
        own, moving = self.constants.bodies, self.constants.bodies.moving
        a, b = row[:, :, None] == np.arange(moving, dtype=np.float32)[None, None, :, None]  # each [S, M, B]
        turn_a, turn_b = settle(dot(lever, impulse[:, None]))[:, :, None]
        force = impulse[:, :, None]
        linear = (jnp.where(b[None], force, 0.0) - jnp.where(a[None], force, 0.0)).sum(1)
        angular = (jnp.where(b, turn_b, 0.0) - jnp.where(a, turn_a, 0.0)).sum(0)
        return bodies._replace(
            velocity=settle(bodies.velocity + own.inverse_mass[None, :moving, None] * linear),
            spin=settle(bodies.spin + own.inverse_inertia[:moving, None] * angular),
        )

    def warm_start(self, bodies: Bodies, slots: Slots, deal: deals.Deal, kept: states.Impulses):
        """Forget the impulses of contacts that ended, apply the others.

        Returns the bodies and the impulses by contact point and batch, [K][batches] of (normal, tangent), each [cap, B].
        """
        points = slots.point.shape[0]
        held = deals.to_slots(deal, jnp.concatenate([kept.normal, kept.tangent]))
        held = settle(jnp.where(jnp.concatenate([slots.active] * 2), held, 0.0))
        for k in range(points):
            lever = self.lever(bodies, slots.row, slots.point[k])
            impulse = held[k][None] * slots.normal + held[points + k][None] * slots.tangent
            bodies = self.push(bodies, slots.row, lever, settle(impulse))
        by_batch = held.reshape(2, points, self.pairs.batches, self.cap, -1)
        return bodies, [
            [(by_batch[0, k, n], by_batch[1, k, n]) for n in range(self.pairs.batches)] for k in range(points)
        ]

    def remember(self, deal: deals.Deal, impulses) -> states.Impulses:
        """The impulses by pair, for the next physics step."""
        flat = [jnp.concatenate([held[part] for held in row]) for part in (0, 1) for row in impulses]
        both = deals.to_pairs(deal, jnp.stack(flat))
        return states.Impulses(*jnp.split(both, 2))

    def prepare(self, bodies: Bodies, slots: Slots, k: int) -> Point:
        """Effective masses of the k-th contact points."""
        lever = self.lever(bodies, slots.row, slots.point[k])
        mass = slots.mass[0] + slots.mass[1]
        out, along = dot(lever, slots.normal[:, None]), dot(lever, slots.tangent[:, None])  # [2, S, B]
        return Point(
            lever,
            stiff_normal=1.0 / (mass + slots.turn[0] * out[0] * out[0] + slots.turn[1] * out[1] * out[1]),
            stiff_tangent=1.0 / (mass + slots.turn[0] * along[0] * along[0] + slots.turn[1] * along[1] * along[1]),
            coupling=settle(slots.turn[0] * out[0] * along[0] + slots.turn[1] * out[1] * along[1]),
        )

    def iterate(self, bodies: Bodies, slots: Slots, impulses):
        """One solver iteration: for each contact point in turn, the batches one after another.

        ``impulses`` is a list [K][batches] of (normal, tangent), each [cap, B].
        """
        done: list = []
        for k, row in enumerate(impulses):
            point = self.prepare(bodies, slots, k)
            done.append([])
            for number, held in enumerate(row):
                some = slice(number * self.cap, (number + 1) * self.cap)
                bodies, new = self._solve(bodies, slots, point, k, some, held)
                done[-1].append(new)
        return bodies, done

    def _solve(self, bodies: Bodies, slots: Slots, point: Point, k: int, some: slice, held):
        """Push and rub the contacts of one batch, from the same velocities."""
        normal, tangent = held
        row, lever = slots.row[:, some], point.lever[:, :, some]
        out, along = slots.normal[:, some], slots.tangent[:, some]
        active, keeps = slots.active[k, some], slots.keeps[some]
        speed = settle(self.speed(bodies, row, lever))
        wanted = normal + (slots.target[k, some] - dot(speed, out)) * point.stiff_normal[some]
        push = settle(jnp.where(active, jnp.maximum(wanted, 0.0), 0.0))
        added = push - normal
        slide = dot(speed, along) + added * point.coupling[some]
        grip = slots.friction[some] * push
        wanted = jnp.clip(tangent - slide * point.stiff_tangent[some], -grip, grip)
        drag = settle(jnp.where(active, wanted, 0.0))
        impulse = settle(added[None] * out + (drag - tangent)[None] * along)
        return self.push(bodies, row, lever, impulse), (push * keeps, drag * keeps)
