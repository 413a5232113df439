"""What a policy sees: the compact observation and kinetix-env's flat symbolic one, both from the moving bodies alone."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs import scene as scenes

FEATURES = 7  # numbers per moving body in the compact observation
SHAPE_FEATURES = 26  # numbers per polygon in the symbolic observation; circles have 18
CIRCLE_FEATURES = 18
CLIP = 10.0

BodyStates = tuple[Array, Array, Array, Array, Array, Array]  # x, y, angle, vx, vy, w, each [M, B]


def _varying(bodies: BodyStates) -> dict[str, Array]:
    x, y, angle, vx, vy, w = bodies
    return {"x": x, "y": y, "vx": vx, "vy": vy, "w": jnp.tanh(w / 10), "sin": jnp.sin(angle), "cos": jnp.cos(angle)}


def compact(bodies: BodyStates) -> Array:
    """[B, 7 M]: for each moving body in slot order x, y (m), vx, vy (m/s), tanh(w / 10), sin and cos of its angle."""
    stacked = jnp.stack(list(_varying(bodies).values()), axis=1)  # [M, 7, B]
    return stacked.reshape(-1, stacked.shape[-1]).T


def own_of_compact(scene: scenes.Scene) -> np.ndarray:
    """[7 M] bool: the numbers of the compact observation that are of the robot itself, its bodies without a role."""
    return np.repeat(_is_robot(scene), FEATURES)


def _is_robot(scene: scenes.Scene) -> list[bool]:
    return [body.role == scenes.NO_ROLE for body in scene.moving]


def _one_hot(index: int, size: int) -> list[float]:
    return [float(i == index) for i in range(size)]


def _shape(body: scenes.Body | None) -> list[float]:
    if body is None:
        return []
    features = [*body.position, 0.0, 0.0, body.inverse_mass, body.inverse_inertia, body.density, 0.0]
    features += _one_hot(body.role, 4)
    features += [math.sin(body.rotation), math.cos(body.rotation), body.friction, body.restitution]
    if body.is_circle:
        return [*features, body.radius, 1.0]
    corners = body.vertices or ()
    return [*features, 0.0, *np.ravel(corners), *[0.0] * (8 - 2 * len(corners)), float(len(corners) == 3)]


def _joint(joint: scenes.Joint | None) -> list[float]:
    """Seen from b to a, as kinetix-env lists a joint's first direction."""
    slots = scenes.POLYGON_SLOTS + scenes.CIRCLE_SLOTS
    width = 8 + 4 + scenes.MOTOR_BINDINGS + 6 + 2 * slots
    if joint is None:
        return [0.0] * width
    base = [
        1.0,
        float(joint.fixed),
        *joint.b_anchor,
        *joint.a_anchor,
        math.sin(joint.rotation),
        math.cos(joint.rotation),
    ]
    low, high = joint.limits or (0.0, 0.0)
    limited = float(joint.limits is not None)
    motor = [joint.motor_speed, joint.motor_power, float(joint.motor_on), limited]
    motor += _one_hot(joint.binding, scenes.MOTOR_BINDINGS)
    motor += [f(bound) * limited for bound in (low, high) for f in (math.sin, math.cos)]
    motor += [(bound - joint.rotation) * limited for bound in (low, high)]
    motor = [value * (not joint.fixed) for value in motor]
    return base + motor + _one_hot(joint.b, slots) + _one_hot(joint.a, slots)


def _thruster(thruster: scenes.Thruster | None) -> list[float]:
    slots = scenes.POLYGON_SLOTS + scenes.CIRCLE_SLOTS
    if thruster is None:
        return [0.0] * (3 + scenes.THRUSTER_BINDINGS + 3 + slots)
    head = [1.0, *thruster.anchor, *_one_hot(thruster.binding, scenes.THRUSTER_BINDINGS)]
    turn = [math.sin(thruster.rotation), math.cos(thruster.rotation), thruster.power]
    return head + turn + _one_hot(thruster.body, slots)


def _padded(items: tuple, size: int) -> list:
    return [*items, *[None] * (size - len(items))]


class Symbolic:
    """kinetix-env's 679-number flat symbolic observation of one scene: a constant template with a few entries filled in."""

    def __init__(self, scene: scenes.Scene):
        by_slot = {body.slot: body for body in scene.bodies}
        polygon_slots = [0, *range(scenes.WALL_SLOTS, scenes.POLYGON_SLOTS)]  # walls and ceiling are left out
        circles = range(scenes.POLYGON_SLOTS, scenes.POLYGON_SLOTS + scenes.CIRCLE_SLOTS)
        starts: dict[int, int] = {}
        values: list[float] = []
        for slot in (*polygon_slots, *circles):
            starts[slot] = len(values)
            width = CIRCLE_FEATURES if slot in circles else SHAPE_FEATURES
            values += (_shape(by_slot.get(slot)) + [0.0] * width)[:width]
        for joint in _padded(scene.joints, scenes.JOINT_SLOTS):
            values += _joint(joint)
        for thruster in _padded(scene.thrusters, scenes.THRUSTER_SLOTS):
            values += _thruster(thruster)
        values.append(scene.gravity / 10)
        self.template = np.array(values, np.float32)
        offsets = {"x": 0, "y": 1, "vx": 2, "vy": 3, "w": 7, "sin": 12, "cos": 13}
        self.indices = {
            name: np.array([starts[body.slot] + offset for body in scene.moving]) for name, offset in offsets.items()
        }

        self.own = np.zeros(self.size, bool)  # the numbers that are of the robot itself, its bodies without a role
        for indices in self.indices.values():
            self.own[indices[_is_robot(scene)]] = True

    @property
    def size(self) -> int:
        """679 for the levels' size."""
        return len(self.template)

    def __call__(self, bodies: BodyStates) -> Array:
        """[B, 679]"""
        batch = bodies[0].shape[-1]
        observation = jnp.broadcast_to(jnp.asarray(self.template)[:, None], (self.size, batch))
        for name, value in _varying(bodies).items():
            observation = observation.at[self.indices[name]].set(value)
        return jnp.nan_to_num(jnp.clip(observation, -CLIP, CLIP)).T
