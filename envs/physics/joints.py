"""Joints: what pulls them together, what keeps them within their limits, what turns them. Arrays are [B]."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs import scene as scenes
from rtc_bench.envs.physics import collision, contact_solver
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states


class Arm(NamedTuple):
    """A joint's anchors, turned into the world frame, and its angle off rest. Constant during a physics step."""

    ax: Array
    ay: Array
    bx: Array
    by: Array
    off_rest: Array


def joint_arms(constants: const.Constants, pose: collision.Pose, angle: Array) -> list[Arm]:
    """Arms of every joint; ``angle`` is [M, B]."""

    def turned(row: int, anchor: scenes.Point) -> tuple[Array, Array]:
        x, y = np.float32(anchor[0]), np.float32(anchor[1])
        return pose.cos[row] * x - pose.sin[row] * y, pose.sin[row] * x + pose.cos[row] * y

    def angle_of(row: int):
        moving = row < constants.bodies.moving
        return angle[row] if moving else jnp.full(angle.shape[1:], constants.bodies.angle[row])

    return [
        Arm(*turned(j.a, j.a_anchor), *turned(j.b, j.b_anchor), angle_of(j.b) - angle_of(j.a) - np.float32(j.rotation))
        for j in constants.joints
    ]


class UnpackedBodies:
    """Bodies unpacked into one [B] array per body and quantity, so that joints can update bodies in turn."""

    def __init__(self, constants: const.Constants, bodies: contact_solver.SolverBodies):
        self.bodies = constants.bodies
        (self.x, self.y), (self.vx, self.vy) = (map(list, part) for part in (bodies.position, bodies.velocity))
        self.w = list(bodies.spin)

    def read(self, row: int):
        """(x, y, vx, vy, w, inverse mass, inverse inertia) of a body; zeros in place of a static one's motion."""
        if row >= self.bodies.moving:
            x, y = self.bodies.position[row]
            return x, y, 0.0, 0.0, 0.0, 0.0, 0.0
        inverses = self.bodies.inverse_mass[row], self.bodies.inverse_inertia[row]
        return self.x[row], self.y[row], self.vx[row], self.vy[row], self.w[row], *inverses

    def add(self, row: int, **changes) -> None:
        """Add to a moving body's quantities; a static one stays."""
        if row < self.bodies.moving:
            for name, change in changes.items():
                getattr(self, name)[row] = getattr(self, name)[row] + change

    def pack(self) -> contact_solver.SolverBodies:
        """Back to arrays."""
        position, velocity = (
            jnp.stack(pair).reshape(2, len(self.w), -1) for pair in (self.x + self.y, self.vx + self.vy)
        )
        return contact_solver.SolverBodies(position, velocity, jnp.stack(self.w))


def warm_start_joints(bodies: UnpackedBodies, constants: const.Constants, arms: list[Arm], sim: states.Sim) -> None:
    """Apply the impulses that the joints carried at the end of the last physics step."""
    for i, (joint, arm) in enumerate(zip(constants.joints, arms, strict=True)):
        px, py, turning_impulse = sim.joint_x[i], sim.joint_y[i], sim.joint_turn[i]
        *_, inverse_mass_a, inverse_inertia_a = bodies.read(joint.a)
        *_, inverse_mass_b, inverse_inertia_b = bodies.read(joint.b)
        bodies.add(
            joint.a,
            vx=px * inverse_mass_a,
            vy=py * inverse_mass_a,
            w=inverse_inertia_a * (arm.ax * py - arm.ay * px + turning_impulse),
        )
        bodies.add(
            joint.b,
            vx=-px * inverse_mass_b,
            vy=-py * inverse_mass_b,
            w=-inverse_inertia_b * (arm.bx * py - arm.by * px + turning_impulse),
        )


