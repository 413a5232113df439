"""What changes while a scene runs: the moving bodies and the impulses that warm-start the next solve."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from rtc_bench.envs.physics import constants as const


class Motion(NamedTuple):
    """Moving bodies, struct of arrays, batch last: each [M, B]."""

    x: Array  # m
    y: Array
    angle: Array  # rad
    vx: Array  # m/s
    vy: Array
    w: Array  # rad/s


class Impulses(NamedTuple):
    """Accumulated impulses of one kind of pair: each [K, Q, B], K contact points a pair."""

    normal: Array
    tangent: Array


class Sim(NamedTuple):
    """The whole simulator state; every leaf has the batch as its last axis."""

    motion: Motion
    polygon_polygon: Impulses  # K = 2
    circle_polygon: Impulses  # K = 1
    circle_circle: Impulses  # K = 1
    joint_x: Array  # [J, B] N s
    joint_y: Array
    joint_turn: Array  # [J, B] N m s, welds only


def initial(constants: const.Constants, batch: int) -> Sim:
    """The scene as it starts, ``batch`` times."""
    bodies, moving = constants.bodies, constants.bodies.moving

    def rows(column):
        return jnp.broadcast_to(jnp.asarray(column, jnp.float32)[:moving, None], (moving, batch))

    def impulses(pairs: const.Pairs, points: int) -> Impulses:
        shape = (points, len(pairs.pushing), batch)
        return Impulses(jnp.zeros(shape), jnp.zeros(shape))

    quiet = jnp.zeros((len(constants.joints), batch))
    columns = (*bodies.position.T, bodies.angle, *bodies.velocity.T, bodies.spin)
    return Sim(
        motion=Motion(*map(rows, columns)),
        polygon_polygon=impulses(constants.polygon_polygon, 2),
        circle_polygon=impulses(constants.circle_polygon, 1),
        circle_circle=impulses(constants.circle_circle, 1),
        joint_x=quiet,
        joint_y=quiet,
        joint_turn=quiet,
    )
