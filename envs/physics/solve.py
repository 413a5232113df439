"""Impulse solvers: contacts (dealt to sequential batches as Kinetix deals them) and joints. Arrays are [..., B]."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from envs import scene as scenes
from envs.physics import collide
from envs.physics import constants as const
from envs.physics import state as states


class Contacts(NamedTuple):
    """What a whole solve of one kind of pair needs, for its Q pushing pairs and K contact points."""

    active: Array  # [K, Q, B] bool
    batch: Array  # [Q, B] which sequential solver batch the pair falls in
    normal_x: Array  # [Q, B]
    normal_y: Array
    bias: Array  # [Q, B] m/s, pushes out penetration
    rebound: Array  # [K, Q, B] m/s, restitution target
    x: Array  # [K, Q, B]
    y: Array


class Ends(NamedTuple):
    """Constants of the bodies at both ends of the solved pairs, and how impulses add up over bodies."""

    a: np.ndarray  # [Q] rows, M for any static body (a row of zeros)
    b: np.ndarray
    mass_a: np.ndarray  # [Q, 1] inverse masses and inertias
    mass_b: np.ndarray
    turn_a: np.ndarray
    turn_b: np.ndarray
    push: np.ndarray  # [M, Q] impulse -> velocity change
    spin: np.ndarray  # [M, 2 Q] torque impulses on a, then on b -> angular velocity change


def ends(constants: const.Constants, pairs: const.Pairs) -> Ends:
    """Bake one kind of pair for the solver."""
    bodies, moving = constants.bodies, constants.bodies.moving
    a, b = pairs.a[pairs.solved], pairs.b[pairs.solved]
    member_a, member_b = (np.arange(moving)[:, None] == index[None, :] for index in (a, b))
    mass, turn = bodies.inverse_mass[:moving, None], bodies.inverse_inertia[:moving, None]
    return Ends(
        a=np.minimum(a, moving),
        b=np.minimum(b, moving),
        mass_a=bodies.inverse_mass[a][:, None],
        mass_b=bodies.inverse_mass[b][:, None],
        turn_a=bodies.inverse_inertia[a][:, None],
        turn_b=bodies.inverse_inertia[b][:, None],
        push=(mass * (member_b.astype(np.float32) - member_a)).astype(np.float32),
        spin=(turn * np.concatenate([-member_a.astype(np.float32), member_b], 1)).astype(np.float32),
    )


def _with_static(array: Array) -> Array:
    return jnp.concatenate([array, jnp.zeros_like(array[:1])])


def _product(matrix: np.ndarray, array: Array) -> Array:
    return jnp.dot(jnp.asarray(matrix), array, precision="highest")


def _velocity_at(motion: states.Motion, bound: Ends, arms) -> tuple[Array, Array]:
    """Velocity of b relative to a at the contact points."""
    ax, ay, bx, by = arms
    vx, vy, w = (_with_static(part) for part in (motion.vx, motion.vy, motion.w))
    wa, wb = collide.rows(w, bound.a), collide.rows(w, bound.b)
    dx = (collide.rows(vx, bound.b) - wb * by) - (collide.rows(vx, bound.a) - wa * ay)
    dy = (collide.rows(vy, bound.b) + wb * bx) - (collide.rows(vy, bound.a) + wa * ax)
    return dx, dy


def _arms(motion: states.Motion, bound: Ends, x: Array, y: Array):
    """Lever arms from both centres to the contact points (meaningless for static bodies, where they do not matter)."""
    px, py = _with_static(motion.x), _with_static(motion.y)
    return (
        x - collide.rows(px, bound.a),
        y - collide.rows(py, bound.a),
        x - collide.rows(px, bound.b),
        y - collide.rows(py, bound.b),
    )


def _apply(motion: states.Motion, bound: Ends, arms, px: Array, py: Array) -> states.Motion:
    """Add impulses (px, py) at b, and their opposite at a, to the velocities."""
    ax, ay, bx, by = arms
    torques = jnp.concatenate([ax * py - ay * px, bx * py - by * px])
    return motion._replace(
        vx=motion.vx + _product(bound.push, px),
        vy=motion.vy + _product(bound.push, py),
        w=motion.w + _product(bound.spin, torques),
    )


def contacts(pairs: const.Pairs, bound: Ends, manifold: collide.Manifold, motion: states.Motion) -> Contacts:
    """Prepare the pushing pairs: their batch, bias and rebound, from the velocities before motors act."""
    solved = pairs.solved
    rank_from_end = _product(pairs.later, manifold.active[0].astype(jnp.float32))
    position = (pairs.first_position[:, None] - rank_from_end).astype(jnp.int32)
    x, y = manifold.x[:, solved], manifold.y[:, solved]
    normal_x, normal_y = manifold.normal_x[solved], manifold.normal_y[solved]
    if pairs.restitution.any():
        parts = [_velocity_at(motion, bound, _arms(motion, bound, px, py)) for px, py in zip(x, y, strict=True)]
        closing = jnp.stack([dx * normal_x + dy * normal_y for dx, dy in parts])
        rebound = closing * pairs.restitution[None, :, None]
    else:
        rebound = jnp.zeros_like(x)
    depth = jnp.minimum(0.0, -manifold.penetration[solved] + const.SLOP)
    return Contacts(
        active=manifold.active[:, solved],
        batch=position % pairs.batches,
        normal_x=normal_x,
        normal_y=normal_y,
        bias=-const.CONTACT_BIAS / const.DT * depth,
        rebound=rebound,
        x=x,
        y=y,
    )


def warm_start(
    motion: states.Motion, bound: Ends, contact: Contacts, impulses: states.Impulses
) -> tuple[states.Motion, states.Impulses]:
    """Forget the impulses of contacts that ended, apply the others. Impulses do not depend on velocity, so order is free."""
    kept = states.Impulses(*(jnp.where(contact.active, part, 0.0) for part in impulses))
    for k in range(contact.x.shape[0]):
        px = kept.normal[k] * contact.normal_x + kept.tangent[k] * contact.normal_y
        py = kept.normal[k] * contact.normal_y - kept.tangent[k] * contact.normal_x
        motion = _apply(motion, bound, _arms(motion, bound, contact.x[k], contact.y[k]), px, py)
    return motion, kept


class _Point(NamedTuple):
    """One contact point of every pair during one solver iteration: what only depends on positions. Each [Q, B]."""

    arms: tuple[Array, Array, Array, Array]
    normal_x: Array
    normal_y: Array
    target: Array  # m/s, wanted separation speed
    stiff_normal: Array  # effective masses
    stiff_tangent: Array
    coupling: Array  # tangential speed that a unit normal impulse causes


def _point(motion: states.Motion, bound: Ends, contact: Contacts, k: int) -> _Point:
    nx, ny = contact.normal_x, contact.normal_y
    arms = ax, ay, bx, by = _arms(motion, bound, contact.x[k], contact.y[k])
    cross_a, cross_b = ax * ny - ay * nx, bx * ny - by * nx  # arm x normal
    level_a, level_b = -(ax * nx + ay * ny), -(bx * nx + by * ny)  # arm x tangent, tangent = (ny, -nx)
    mass = bound.mass_a + bound.mass_b
    return _Point(
        arms,
        nx,
        ny,
        target=contact.bias - contact.rebound[k],
        stiff_normal=1.0 / (mass + bound.turn_a * cross_a * cross_a + bound.turn_b * cross_b * cross_b),
        stiff_tangent=1.0 / (mass + bound.turn_a * level_a * level_a + bound.turn_b * level_b * level_b),
        coupling=bound.turn_a * cross_a * level_a + bound.turn_b * cross_b * level_b,
    )


def _solve_batch(pairs: const.Pairs, bound: Ends, point: _Point, turn: Array, carry):
    """Push and rub all pairs whose ``turn`` it is, from the same velocities; the others keep their impulses."""
    motion, normal, tangent = carry
    nx, ny = point.normal_x, point.normal_y
    dx, dy = _velocity_at(motion, bound, point.arms)
    closing = dx * nx + dy * ny
    push = jnp.where(turn, jnp.maximum(normal + (point.target - closing) * point.stiff_normal, 0.0), normal)
    added = push - normal
    slide = dx * ny - dy * nx + added * point.coupling
    grip = pairs.friction[:, None] * push
    drag = jnp.where(turn, jnp.clip(tangent - slide * point.stiff_tangent, -grip, grip), tangent)
    rubbed = drag - tangent
    motion = _apply(motion, bound, point.arms, added * nx + rubbed * ny, added * ny - rubbed * nx)
    keeps = pairs.keeps_impulse[:, None]
    return motion, push * keeps, drag * keeps


def solve_contacts(
    motion: states.Motion, pairs: const.Pairs, bound: Ends, contact: Contacts, impulses: states.Impulses
) -> tuple[states.Motion, states.Impulses]:
    """One solver iteration: for each contact point in turn, the batches one after another.

    A batch in which no environment of the block has a contact is skipped. The branch also keeps XLA from fusing one
    batch's arithmetic into the next, which would compute everything again and again.
    """
    normal, tangent = list(impulses.normal), list(impulses.tangent)
    for k in range(contact.x.shape[0]):
        point = _point(motion, bound, contact, k)
        for number in range(pairs.batches):
            turn = contact.active[k] & (contact.batch == number)
            carry = (motion, normal[k], tangent[k])
            solve = functools.partial(_solve_batch, pairs, bound, point, turn)
            motion, normal[k], tangent[k] = jax.lax.cond(turn.any(), solve, lambda carry: carry, carry)
    return motion, states.Impulses(jnp.stack(normal), jnp.stack(tangent))


class Arm(NamedTuple):
    """A joint's anchors, turned into the world frame, and its angle off rest. Constant during a physics step."""

    ax: Array
    ay: Array
    bx: Array
    by: Array
    off_rest: Array