def solve_joint(bodies: UnpackedBodies, joint: scenes.Joint, arm: Arm) -> tuple[Array, Array, Array]:
    """Pull one joint together (velocities and positions); returns the impulse x, y and turning impulse to remember."""
    xa, ya, vxa, vya, wa, inverse_mass_a, inverse_inertia_a = bodies.read(joint.a)
    xb, yb, vxb, vyb, wb, inverse_mass_b, inverse_inertia_b = bodies.read(joint.b)
    inverse_mass = np.float32(inverse_mass_a + inverse_mass_b)
    inverse_inertia = np.float32(inverse_inertia_a + inverse_inertia_b)
    gap_x, gap_y = (xb + arm.bx) - (xa + arm.ax), (yb + arm.by) - (ya + arm.ay)
    # The joint sits at the anchors' mass-weighted mean; a static body's anchor wins.
    share = inverse_mass_a / inverse_mass
    at_ax, at_ay = arm.ax + share * gap_x, arm.ay + share * gap_y
    at_bx, at_by = arm.bx - (1 - share) * gap_x, arm.by - (1 - share) * gap_y
    rel_x = (vxb - wb * at_by) - (vxa - wa * at_ay)
    rel_y = (vyb + wb * at_bx) - (vya + wa * at_ax)
    speed = jnp.sqrt(rel_x * rel_x + rel_y * rel_y)
    speed = jnp.where(speed == 0, 1.0, speed)
    lever_a, lever_b = (arm.ax * rel_y - arm.ay * rel_x) / speed, (arm.bx * rel_y - arm.by * rel_x) / speed
    effective = inverse_mass + lever_a * lever_a * inverse_inertia_a + lever_b * lever_b * inverse_inertia_b
    px = (rel_x + const.JOINT_VELOCITY_BIAS * gap_x) / effective * const.JOINT_STIFFNESS
    py = (rel_y + const.JOINT_VELOCITY_BIAS * gap_y) / effective * const.JOINT_STIFFNESS
    spin_a, spin_b = (arm.ax * py - arm.ay * px) * inverse_inertia_a, -(arm.bx * py - arm.by * px) * inverse_inertia_b
    twist = _twist(joint, arm.off_rest, wb + spin_b - wa - spin_a) / inverse_inertia
    pull = const.JOINT_POSITION_BIAS / inverse_mass
    bodies.add(
        joint.a,
        vx=inverse_mass_a * px,
        vy=inverse_mass_a * py,
        w=spin_a + twist * inverse_inertia_a,
        x=gap_x * (pull * inverse_mass_a),
        y=gap_y * (pull * inverse_mass_a),
    )
    bodies.add(
        joint.b,
        vx=-inverse_mass_b * px,
        vy=-inverse_mass_b * py,
        w=spin_b - twist * inverse_inertia_b,
        x=-gap_x * (pull * inverse_mass_b),
        y=-gap_y * (pull * inverse_mass_b),
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


def motor_torque(joint: scenes.Joint, inverse_inertia: float, action: Array, spin: Array, off_rest: Array) -> Array:
    """Torque impulse of a motor towards its target speed; ``spin`` is b's angular velocity relative to a's."""
    power = const.MOTOR_POWER * joint.motor_power * const.DT / inverse_inertia
    error = spin - joint.motor_speed * action * const.MOTOR_SPEED
    torque = power * jnp.tanh(error * const.MOTOR_DECAY)
    if joint.limits is not None:
        low, high = joint.limits[0] + const.MOTOR_LIMIT_MARGIN, joint.limits[1] - const.MOTOR_LIMIT_MARGIN
        beyond = off_rest - jnp.clip(off_rest, low, high)
        faded = jnp.maximum(0.0, 1.0 - jnp.abs(beyond) / const.MOTOR_LIMIT_MARGIN)
        outward = (beyond != 0) & (jnp.sign(beyond) == jnp.sign(action))
        torque = torque * jnp.where(outward, faded, 1.0)
    return jnp.where(action == 0, 0.0, torque)
