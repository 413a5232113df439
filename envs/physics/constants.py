"""Scene -> the numbers and index lists that the stepper bakes in (NumPy, float32).

Rows: moving bodies come first, in slot order, then the static ones. A row index therefore tells both which body and
whether it moves. Pair lists keep the order of Kinetix's generic lists, because contacts are dealt to solver batches by
their rank among the active pairs of the *full* list.
"""

import dataclasses
import math

import numpy as np

from rtc_bench.envs import scene as scenes

DT = 1 / 60  # s, one physics step
PHYSICS_STEPS = 2  # per control step
ITERATIONS = 10  # solver iterations per physics step
SOLVER_BATCH = 16  # contacts that Kinetix solves at once
SLOP = 0.01  # m, penetration that is left alone
CONTACT_BIAS = 0.2  # Baumgarte coefficients
JOINT_VELOCITY_BIAS = 2.0
JOINT_POSITION_BIAS = 0.7
WELD_BIAS = 2.0
LIMIT_BIAS = 5.0
JOINT_STIFFNESS = 0.6
MAX_POSITION, MAX_VELOCITY, MAX_ANGULAR_VELOCITY = 15.0, 100.0, 50.0  # m, m/s, rad/s
MOTOR_SPEED, MOTOR_POWER, THRUSTER_POWER = 6.0, 900.0, 10.0
MOTOR_DECAY = 0.1
MOTOR_LIMIT_MARGIN = 0.1  # rad over which a motor fades out before a joint limit
BASE_FRICTION = 0.4

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Bodies:
    """Per-row constants; ``moving`` rows first."""

    moving: int
    position: Array  # [R, 2]
    angle: Array  # [R]
    velocity: Array  # [R, 2], at the start
    spin: Array  # [R]
    inverse_mass: Array  # [R]
    inverse_inertia: Array  # [R]
    vertices: Array  # [R, 4, 2], zeros for circles
    normals: Array  # [R, 4, 2], outward, as the engine computes them
    radius: Array  # [R]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """One kind of pair (polygon-polygon, circle-polygon or circle-circle) that can ever touch."""

    a: Array  # [P] rows
    b: Array  # [P]
    pushing: Array  # [Q] indices into P of the pairs whose contact pushes (not masked by a joint)
    friction: Array  # [Q]
    restitution: Array  # [Q]
    keeps_impulse: Array  # [Q] 0 for the pair whose memory the engine's padding wipes, else 1
    later: Array  # [Q, P] 1 where pair p comes after pushing pair q in the list
    first_position: Array  # [Q] length of the generic list - 1 - (static pairs after it that always touch)
    batches: int  # sequential solver batches of the full list
    max_active: int  # pairs that can be active at once, static ones included
    goal: Array  # [G] indices into P: green meets blue
    fail: Array  # [F] indices into P: green meets red


@dataclasses.dataclass(frozen=True)
class Constants:
    """Everything about a scene that does not change while it runs."""

    bodies: Bodies
    polygon_polygon: Pairs
    circle_polygon: Pairs
    circle_circle: Pairs
    joints: tuple[scenes.Joint, ...]  # a and b are rows
    thrusters: tuple[scenes.Thruster, ...]  # body is a row
    goal_rows: tuple[tuple[int, int], ...]  # green-blue pairs whose centre distances make up the task's distance
    gravity: float


def _outward_normals(vertices: Array) -> Array:
    """Edge normals with the engine's own 90-degree rotation, whose float32 cosine is -4e-8 and not 0."""
    cos, sin = np.cos(np.float32(math.pi / 2)), np.sin(np.float32(math.pi / 2))
    edge = np.roll(vertices, -1, axis=0) - vertices
    length = np.sqrt((edge**2).sum(-1, dtype=np.float32))[:, None]
    turned = np.stack([cos * edge[:, 0] - sin * edge[:, 1], sin * edge[:, 0] + cos * edge[:, 1]], -1)
    return (turned / np.where(length == 0, 1, length)).astype(np.float32)


def _bodies(ordered: list[scenes.Body], moving: int) -> Bodies:
    def column(read):
        return np.array([read(body) for body in ordered], np.float32)

    vertices = column(lambda body: body.vertices or ((0.0, 0.0),) * 4)
    return Bodies(
        moving=moving,
        position=column(lambda body: body.position),
        angle=column(lambda body: body.rotation),
        velocity=column(lambda body: body.velocity),
        spin=column(lambda body: body.spin),
        inverse_mass=column(lambda body: body.inverse_mass),
        inverse_inertia=column(lambda body: body.inverse_inertia),
        vertices=vertices,
        normals=np.stack([_outward_normals(corners) for corners in vertices]),
        radius=column(lambda body: body.radius),
    )


def generic_list(kind: str) -> list[tuple[int, int]]:
    """Slot pairs in the order in which Kinetix lists them."""
    polygons = range(scenes.POLYGON_SLOTS)
    circles = range(scenes.POLYGON_SLOTS, scenes.POLYGON_SLOTS + scenes.CIRCLE_SLOTS)
    if kind == "polygon_polygon":
        return [(a, b) for a in polygons for b in polygons if a < b and b >= scenes.WALL_SLOTS]
    if kind == "circle_polygon":
        return [(a, b) for a in circles for b in polygons]
    return [(a, b) for a in circles for b in circles if a < b]


