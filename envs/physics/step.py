"""One physics step and one control step (two physics steps) of a batch of equal scenes."""

import jax
import jax.numpy as jnp
from jax import Array

from envs.physics import collide, solve
from envs.physics import constants as const
from envs.physics import state as states

KINDS = ("polygon_polygon", "circle_polygon", "circle_circle")  # solver order


def _actuate(
    constants: const.Constants,
    rows: solve.Rows,
    arms: list[solve.Arm],
    where: collide.Pose,
    motors: Array,
    thrusters: Array,
) -> None:
    """Motors (all from the same velocities), then thrusters."""
    torques = []
    for joint, arm in zip(constants.joints, arms, strict=True):
        spins = [rows.w[row] if row < constants.bodies.moving else 0.0 for row in (joint.b, joint.a)]
        turns = [constants.bodies.inverse_inertia[row] for row in (joint.a, joint.b)]
        if joint.motor_on and not joint.fixed and sum(turns):
            torque = solve.motor_spin(joint, sum(turns), motors[joint.binding], spins[0] - spins[1], arm.off_rest)
            torques.append((joint, turns, torque))
    for joint, turns, torque in torques:
        rows.add(joint.a, w=torque * turns[0])
        rows.add(joint.b, w=-torque * turns[1])
    for thruster in constants.thrusters:
        row = thruster.body
        *_, mass, turn = rows.read(row)
        cos, sin = where.cos[row], where.sin[row]
        x, y = thruster.anchor
        arm_x, arm_y = cos * x - sin * y, sin * x + cos * y
        turned = jnp.float32(thruster.rotation)
        towards_x = cos * jnp.cos(turned) - sin * jnp.sin(turned)
        towards_y = sin * jnp.cos(turned) + cos * jnp.sin(turned)
        force = thruster.power * const.THRUSTER_POWER * const.DT * thrusters[thruster.binding]
        rows.add(
            row,
            vx=mass * towards_x * force,
            vy=mass * towards_y * force,
            w=turn * (arm_x * towards_y - arm_y * towards_x) * force,
        )


def physics_step(
    constants: const.Constants, sim: states.Sim, motors: Array, thrusters: Array
) -> tuple[states.Sim, Array, Array]:
    """Advance 1/60 s. Returns the new state and, each [B], whether green met blue and green met red on the way.

    Order: gravity, manifolds, motors, thrusters, warm start, ten solver iterations (joints, then contacts), Euler, clip.
    """
    motion = sim.motion._replace(vy=sim.motion.vy + constants.gravity * const.DT)
    where = collide.pose(constants, motion)
    arms = solve.joint_arms(constants, where, motion.angle)
    touching = {kind: getattr(constants, kind) for kind in KINDS if len(getattr(constants, kind).a)}
    bound = {kind: solve.ends(constants, pairs) for kind, pairs in touching.items()}
    manifolds = {kind: getattr(collide, kind)(constants, where) for kind in touching}
    solved = met(touching, manifolds, "goal", motion.x)
    failed = met(touching, manifolds, "fail", motion.x)
    pushing = {kind: pairs for kind, pairs in touching.items() if len(pairs.solved)}
    contacts = {kind: solve.contacts(pairs, bound[kind], manifolds[kind], motion) for kind, pairs in pushing.items()}

    rows = solve.Rows(constants, motion)
    _actuate(constants, rows, arms, where, motors, thrusters)
    solve.warm_start_joints(rows, constants, arms, sim)
    motion = rows.pack(motion)
    impulses = {}
    for kind in pushing:
        motion, impulses[kind] = solve.warm_start(motion, bound[kind], contacts[kind], getattr(sim, kind))

    def iterate(_, carry):
        motion, impulses, held = carry
        rows = solve.Rows(constants, motion)
        parts = [solve.solve_joint(rows, joint, arm) for joint, arm in zip(constants.joints, arms, strict=True)]
        if parts:
            motion = rows.pack(motion)
            held = tuple(old + jnp.stack(new) for old, new in zip(held, zip(*parts, strict=True), strict=True))
        impulses = dict(impulses)
        for kind, pairs in pushing.items():
            motion, impulses[kind] = solve.solve_contacts(motion, pairs, bound[kind], contacts[kind], impulses[kind])
        return motion, impulses, held

    held = (sim.joint_x, sim.joint_y, sim.joint_turn)
    motion, impulses, held = jax.lax.fori_loop(0, const.ITERATIONS, iterate, (motion, impulses, held))
    return (
        sim._replace(motion=_advance(motion), joint_x=held[0], joint_y=held[1], joint_turn=held[2], **impulses),
        solved,
        failed,
    )


def _advance(motion: states.Motion) -> states.Motion:
    def bounded(value: Array, most: float) -> Array:
        return jnp.clip(value, -most, most)

    return states.Motion(
        bounded(motion.x + motion.vx * const.DT, const.MAX_POSITION),
        bounded(motion.y + motion.vy * const.DT, const.MAX_POSITION),
        motion.angle + motion.w * const.DT,
        bounded(motion.vx, const.MAX_VELOCITY),
        bounded(motion.vy, const.MAX_VELOCITY),
        bounded(motion.w, const.MAX_ANGULAR_VELOCITY),
    )


def met(pairs: dict[str, const.Pairs], manifolds: dict[str, collide.Manifold], role: str, like: Array) -> Array:
    """Whether any pair with this role ("goal" or "fail") touches, [B]; pairs masked by a joint count too."""
    flags = [manifolds[kind].active[0][getattr(kind_pairs, role)].any(0) for kind, kind_pairs in pairs.items()]
    return jnp.stack([*flags, jnp.zeros(like.shape[-1], bool)]).any(0)


def distance(constants: const.Constants, motion: states.Motion) -> Array:
    """Metres between the centres of green and blue, [B]; summed if a scene has several such pairs."""
    where = collide.pose(constants, motion)
    gaps = [jnp.sqrt((where.x[a] - where.x[b]) ** 2 + (where.y[a] - where.y[b]) ** 2) for a, b in constants.goal_rows]
    return sum(gaps, jnp.zeros(motion.x.shape[-1]))


def control_step(
    constants: const.Constants, sim: states.Sim, motors: Array, thrusters: Array
) -> tuple[states.Sim, Array, Array, Array]:
    """Advance 1/30 s under constant actions.

    ``motors`` [4, B] in [-1, 1], ``thrusters`` [2, B] in [0, 1]. Returns the state and, each [B], solved, failed and the
    distance in metres. The first of the two physics steps in which something is decided decides; red outweighs blue.
    """

    def once(sim, _):
        sim, goal, fail = physics_step(constants, sim, motors, thrusters)
        return sim, (goal & ~fail, fail, distance(constants, sim.motion))

    sim, (goal, fail, gap) = jax.lax.scan(once, sim, None, length=const.PHYSICS_STEPS)
    first = goal[0] | fail[0]
    return sim, jnp.where(first, goal[0], goal[1]), jnp.where(first, fail[0], fail[1]), jnp.where(first, gap[0], gap[1])
