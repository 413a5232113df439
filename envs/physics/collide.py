"""Narrow-phase collision: contact manifolds for every kept pair. All arrays are [..., P, B], batch last."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from envs.physics import constants as const
from envs.physics import state as states

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


def rows(array: Array, index: np.ndarray) -> Array:
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


def corners(constants: const.Constants, where: Pose) -> tuple[Array, Array]:
    """World vertices of all bodies: x and y, each [4, R, B]."""
    local = constants.bodies.vertices.transpose(1, 2, 0)[..., None]  # [4, 2, R, 1]
    cos, sin = where.cos[None], where.sin[None]
    x = cos * local[:, 0] - sin * local[:, 1] + where.x[None]
    y = sin * local[:, 0] + cos * local[:, 1] + where.y[None]
    return x, y


class _Side(NamedTuple):
    """One body of each pair: pose [P, B], vertices [4, P, B] and constants [4, P, 1]."""

    where: Pose
    x: Array
    y: Array
    local: np.ndarray  # [4, 2, P, 1]
    normals: np.ndarray  # [4, 2, P, 1]


class _Axis(NamedTuple):
    """The face of one body along which the other is separated most."""

    separation: Array  # [P, B]
    start: tuple[Array, Array]  # the face's two ends, world
    end: tuple[Array, Array]
    normal: tuple[Array, Array]  # world
    first: tuple[Array, Array]  # the other body's two deepest vertices, world
    second: tuple[Array, Array]


def _side(constants: const.Constants, where: Pose, vertices: tuple[Array, Array], index: np.ndarray) -> _Side:
    bodies = constants.bodies
    return _Side(
        Pose(*(rows(part, index) for part in where)),
        jnp.stack([rows(corner, index) for corner in vertices[0]]),
        jnp.stack([rows(corner, index) for corner in vertices[1]]),
        bodies.vertices[index].transpose(1, 2, 0)[..., None],
        bodies.normals[index].transpose(1, 2, 0)[..., None],
    )


def _pick(chosen: list[Array], options) -> Array:
    """options[i] where chosen[i], later ones first; exactly one is meant to hold."""
    result = jnp.broadcast_to(options[0], chosen[0].shape)
    for flag, option in zip(chosen[1:], options[1:], strict=True):
        result = jnp.where(flag, option, result)
    return result


def _least_penetration(of: _Side, other: _Side) -> _Axis:
    origin_x, origin_y, cos, sin = (part[None] for part in of.where)
    dx, dy = other.x - origin_x, other.y - origin_y
    x, y = cos * dx + sin * dy, cos * dy - sin * dx  # the other's vertices in this body's frame, [4, P, B]
    along = [of.normals[i, 0][None] * x + of.normals[i, 1][None] * y for i in range(4)]  # each [4, P, B]
    reach = (of.normals[:, None, 0] * of.local[None, :, 0] + of.normals[:, None, 1] * of.local[None, :, 1]).max(1)
    separations = [values.min(0) - reach[i] for i, values in enumerate(along)]
    best, chosen = separations[0], [jnp.ones(separations[0].shape, bool)]
    for separation in separations[1:]:
        higher = separation > best
        best = jnp.where(higher, separation, best)
        chosen = [flag & ~higher for flag in chosen] + [higher]
    first, second = _two_lowest([_pick(chosen, [values[corner] for values in along]) for corner in range(4)])
    face = range(4)
    return _Axis(
        best,
        (_pick(chosen, [of.x[i] for i in face]), _pick(chosen, [of.y[i] for i in face])),
        (_pick(chosen, [of.x[(i + 1) % 4] for i in face]), _pick(chosen, [of.y[(i + 1) % 4] for i in face])),
        (_pick(chosen, of.normals[:, 0]), _pick(chosen, of.normals[:, 1])),
        (_pick(first, other.x), _pick(first, other.y)),
        (_pick(second, other.x), _pick(second, other.y)),
    )


def _two_lowest(values: list[Array]) -> tuple[list[Array], list[Array]]:
    """Flags of the lowest and the second lowest of four values; the earlier wins a tie (a stable sort's order)."""

    def rank(i: int) -> Array:
        before = [(values[j] <= values[i]) if j < i else (values[j] < values[i]) for j in range(4) if j != i]
        return jnp.stack(before).sum(0)

    ranks = [rank(i) for i in range(4)]
    return [r == 0 for r in ranks], [r == 1 for r in ranks]


def polygon_polygon(constants: const.Constants, where: Pose) -> Manifold:
    """Manifolds of quad pairs: up to two contact points, the deeper first."""
    pairs = constants.polygon_polygon
    vertices = corners(constants, where)
    a, b = _side(constants, where, vertices, pairs.a), _side(constants, where, vertices, pairs.b)
    of_a, of_b = _least_penetration(a, b), _least_penetration(b, a)
    use_b = of_a.separation + REFERENCE_BIAS < of_b.separation
    separation = jnp.maximum(of_a.separation, of_b.separation)

    def choose(read):
        return tuple(jnp.where(use_b, from_b, from_a) for from_a, from_b in zip(read(of_a), read(of_b), strict=True))

    (start_x, start_y), (end_x, end_y) = choose(lambda axis: axis.start), choose(lambda axis: axis.end)
    turned = [
        (side.where.cos * n[0] - side.where.sin * n[1], side.where.sin * n[0] + side.where.cos * n[1])
        for side, n in ((a, of_a.normal), (b, of_b.normal))
    ]
    normal_x, normal_y = (jnp.where(use_b, -turned[1][k], turned[0][k]) for k in range(2))

    # The frame in which the reference face runs from (0, 0) to (0, length). The angle is taken and undone literally:
    # the algebraic shortcut rounds differently and flips which of two level points counts as the deeper one.
    edge_x, edge_y = start_x - end_x, start_y - end_y
    angle = math.pi + jnp.arctan2(edge_x, edge_y)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    length = jnp.sqrt(edge_x * edge_x + edge_y * edge_y)

    def clipped(point: tuple[Array, Array]) -> tuple[Array, Array]:
        dx, dy = point[0] - start_x, point[1] - start_y
        return cos * dx - sin * dy, jnp.clip(sin * dx + cos * dy, 0.0, length)

    first, second = clipped(choose(lambda axis: axis.first)), clipped(choose(lambda axis: axis.second))
    swap = second[0] > first[0]
    points = [tuple(jnp.where(flag, q, p) for p, q in zip(first, second, strict=True)) for flag in (swap, ~swap)]
    active = separation < 0
    return Manifold(
        active=jnp.stack([active, active & (jnp.minimum(first[0], second[0]) > 0)]),
        normal_x=normal_x,
        normal_y=normal_y,
        penetration=-separation,
        x=jnp.stack([cos * u + sin * v + start_x for u, v in points]),
        y=jnp.stack([cos * v - sin * u + start_y for u, v in points]),
    )


def _unless_zero(value: Array) -> Array:
    return jnp.where(value == 0, 1.0, value)


def circle_polygon(constants: const.Constants, where: Pose) -> Manifold:
    """Manifolds of circle (a) and quad (b) pairs: one contact point, on the quad's outline."""
    pairs, bodies = constants.circle_polygon, constants.bodies
    circle, quad = (Pose(*(rows(part, index) for part in where)) for index in (pairs.a, pairs.b))
    dx, dy = circle.x - quad.x, circle.y - quad.y
    x, y = quad.cos * dx + quad.sin * dy, quad.cos * dy - quad.sin * dx  # circle centre in the quad's frame
    local = bodies.vertices[pairs.b].transpose(1, 2, 0)[..., None]  # [4, 2, P, 1]
    following = np.roll(local, -1, axis=0)
    edge = following - local
    length = np.sqrt((edge**2).sum(1, keepdims=True, dtype=np.float32))
    unit = edge / np.where(length == 0, 1, length)
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
    radius = bodies.radius[pairs.a][:, None]
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


def circle_circle(constants: const.Constants, where: Pose) -> Manifold:
    """Manifolds of circle pairs: one contact point, on a's outline."""
    pairs, bodies = constants.circle_circle, constants.bodies
    a, b = (Pose(*(rows(part, index) for part in where)) for index in (pairs.a, pairs.b))
    dx, dy = b.x - a.x, b.y - a.y
    distance = jnp.sqrt(dx * dx + dy * dy)
    reach = (bodies.radius[pairs.a] + bodies.radius[pairs.b])[:, None]
    normal_x, normal_y = dx / _unless_zero(distance), dy / _unless_zero(distance)
    radius = bodies.radius[pairs.a][:, None]
    return Manifold(
        active=(distance < reach)[None],
        normal_x=normal_x,
        normal_y=normal_y,
        penetration=reach - distance,
        x=(a.x + normal_x * radius)[None],
        y=(a.y + normal_y * radius)[None],
    )
