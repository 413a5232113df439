"""Contacts: sequential impulses, in batches as Kinetix deals them (see ``contact_slots``). Arrays are [..., B], batch last.

What all contacts of a kind have in common stands here; where they sit meanwhile is the business of ``slot_solver`` (the
rule) and ``full_solver`` (the exception, and short to compile).
"""

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs.physics import collision
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states
from rtc_bench.envs.physics.materialization import materialize

SolverImpulses = Any  # what a solver carries through its iterations


class SolverBodies(NamedTuple):
    """The moving bodies as the solver sees them."""

    position: Array  # [2, M, B] m
    velocity: Array  # [2, M, B] m/s
    spin: Array  # [M, B] rad/s


class Slots(NamedTuple):
    """The pairs of one kind in S slots, or in one for every pair, with K contact points each; for one physics step."""

    row: Array  # [2, S, B] rows of body a and body b
    inverse_mass: Array  # [2, S, B]
    inverse_inertia: Array  # [2, S, B]
    friction: Array  # [S, B]
    keeps: Array  # [S, B]
    active: Array  # [K, S, B] bool
    normal: Array  # [2, S, B] x and y, from a to b
    tangent: Array  # [2, S, B]
    target: Array  # [K, S, B] m/s, wanted separation speed
    point: Array  # [K, 2, 1, S, B] m, world


class ContactPoint(NamedTuple):
    """One contact point of every slot during one solver iteration: what only depends on positions."""

    lever: Array  # [2, 2, S, B] x and y of both arms (from the body's centre), turned by 90 degrees
    effective_mass_normal: Array  # [S, B]
    effective_mass_tangent: Array
    coupling: Array  # [S, B] tangential speed that a unit normal impulse causes


def dot(a: Array, b: Array) -> Array:
    """Over the leading axis of 2."""
    return a[0] * b[0] + a[1] * b[1]


