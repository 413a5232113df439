"""Narrow-phase collision: contact manifolds for every pair that can ever touch. All arrays are [..., P, B], batch last."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states
from rtc_bench.envs.physics.materialization import materialize

REFERENCE_BIAS = 0.01  # m, b's face must win by this much, so that the reference face does not flip-flop


class Manifold(NamedTuple):
    """Contacts of one kind of pair. The normal points from a to b."""

    active: Array  # [K, P, B] bool
    normal_x: Array  # [P, B]
    normal_y: Array
    penetration: Array  # [P, B] m
    x: Array  # [K, P, B] contact points, world, m
    y: Array


class Pose(NamedTuple):
    """World pose of all bodies, static rows included: each [R, B]."""

    x: Array
    y: Array
    cos: Array
    sin: Array


def take_rows(array: Array, index: np.ndarray) -> Array:
    """Rows of an array by a constant index list."""
    return array.at[index].get(mode="promise_in_bounds", unique_indices=False)


def pose(constants: const.Constants, motion: states.Motion) -> Pose:
    """Append the static bodies' constant poses to the moving ones'."""
    bodies, batch = constants.bodies, motion.x.shape[-1]

    def full(moving: Array, static: np.ndarray) -> Array:
        fixed = jnp.asarray(static, jnp.float32)[bodies.moving :, None]
        return jnp.concatenate([moving, jnp.broadcast_to(fixed, (fixed.shape[0], batch))])

    return Pose(
        full(motion.x, bodies.position[:, 0]),
        full(motion.y, bodies.position[:, 1]),
        full(jnp.cos(motion.angle), np.cos(bodies.angle)),
        full(jnp.sin(motion.angle), np.sin(bodies.angle)),
    )


class Side(NamedTuple):
    """One body of each pair (or slot): where it is, each [P, B], and its shape, [..., P, 1] (or [..., P, B])."""

    pose: Pose
    vertices: Array | np.ndarray  # [4, 2, P, *]
    normals: Array | np.ndarray  # [4, 2, P, *]
    radius: Array | np.ndarray  # [P, *]


def side(constants: const.Constants, pose: Pose, index: np.ndarray) -> Side:
    """The bodies in the rows ``index`` [P]."""
    bodies = constants.bodies
    return Side(
        Pose(*(take_rows(part, index) for part in pose)),
        bodies.vertices[index].transpose(1, 2, 0)[..., None],
        bodies.normals[index].transpose(1, 2, 0)[..., None],
        bodies.radius[index][:, None],
    )


def corners(body: Side) -> tuple[Array, Array]:
    """World vertices: x and y, each [4, P, B]."""
    cos, sin = body.pose.cos[None], body.pose.sin[None]
    x = cos * body.vertices[:, 0] - sin * body.vertices[:, 1] + body.pose.x[None]
    y = sin * body.vertices[:, 0] + cos * body.vertices[:, 1] + body.pose.y[None]
    return x, y


def _pick(choice: Array, options) -> Array:
    """options[choice], for ``choice`` [P, B] in 0 .. len(options) - 1."""
    result = jnp.broadcast_to(options[0], choice.shape)
    for i in range(1, len(options)):
        result = jnp.where(choice == float(i), options[i], result)
    return result


class _Axis(NamedTuple):
    """The face of one body along which the other is separated most."""

    separation: Array  # [P, B] m
    face: Array  # [P, B]
    vertices: tuple[Array, Array]  # the other's, in this body's frame, [4, P, B]


def _least_penetration(body: Side, other: Side) -> _Axis:
    origin_x, origin_y, cos, sin = (part[None] for part in body.pose)
    x, y = corners(other)
    dx, dy = x - origin_x, y - origin_y
    x, y = materialize(cos * dx + sin * dy), materialize(cos * dy - sin * dx)
    along = body.normals[:, 0, None] * x[None] + body.normals[:, 1, None] * y[None]  # [4 faces, 4 corners, P, B]
    own = body.normals[:, 0, None] * body.vertices[None, :, 0] + body.normals[:, 1, None] * body.vertices[None, :, 1]
    separation = materialize(_fold(jnp.minimum, along) - _fold(jnp.maximum, own))
    best, face = separation[0], jnp.zeros(separation[0].shape)
    for i in range(1, 4):
        higher = separation[i] > best
        best, face = jnp.where(higher, separation[i], best), jnp.where(higher, float(i), face)
    return _Axis(best, face, (x, y))


def _fold(pairwise, values):
    """[4, 4, P, B] -> [4, P, B]; four terms in a row, because a reduction of four is slower."""
    return pairwise(pairwise(values[:, 0], values[:, 1]), pairwise(values[:, 2], values[:, 3]))


def _two_lowest(values: list[Array]) -> tuple[Array, Array]:
    """Which of four values is the lowest and which the second lowest; the earlier wins a tie (a stable sort's order)."""

    def rank(i: int) -> Array:
        before = [(values[j] <= values[i]) if j < i else (values[j] < values[i]) for j in range(4) if j != i]
        return functools.reduce(jnp.add, (flag.astype(jnp.int32) for flag in before))

    ranks = [rank(i) for i in range(4)]

    def with_rank(wanted: int) -> Array:
        index = jnp.zeros(values[0].shape)
        for i in range(1, 4):
            index = jnp.where(ranks[i] == wanted, float(i), index)
        return index

    return with_rank(0), with_rank(1)


def polygon_polygon(a: Side, b: Side) -> Manifold:
    """Manifolds of quad pairs: up to two contact points, the deeper first."""
    of_a, of_b = _least_penetration(a, b), _least_penetration(b, a)
    use_b = of_a.separation + REFERENCE_BIAS < of_b.separation
    separation = jnp.maximum(of_a.separation, of_b.separation)

    # From here on the reference body is the one whose face separates most, and the other one is clipped against it.
    def choose(from_a, from_b):
        return jax.tree.map(lambda p, q: jnp.where(use_b[(None,) * (jnp.ndim(p) - 2)], q, p), from_a, from_b)

    face = materialize(jnp.where(use_b, of_b.face, of_a.face))
    normals, pose = choose((a.normals, a.pose), (b.normals, b.pose))
    local = [_pick(face, normals[:, k]) for k in range(2)]
    sign = jnp.where(use_b, -1.0, 1.0)
    normal_x = (pose.cos * local[0] - pose.sin * local[1]) * sign
    normal_y = (pose.sin * local[0] + pose.cos * local[1]) * sign
    own, others = choose((corners(a), corners(b)), (corners(b), corners(a)))
    start_x, start_y = (materialize(_pick(face, part)) for part in own)
    end_x, end_y = (_pick(face, [part[(i + 1) % 4] for i in range(4)]) for part in own)
    vertices = choose(of_a.vertices, of_b.vertices)
    first, second = _two_lowest([local[0] * vertices[0][i] + local[1] * vertices[1][i] for i in range(4)])
    deepest = materialize(first), materialize(second)

    # The frame in which the reference face runs from (0, 0) to (0, length). The angle is taken and undone literally:
    # the algebraic shortcut rounds differently and flips which of two level points counts as the deeper one.
    edge_x, edge_y = start_x - end_x, start_y - end_y
    angle = materialize(math.pi + jnp.arctan2(edge_x, edge_y))
    cos, sin = materialize(jnp.cos(angle)), materialize(jnp.sin(angle))
    length = jnp.sqrt(edge_x * edge_x + edge_y * edge_y)

    def clipped(choice: Array) -> tuple[Array, Array]:
        dx, dy = _pick(choice, others[0]) - start_x, _pick(choice, others[1]) - start_y
        return materialize(cos * dx - sin * dy), materialize(jnp.clip(sin * dx + cos * dy, 0.0, length))

    one, two = (clipped(choice) for choice in deepest)
    swap = two[0] > one[0]
    points = [tuple(jnp.where(flag, q, p) for p, q in zip(one, two, strict=True)) for flag in (swap, ~swap)]
    active = separation < 0
    return Manifold(
        active=jnp.stack([active, active & (jnp.minimum(one[0], two[0]) > 0)]),
        normal_x=normal_x,
        normal_y=normal_y,
        penetration=-separation,
        x=jnp.stack([cos * u + sin * v + start_x for u, v in points]),
        y=jnp.stack([cos * v - sin * u + start_y for u, v in points]),
    )


def _unless_zero(value: Array) -> Array:
    return jnp.where(value == 0, 1.0, value)


def circle_polygon(a: Side, b: Side) -> Manifold:
    """Manifolds of circle (a) and quad (b) pairs: one contact point, on the quad's outline."""
    circle, quad = a.pose, b.pose
    dx, dy = circle.x - quad.x, circle.y - quad.y
    x, y = quad.cos * dx + quad.sin * dy, quad.cos * dy - quad.sin * dx  # circle centre in the quad's frame
    local = b.vertices
    following = jnp.roll(local, -1, axis=0)
    edge = following - local
    length = jnp.sqrt(edge[:, :1] ** 2 + edge[:, 1:] ** 2)
    unit = edge / length
    inside = jnp.ones(x.shape, bool)
    best, close_x, close_y = jnp.full(x.shape, jnp.inf), x, y
    for i in range(4):
        signed = (local[i, 0] - x) * (following[i, 1] - y) - (local[i, 1] - y) * (following[i, 0] - x)
        inside &= signed < 0
        travel = unit[i, 0] * (x - local[i, 0]) + unit[i, 1] * (y - local[i, 1])
        travel = jnp.clip(travel, 0.0, length[i, 0])
        at_x, at_y = local[i, 0] + travel * unit[i, 0], local[i, 1] + travel * unit[i, 1]
        distance = jnp.sqrt((at_x - x) ** 2 + (at_y - y) ** 2)
        nearer = distance < best
        best, close_x, close_y = (
            jnp.where(nearer, new, old) for new, old in ((distance, best), (at_x, close_x), (at_y, close_y))
        )
    away_x, away_y = x - close_x, y - close_y
    distance = jnp.sqrt(away_x**2 + away_y**2)
    radius = a.radius
    sign = jnp.where(inside, -1.0, 1.0)
    out_x, out_y = (quad.cos * away_x - quad.sin * away_y) * sign, (quad.sin * away_x + quad.cos * away_y) * sign
    norm = _unless_zero(jnp.sqrt(out_x**2 + out_y**2))
    return Manifold(
        active=((distance <= radius) | inside)[None],
        normal_x=-out_x / norm,
        normal_y=-out_y / norm,
        penetration=jnp.where(inside, radius, radius - distance),
        x=(quad.cos * close_x - quad.sin * close_y + quad.x)[None],
        y=(quad.sin * close_x + quad.cos * close_y + quad.y)[None],
    )


def circle_circle(a: Side, b: Side) -> Manifold:
    """Manifolds of circle pairs: one contact point, on a's outline."""
    dx, dy = b.pose.x - a.pose.x, b.pose.y - a.pose.y
    distance = jnp.sqrt(dx * dx + dy * dy)
    reach = a.radius + b.radius
    normal_x, normal_y = dx / _unless_zero(distance), dy / _unless_zero(distance)
    return Manifold(
        active=(distance < reach)[None],
        normal_x=normal_x,
        normal_y=normal_y,
        penetration=reach - distance,
        x=(a.pose.x + normal_x * a.radius)[None],
        y=(a.pose.y + normal_y * a.radius)[None],
    )


MANIFOLDS = {
    "polygon_polygon": polygon_polygon,
    "circle_polygon": circle_polygon,
    "circle_circle": circle_circle,
}  # in solver order


def active(constants: const.Constants, kind: str, pose: Pose) -> Array:
    """Which pairs of one kind touch, [P, B]."""
    pairs: const.Pairs = getattr(constants, kind)
    return MANIFOLDS[kind](side(constants, pose, pairs.a), side(constants, pose, pairs.b)).active[0]
