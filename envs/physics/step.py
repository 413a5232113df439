"""One physics step and one control step (two physics steps) of a batch of equal scenes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.envs.physics import collision, contact_solver, full_solver, joints, slot_solver
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states


def _actuate(
    constants: const.Constants,
    bodies: joints.UnpackedBodies,
    arms: list[joints.Arm],
    pose: collision.Pose,
    motors: Array,
    thrusters: Array,
) -> None:
    """Motors (all from the same velocities), then thrusters."""
    torques = []
    for joint, arm in zip(constants.joints, arms, strict=True):
        spins = [bodies.w[row] if row < constants.bodies.moving else 0.0 for row in (joint.b, joint.a)]
        inertias = [constants.bodies.inverse_inertia[row] for row in (joint.a, joint.b)]
        if joint.motor_on and not joint.fixed and sum(inertias):
            torque = joints.motor_torque(joint, sum(inertias), motors[joint.binding], spins[0] - spins[1], arm.off_rest)
            torques.append((joint, inertias, torque))
    for joint, inertias, torque in torques:
        bodies.add(joint.a, w=torque * inertias[0])
        bodies.add(joint.b, w=-torque * inertias[1])
    for thruster in constants.thrusters:
        row = thruster.body
        *_, inverse_mass, inverse_inertia = bodies.read(row)
        cos, sin = pose.cos[row], pose.sin[row]
        x, y = thruster.anchor
        arm_x, arm_y = cos * x - sin * y, sin * x + cos * y
        turned = jnp.float32(thruster.rotation)
        towards_x = cos * jnp.cos(turned) - sin * jnp.sin(turned)
        towards_y = sin * jnp.cos(turned) + cos * jnp.sin(turned)
        force = thruster.power * const.THRUSTER_POWER * const.DT * thrusters[thruster.binding]
        bodies.add(
            row,
            vx=inverse_mass * towards_x * force,
            vy=inverse_mass * towards_y * force,
            w=inverse_inertia * (arm_x * towards_y - arm_y * towards_x) * force,
        )


def physics_step(
    constants: const.Constants, sim: states.Sim, motors: Array, thrusters: Array
) -> tuple[states.Sim, Array, Array]:
    """Advance 1/60 s. Returns the new state and, each [B], whether green met blue and green met red on the way.

    Order: gravity, manifolds, motors, thrusters, warm start, ten solver iterations (joints, then contacts), Euler, clip.
    """
    sim = sim._replace(motion=sim.motion._replace(vy=sim.motion.vy + constants.gravity * const.DT))
    pose = collision.pose(constants, sim.motion)
    pairs_by_kind = {kind: getattr(constants, kind) for kind in collision.MANIFOLDS if len(getattr(constants, kind).a)}
    active = {kind: collision.active(constants, kind, pose) for kind in pairs_by_kind}
    batch = sim.motion.x.shape[-1]
    goal, fail = (touches(pairs_by_kind, active, role, batch) for role in ("goal", "fail"))
    pushing = [kind for kind, pairs in pairs_by_kind.items() if len(pairs.pushing)]

    slot_solvers = [slot_solver.SlotSolver(constants, kind, active[kind]) for kind in pushing]
    overflows = [
        solver.assignment.overflow
        for solver in slot_solvers
        if solver.cap < slot_solver.all_slots(constants, solver.kind)
    ]

    def solve_with_slots(sim: states.Sim) -> states.Sim:
        return _solve(constants, slot_solvers, sim, pose, motors, thrusters)

    def solve_fully(sim: states.Sim) -> states.Sim:
        full_solvers = [
            full_solver.FullSolver(constants, solver.kind, solver.assignment.solver_batch) for solver in slot_solvers
        ]
        return _solve(constants, full_solvers, sim, pose, motors, thrusters)

    # A contact is never dropped: if one environment of the batch has too many, all get the slow solver.
    too_many = jnp.stack(overflows).any() if overflows else None
    sim = solve_with_slots(sim) if too_many is None else jax.lax.cond(too_many, solve_fully, solve_with_slots, sim)
    return sim._replace(motion=_advance(sim.motion)), goal, fail


def _solve(
    constants: const.Constants,
    solvers: Sequence[contact_solver.ContactSolver],
    sim: states.Sim,
    pose: collision.Pose,
    motors: Array,
    thrusters: Array,
) -> states.Sim:
    """Everything that changes velocities: motors, thrusters, warm start and the solver iterations."""
    motion = sim.motion
    bodies = contact_solver.SolverBodies(jnp.stack([motion.x, motion.y]), jnp.stack([motion.vx, motion.vy]), motion.w)
    slots = {solver.kind: solver.gather(pose, bodies) for solver in solvers}
    arms = joints.joint_arms(constants, pose, motion.angle)
    unpacked = joints.UnpackedBodies(constants, bodies)
    _actuate(constants, unpacked, arms, pose, motors, thrusters)
    joints.warm_start_joints(unpacked, constants, arms, sim)
    bodies, impulses = unpacked.pack(), {}
    for solver in solvers:
        previous = getattr(sim, solver.kind)
        bodies, impulses[solver.kind] = solver.warm_start(bodies, slots[solver.kind], previous)

    def iterate(_, carry):
        bodies, impulses, joint_impulses = carry
        unpacked = joints.UnpackedBodies(constants, bodies)
        joint_impulses = [
            tuple(old + new for old, new in zip(impulse, joints.solve_joint(unpacked, joint, arm), strict=True))
            for impulse, joint, arm in zip(joint_impulses, constants.joints, arms, strict=True)
        ]
        if joint_impulses:
            bodies = unpacked.pack()
        impulses = dict(impulses)
        for solver in solvers:
            bodies, impulses[solver.kind] = solver.iterate(bodies, slots[solver.kind], impulses[solver.kind])
        return bodies, impulses, joint_impulses

    joint_impulses = [(sim.joint_x[i], sim.joint_y[i], sim.joint_turn[i]) for i in range(len(constants.joints))]
    bodies, impulses, joint_impulses = jax.lax.fori_loop(
        0, const.ITERATIONS, iterate, (bodies, impulses, joint_impulses)
    )
    (x, y), (vx, vy) = bodies.position, bodies.velocity
    summed = [jnp.stack(part) for part in zip(*joint_impulses, strict=True)] or [sim.joint_x] * 3
    return sim._replace(
        motion=motion._replace(x=x, y=y, vx=vx, vy=vy, w=bodies.spin),
        joint_x=summed[0],
        joint_y=summed[1],
        joint_turn=summed[2],
        **{solver.kind: solver.remember(impulses[solver.kind]) for solver in solvers},
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


def touches(pairs: dict[str, const.Pairs], active: dict[str, Array], role: str, batch: int) -> Array:
    """Whether any pair with this role ("goal" or "fail") touches, [B]; pairs masked by a joint count too."""
    flags = [active[kind][getattr(kind_pairs, role)].any(0) for kind, kind_pairs in pairs.items()]
    return jnp.stack([*flags, jnp.zeros(batch, bool)]).any(0)


def distance(constants: const.Constants, motion: states.Motion) -> Array:
    """Metres between the centres of green and blue, [B]; summed if a scene has several such pairs."""
    pose = collision.pose(constants, motion)
    gaps = [jnp.sqrt((pose.x[a] - pose.x[b]) ** 2 + (pose.y[a] - pose.y[b]) ** 2) for a, b in constants.goal_rows]
    return sum(gaps, jnp.zeros(motion.x.shape[-1]))


def control_step(
    constants: const.Constants, sim: states.Sim, motors: Array, thrusters: Array
) -> tuple[states.Sim, Array, Array, Array]:
    """Advance 1/30 s under constant actions.

    ``motors`` [4, B] in [-1, 1], ``thrusters`` [2, B] in [0, 1]. Returns the state and, each [B], solved, failed and the
    distance in metres. The first of the two physics steps in which something is decided decides; red outweighs blue.
    """

    def step(sim, _):
        sim, goal, fail = physics_step(constants, sim, motors, thrusters)
        return sim, (goal & ~fail, fail, distance(constants, sim.motion))

    sim, (goal, fail, gap) = jax.lax.scan(step, sim, None, length=const.PHYSICS_STEPS)
    first = goal[0] | fail[0]
    return sim, jnp.where(first, goal[0], goal[1]), jnp.where(first, fail[0], fail[1]), jnp.where(first, gap[0], gap[1])