class ContactSolver(abc.ABC):
    """Solves one kind of pair: "polygon_polygon", "circle_polygon" or "circle_circle"."""

    def __init__(self, constants: const.Constants, kind: str):
        self.constants, self.kind = constants, kind
        self.pairs: const.Pairs = getattr(constants, kind)
        self.rows = np.stack([self.pairs.a, self.pairs.b])[:, self.pairs.pushing]  # [2, Q]

    @abc.abstractmethod
    def _filled(self) -> Array:
        """Which slots hold a pair that touches, [S, B]."""

    @abc.abstractmethod
    def _to_slots(self, table: Array) -> Array:
        """[F, Q, B or 1] of the pairs -> [F, S, B or 1] of the slots."""

    @abc.abstractmethod
    def _sides(self, pose: collision.Pose, row: Array) -> tuple[list[collision.Side], Array, Array]:
        """The two bodies of every slot, ``row`` [2, S, B]; their inverse masses and inertias, each [2, S, B or 1]."""

    @abc.abstractmethod
    def _of_bodies(self, row: Array, table: Array) -> Array:
        """[F, M, B] of the moving bodies -> [F, 2, S, B] of both bodies of every slot; 0 for a static one."""

    @abc.abstractmethod
    def _sum_up(self, row: Array, at_a: Array, at_b: Array) -> Array:
        """[F, S, B] at b less at a -> [F, M, B] at the moving bodies."""

    @abc.abstractmethod
    def _split(self, impulses: Array) -> SolverImpulses:
        """Impulses [2 (normal, tangent), K, S, B] in the form that ``iterate`` takes."""

    @abc.abstractmethod
    def iterate(
        self, bodies: SolverBodies, slots: Slots, impulses: SolverImpulses
    ) -> tuple[SolverBodies, SolverImpulses]:
        """One solver iteration: for each contact point in turn, the batches one after another."""

    @abc.abstractmethod
    def remember(self, impulses: SolverImpulses) -> states.Impulses:
        """The impulses by pair, for the next physics step."""

    def gather(self, pose: collision.Pose, bodies: SolverBodies) -> Slots:
        """Fill the slots; ``bodies`` are as they move before motors act."""
        pairs, solved = self.pairs, self.pairs.pushing
        fixed = np.stack([pairs.a[solved], pairs.b[solved], pairs.friction, pairs.restitution, pairs.keeps_impulse])
        in_slots = self._to_slots(jnp.asarray(fixed, jnp.float32)[..., None])
        row, (friction, restitution, keeps) = in_slots[:2], in_slots[2:]
        sides, inverse_mass, inverse_inertia = self._sides(pose, row)
        manifold = collision.MANIFOLDS[self.kind](*sides)
        filled = self._filled()[None]
        active = jnp.concatenate([filled, filled & manifold.active[1:]])
        normal = materialize(jnp.stack([manifold.normal_x, manifold.normal_y]))
        point = materialize(jnp.stack([manifold.x, manifold.y], 1))[:, :, None]
        depth = jnp.minimum(0.0, -manifold.penetration + const.SLOP)
        target = materialize(jnp.broadcast_to((-const.CONTACT_BIAS / const.DT * depth)[None], active.shape))
        slots = Slots(
            row,
            inverse_mass,
            inverse_inertia,
            friction,
            keeps,
            active,
            normal,
            jnp.stack([normal[1], -normal[0]]),
            target,
            point,
        )
        if pairs.restitution.any():
            levers = [self.lever(bodies, row, at) for at in point]
            closing = [dot(self.speed(bodies, row, lever), normal) for lever in levers]
            slots = slots._replace(target=target - jnp.stack(closing) * restitution[None])
        return slots

    def lever(self, bodies: SolverBodies, row: Array, point: Array) -> Array:
        """[2, 2, S, B], of points [2, 1, S, B] (about the origin for static bodies, where it does not matter)."""
        arm = point - self._of_bodies(row, bodies.position)
        return materialize(jnp.stack([-arm[1], arm[0]]))

    def speed(self, bodies: SolverBodies, row: Array, lever: Array) -> Array:
        """Velocity [2, S, B] of b relative to a at the contact points."""
        velocity = self._of_bodies(row, bodies.velocity) + self._of_bodies(row, bodies.spin[None]) * lever
        return velocity[:, 1] - velocity[:, 0]

    def push(self, bodies: SolverBodies, row: Array, lever: Array, impulse: Array) -> SolverBodies:
        """Add ``impulse`` [2, S, B] at b, and its opposite at a, to the velocities."""
        constants, moving = self.constants.bodies, self.constants.bodies.moving
        turning_impulse = materialize(dot(lever, impulse[:, None]))  # [2, S, B]
        linear = self._sum_up(row, impulse, impulse)
        angular = self._sum_up(row, turning_impulse[:1], turning_impulse[1:])[0]
        return bodies._replace(
            velocity=materialize(bodies.velocity + constants.inverse_mass[None, :moving, None] * linear),
            spin=materialize(bodies.spin + constants.inverse_inertia[:moving, None] * angular),
        )

    def warm_start(self, bodies: SolverBodies, slots: Slots, previous: states.Impulses):
        """Forget the impulses of contacts that ended, apply the others.

        Returns the bodies and the impulses as ``iterate`` wants them.
        """
        points = slots.point.shape[0]
        impulses = self._to_slots(jnp.concatenate([previous.normal, previous.tangent]))
        impulses = materialize(jnp.where(jnp.concatenate([slots.active] * 2), impulses, 0.0))
        for k in range(points):
            lever = self.lever(bodies, slots.row, slots.point[k])
            impulse = impulses[k][None] * slots.normal + impulses[points + k][None] * slots.tangent
            bodies = self.push(bodies, slots.row, lever, materialize(impulse))
        return bodies, self._split(impulses.reshape(2, points, *impulses.shape[1:]))

    def prepare(self, bodies: SolverBodies, slots: Slots, k: int) -> ContactPoint:
        """Effective masses of the k-th contact points."""
        lever = self.lever(bodies, slots.row, slots.point[k])
        inverse_mass = slots.inverse_mass[0] + slots.inverse_mass[1]
        inertia_a, inertia_b = slots.inverse_inertia[0], slots.inverse_inertia[1]  # inverse ones, each [S, B]
        out, along = dot(lever, slots.normal[:, None]), dot(lever, slots.tangent[:, None])  # [2, S, B]
        return ContactPoint(
            lever,
            effective_mass_normal=1.0 / (inverse_mass + inertia_a * out[0] * out[0] + inertia_b * out[1] * out[1]),
            effective_mass_tangent=1.0
            / (inverse_mass + inertia_a * along[0] * along[0] + inertia_b * along[1] * along[1]),
            coupling=materialize(inertia_a * out[0] * along[0] + inertia_b * out[1] * along[1]),
        )

    def solve(
        self,
        bodies: SolverBodies,
        slots: Slots,
        point: ContactPoint,
        k: int,
        batch: slice,
        impulses,
        in_batch: Array | bool = True,
    ):
        """Push and rub the contacts of one batch (those of the slice that are ``in_batch``), from the same velocities."""
        normal, tangent = impulses
        row, lever = slots.row[:, batch], point.lever[:, :, batch]
        out, along = slots.normal[:, batch], slots.tangent[:, batch]
        active, keeps = slots.active[k, batch], slots.keeps[batch]
        speed = materialize(self.speed(bodies, row, lever))
        wanted = normal + (slots.target[k, batch] - dot(speed, out)) * point.effective_mass_normal[batch]
        push = materialize(jnp.where(active, jnp.maximum(wanted, 0.0), 0.0))
        added = push - normal
        slide = dot(speed, along) + added * point.coupling[batch]
        grip = slots.friction[batch] * push
        wanted = jnp.clip(tangent - slide * point.effective_mass_tangent[batch], -grip, grip)
        drag = materialize(jnp.where(active, wanted, 0.0))
        impulse = added[None] * out + (drag - tangent)[None] * along
        updated = tuple(jnp.where(in_batch, new * keeps, old) for new, old in ((push, normal), (drag, tangent)))
        return self.push(bodies, row, lever, materialize(jnp.where(in_batch, impulse, 0.0))), updated