def joint_arms(constants: const.Constants, where: collide.Pose, angle: Array) -> list[Arm]:
    """Arms of every joint; ``angle`` is [M, B]."""

    def turned(row: int, anchor: scenes.Point) -> tuple[Array, Array]:
        x, y = np.float32(anchor[0]), np.float32(anchor[1])
        return where.cos[row] * x - where.sin[row] * y, where.sin[row] * x + where.cos[row] * y

    def angle_of(row: int):
        moving = row < constants.bodies.moving
        return angle[row] if moving else jnp.full(angle.shape[1:], constants.bodies.angle[row])

    return [
        Arm(*turned(j.a, j.a_anchor), *turned(j.b, j.b_anchor), angle_of(j.b) - angle_of(j.a) - np.float32(j.rotation))
        for j in constants.joints
    ]


class Rows:
    """Motion unpacked into one [B] array per body and quantity, so that joints can update bodies in turn."""

    def __init__(self, constants: const.Constants, motion: states.Motion):
        self.bodies = constants.bodies
        self.x, self.y, self.vx, self.vy, self.w = (
            list(part) for part in (motion.x, motion.y, motion.vx, motion.vy, motion.w)
        )

    def read(self, row: int):
        """(x, y, vx, vy, w, inverse mass, inverse inertia) of a body; zeros in place of a static one's motion."""
        if row >= self.bodies.moving:
            x, y = self.bodies.position[row]
            return x, y, 0.0, 0.0, 0.0, 0.0, 0.0
        mass, turn = self.bodies.inverse_mass[row], self.bodies.inverse_inertia[row]
        return self.x[row], self.y[row], self.vx[row], self.vy[row], self.w[row], mass, turn

    def add(self, row: int, **changes) -> None:
        """Add to a moving body's quantities; a static one stays."""
        if row < self.bodies.moving:
            for name, change in changes.items():
                getattr(self, name)[row] = getattr(self, name)[row] + change

    def pack(self, motion: states.Motion) -> states.Motion:
        """Back to struct-of-arrays."""
        return motion._replace(**{name: jnp.stack(getattr(self, name)) for name in ("x", "y", "vx", "vy", "w")})