def collision_mask(joints: tuple[scenes.Joint, ...]) -> Array:
    """[16, 16] bool: which slots may push each other. Bodies connected through any chain of joints may not."""
    size = scenes.POLYGON_SLOTS + scenes.CIRCLE_SLOTS
    mask = ~np.eye(size, dtype=bool)
    for _ in range(6):
        for joint in joints:
            row = (mask[joint.a] & mask[joint.b]) & (mask[:, joint.b] & mask[:, joint.a])
            mask[joint.a] = mask[joint.b] = row
            mask[:, joint.a] = mask[:, joint.b] = row
    return mask


def _modes_collide(a: scenes.Body, b: scenes.Body) -> bool:
    return 2 in (a.collision_mode, b.collision_mode) or a.collision_mode * b.collision_mode > 0


def _world(body: scenes.Body) -> Array:
    cos, sin = math.cos(body.rotation), math.sin(body.rotation)
    return np.array(body.vertices) @ np.array([[cos, sin], [-sin, cos]]) + np.array(body.position)


def statics_touch(a: scenes.Body, b: scenes.Body) -> bool:
    """True if two bodies overlap where they start (separating axes); circles are taken as ``a``."""
    if a.is_circle and b.is_circle:
        return math.dist(a.position, b.position) < a.radius + b.radius
    axes = np.concatenate([_edge_normals(_world(body)) for body in (a, b) if not body.is_circle])
    if a.is_circle:
        corners = _world(b)
        towards = corners - np.array(a.position)
        axes = np.concatenate([axes, towards / np.linalg.norm(towards, axis=1, keepdims=True)])
        centre = axes @ np.array(a.position)
        low, high = centre - a.radius, centre + a.radius
    else:
        projected = axes @ _world(a).T
        low, high = projected.min(1), projected.max(1)
    other = axes @ _world(b).T
    return bool(((other.min(1) < high) & (low < other.max(1))).all())


def _edge_normals(corners: Array) -> Array:
    edge = np.roll(corners, -1, axis=0) - corners
    return np.stack([-edge[:, 1], edge[:, 0]], -1) / np.linalg.norm(edge, axis=1, keepdims=True)


def _pairs(kind: str, by_slot: dict[int, scenes.Body], rows: dict[int, int], mask: Array) -> Pairs:
    slot_pairs = generic_list(kind)
    touchable, always_touching = [], []
    for index, (slot_a, slot_b) in enumerate(slot_pairs):
        if slot_a not in by_slot or slot_b not in by_slot:
            continue
        a, b = by_slot[slot_a], by_slot[slot_b]
        if not _modes_collide(a, b):
            continue
        if a.moves or b.moves:
            touchable.append((index, a, b))
        elif statics_touch(a, b):
            always_touching.append(index)
    indices = np.array([index for index, _, _ in touchable], int)
    pushing = np.array([k for k, (_, a, b) in enumerate(touchable) if mask[a.slot, b.slot]], int)
    batches = -(-len(slot_pairs) // SOLVER_BATCH)
    padded = batches * SOLVER_BATCH > len(slot_pairs)

    def of_pushing(read):
        return np.array([read(touchable[k][1], touchable[k][2]) for k in pushing], np.float32)

    def with_roles(product: int) -> Array:
        return np.array([k for k, (_, a, b) in enumerate(touchable) if a.role * b.role == product], int)

    return Pairs(
        a=np.array([rows[a.slot] for _, a, _ in touchable], int),
        b=np.array([rows[b.slot] for _, _, b in touchable], int),
        pushing=pushing,
        friction=of_pushing(lambda a, b: np.hypot(a.friction * BASE_FRICTION, b.friction * BASE_FRICTION)),
        restitution=of_pushing(lambda a, b: min(a.restitution, b.restitution)),
        keeps_impulse=np.array([not (padded and indices[k] == len(slot_pairs) - 1) for k in pushing], np.float32),
        later=(indices[None, :] > indices[pushing][:, None]).astype(np.float32),
        first_position=np.array(
            [len(slot_pairs) - 1 - sum(other > indices[k] for other in always_touching) for k in pushing], np.float32
        ),
        batches=batches,
        max_active=len(touchable) + len(always_touching),
        goal=with_roles(scenes.GREEN * scenes.BLUE),
        fail=with_roles(scenes.GREEN * scenes.RED),
    )


class UnsupportedScene(ValueError):
    """A scene that the specialised engine cannot simulate; the message names it, the reason and the way out."""


def build(scene: scenes.Scene) -> Constants:
    """Bake a scene. Raises UnsupportedScene for shapes that are neither quads nor circles."""
    for body in scene.bodies:
        if body.vertices is not None and len(body.vertices) != 4:
            raise UnsupportedScene(
                f"level {scene.name!r}: polygon {body.slot} has {len(body.vertices)} corners; the specialised engine knows "
                "quads and circles; use engine=kinetix, which runs it"
            )
    ordered = [body for body in scene.bodies if body.moves] + [body for body in scene.bodies if not body.moves]
    rows = {body.slot: row for row, body in enumerate(ordered)}
    by_slot = {body.slot: body for body in scene.bodies}
    mask = collision_mask(scene.joints)
    kinds = {kind: _pairs(kind, by_slot, rows, mask) for kind in ("polygon_polygon", "circle_polygon", "circle_circle")}
    pushing = [joint for joint in scene.joints if by_slot[joint.a].moves or by_slot[joint.b].moves]
    return Constants(
        bodies=_bodies(ordered, len(scene.moving)),
        joints=tuple(dataclasses.replace(joint, a=rows[joint.a], b=rows[joint.b]) for joint in pushing),
        thrusters=tuple(dataclasses.replace(thruster, body=rows[thruster.body]) for thruster in scene.thrusters),
        goal_rows=tuple((rows[a], rows[b]) for a, b in scene.goal_pairs),
        gravity=scene.gravity,
        **kinds,
    )