def warm_start_joints(rows: Rows, constants: const.Constants, arms: list[Arm], sim: states.Sim) -> None:
    """Apply the impulses that the joints carried at the end of the last physics step."""
    for i, (joint, arm) in enumerate(zip(constants.joints, arms, strict=True)):
        px, py, turn = sim.joint_x[i], sim.joint_y[i], sim.joint_turn[i]
        *_, mass_a, turn_a = rows.read(joint.a)
        *_, mass_b, turn_b = rows.read(joint.b)
        rows.add(joint.a, vx=px * mass_a, vy=py * mass_a, w=turn_a * (arm.ax * py - arm.ay * px + turn))
        rows.add(joint.b, vx=-px * mass_b, vy=-py * mass_b, w=-turn_b * (arm.bx * py - arm.by * px + turn))


def solve_joint(rows: Rows, joint: scenes.Joint, arm: Arm) -> tuple[Array, Array, Array]:
    """Pull one joint together (velocities and positions); returns the impulse x, y and turning impulse to remember."""
    xa, ya, vxa, vya, wa, mass_a, turn_a = rows.read(joint.a)
    xb, yb, vxb, vyb, wb, mass_b, turn_b = rows.read(joint.b)
    mass, turn = np.float32(mass_a + mass_b), np.float32(turn_a + turn_b)
    gap_x, gap_y = (xb + arm.bx) - (xa + arm.ax), (yb + arm.by) - (ya + arm.ay)
    share = mass_a / mass  # the joint sits at the anchors' mass-weighted mean; a static body's anchor wins
    at_ax, at_ay = arm.ax + share * gap_x, arm.ay + share * gap_y
    at_bx, at_by = arm.bx - (1 - share) * gap_x, arm.by - (1 - share) * gap_y
    rel_x = (vxb - wb * at_by) - (vxa - wa * at_ay)
    rel_y = (vyb + wb * at_bx) - (vya + wa * at_ax)
    speed = jnp.sqrt(rel_x * rel_x + rel_y * rel_y)
    speed = jnp.where(speed == 0, 1.0, speed)
    lever_a, lever_b = (arm.ax * rel_y - arm.ay * rel_x) / speed, (arm.bx * rel_y - arm.by * rel_x) / speed
    heft = mass + lever_a * lever_a * turn_a + lever_b * lever_b * turn_b
    px = (rel_x + const.JOINT_VELOCITY_BIAS * gap_x) / heft * const.JOINT_STIFFNESS
    py = (rel_y + const.JOINT_VELOCITY_BIAS * gap_y) / heft * const.JOINT_STIFFNESS
    spin_a, spin_b = (arm.ax * py - arm.ay * px) * turn_a, -(arm.bx * py - arm.by * px) * turn_b
    twist = _twist(joint, arm.off_rest, wb + spin_b - wa - spin_a) / turn
    pull = const.JOINT_POSITION_BIAS / mass
    rows.add(
        joint.a,
        vx=mass_a * px,
        vy=mass_a * py,
        w=spin_a + twist * turn_a,
        x=gap_x * (pull * mass_a),
        y=gap_y * (pull * mass_a),
    )
    rows.add(
        joint.b,
        vx=-mass_b * px,
        vy=-mass_b * py,
        w=spin_b - twist * turn_b,
        x=-gap_x * (pull * mass_b),
        y=-gap_y * (pull * mass_b),
    )
    return px, py, twist if joint.fixed else jnp.zeros_like(px)


def _twist(joint: scenes.Joint, off_rest: Array, spin: Array) -> Array:
    """Relative angular velocity to take out: all of it for a weld, what runs into a limit, or none."""
    if joint.fixed:
        return spin + off_rest * const.WELD_BIAS
    if joint.limits is None:
        return jnp.zeros_like(spin)
    beyond = off_rest - jnp.clip(off_rest, *joint.limits)
    bias = beyond * const.LIMIT_BIAS
    # A limit that a motor already backs away from needs no correction.
    return jnp.where((beyond != 0) & (jnp.sign(spin) == jnp.sign(bias)), spin + bias, 0.0)


def motor_spin(joint: scenes.Joint, turn: float, action: Array, spin: Array, off_rest: Array) -> Array:
    """Torque impulse of a motor towards its target speed; ``spin`` is b's angular velocity relative to a's."""
    power = const.MOTOR_POWER * joint.motor_power * const.DT / turn
    error = spin - joint.motor_speed * action * const.MOTOR_SPEED
    torque = power * jnp.tanh(error * const.MOTOR_DECAY)
    if joint.limits is not None:
        low, high = joint.limits[0] + const.MOTOR_LIMIT_MARGIN, joint.limits[1] - const.MOTOR_LIMIT_MARGIN
        beyond = off_rest - jnp.clip(off_rest, low, high)
        faded = jnp.maximum(0.0, 1.0 - jnp.abs(beyond) / const.MOTOR_LIMIT_MARGIN)
        outward = (beyond != 0) & (jnp.sign(beyond) == jnp.sign(action))
        torque = torque * jnp.where(outward, faded, 1.0)
    return jnp.where(action == 0, 0.0, torque)
