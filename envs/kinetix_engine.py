"""The stock Kinetix engine behind FastEngine's protocol: the reference, and the way out for scenes the fast engine refuses.

Importing kinetix takes seconds, so it happens when an engine is made. Every leaf of its state has the batch last, too.
"""

import contextlib
import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs import kinetix_levels
from rtc_bench.envs import scene as scenes


@functools.cache
def _kinetix():
    """The package ``kinetix.environment``.

    Its imports reach for ``kinetix.data``, which reads data sets with grain and zarr. Not every platform has wheels of
    these, and nothing here uses them: an empty package stands in while ``kinetix.environment`` is imported.
    """
    stand_in = types.ModuleType("kinetix.data")
    stand_in.__path__ = [str(kinetix_levels.folder().parent / "data")]
    sys.modules.setdefault(stand_in.__name__, stand_in)
    try:
        from kinetix import environment
        from kinetix.environment import env, env_state, spaces, utils  # noqa: F401, attributes of environment from here on
    finally:
        if sys.modules[stand_in.__name__] is stand_in:
            del sys.modules[stand_in.__name__]
    return environment


@contextlib.contextmanager
def _lenient():
    """kinetix-env promotes types and ranks freely; a caller who forbids that to himself can still use it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@_lenient()
def to_kinetix(scene: scenes.Scene):
    """A scene as kinetix-env's (EnvState, StaticEnvParams, EnvParams)."""
    from jax2d import engine as jax2d

    env_state, utils = _kinetix().env_state, _kinetix().utils
    sizes = utils.static_env_params_from_size("l")
    state = utils.create_empty_env(sizes)
    quads = {body.slot: body for body in scene.bodies if not body.is_circle}
    discs = {body.slot - scenes.POLYGON_SLOTS: body for body in scene.bodies if body.is_circle}
    joint, thruster = _joints(scene, state.joint), _thrusters(scene, state.thruster)
    state = state.replace(
        polygon=_bodies(quads, state.polygon),
        circle=_bodies(discs, state.circle),
        joint=joint,
        thruster=thruster,
        gravity=jnp.array([0.0, scene.gravity]),
        collision_matrix=jax2d.calculate_collision_matrix(sizes, joint),
        polygon_shape_roles=_column(quads, scenes.POLYGON_SLOTS, "role", np.int32),
        circle_shape_roles=_column(discs, scenes.CIRCLE_SLOTS, "role", np.int32),
        polygon_densities=_column(quads, scenes.POLYGON_SLOTS, "density", np.float32, 1.0),
        circle_densities=_column(discs, scenes.CIRCLE_SLOTS, "density", np.float32, 1.0),
        motor_bindings=_padded([j.binding for j in scene.joints], scenes.JOINT_SLOTS, np.int32),
        thruster_bindings=_padded([t.binding for t in scene.thrusters], scenes.THRUSTER_SLOTS, np.int32),
    )
    return state, sizes, env_state.EnvParams(dense_reward_scale=0.0)


def _padded(values: list, size: int, dtype) -> Array:
    column = np.asarray(values, dtype)
    return jnp.asarray(np.concatenate([column, np.zeros((size - len(column), *column.shape[1:]), dtype)]))


def _column(bodies: dict[int, scenes.Body], size: int, field: str, dtype, default=0) -> Array:
    values = np.full(size, default, dtype)
    for index, body in bodies.items():
        values[index] = getattr(body, field)
    return jnp.asarray(values)


def _bodies(bodies: dict[int, scenes.Body], template):
    """Fill a jax2d RigidBody struct with the bodies given by index; the others are inactive."""
    columns = {name: np.array(getattr(template, name)) for name in template.__dataclass_fields__}
    columns["active"][:] = False
    for index, body in bodies.items():
        columns["active"][index] = True
        for name in ("position", "rotation", "inverse_mass", "inverse_inertia", "friction", "restitution"):
            columns[name][index] = getattr(body, name)
        columns["velocity"][index], columns["angular_velocity"][index] = body.velocity, body.spin
        columns["collision_mode"][index] = body.collision_mode
        columns["radius"][index] = body.radius
        if body.vertices is not None:
            columns["vertices"][index, : len(body.vertices)] = body.vertices
            columns["n_vertices"][index] = len(body.vertices)
    return template.replace(**{name: jnp.asarray(column) for name, column in columns.items()})


def _joints(scene: scenes.Scene, template):
    def column(read, dtype=np.float32) -> Array:
        return _padded([read(joint) for joint in scene.joints], scenes.JOINT_SLOTS, dtype)

    pairs = [joint.limits or (0.0, 0.0) for joint in scene.joints]
    if not scene.joints:
        return template
    return template.replace(
        a_index=column(lambda j: j.a, np.int32),
        b_index=column(lambda j: j.b, np.int32),
        a_relative_pos=column(lambda j: j.a_anchor),
        b_relative_pos=column(lambda j: j.b_anchor),
        active=column(lambda j: True, bool),
        motor_on=column(lambda j: j.motor_on, bool),
        motor_speed=column(lambda j: j.motor_speed),
        motor_power=column(lambda j: j.motor_power),
        motor_has_joint_limits=column(lambda j: j.limits is not None, bool),
        min_rotation=_padded([low for low, _ in pairs], scenes.JOINT_SLOTS, np.float32),
        max_rotation=_padded([high for _, high in pairs], scenes.JOINT_SLOTS, np.float32),
        is_fixed_joint=column(lambda j: j.fixed, bool),
        rotation=column(lambda j: j.rotation),
    )


def _thrusters(scene: scenes.Scene, template):
    if not scene.thrusters:
        return template

    def column(read, dtype=np.float32) -> Array:
        return _padded([read(thruster) for thruster in scene.thrusters], scenes.THRUSTER_SLOTS, dtype)

    return template.replace(
        object_index=column(lambda t: t.body, np.int32),
        relative_position=column(lambda t: t.anchor),
        rotation=column(lambda t: t.rotation),
        power=column(lambda t: t.power),
        active=column(lambda t: True, bool),
    )


@functools.cache
@_lenient()
def _stock_env():
    """kinetix-env's environment. All scenes share one: a scene is data to it, and listing its pairs takes seconds."""
    environment = _kinetix()
    env_state, spaces, utils = environment.env_state, environment.spaces, environment.utils
    kinds = (spaces.ActionType.CONTINUOUS, spaces.ObservationType.SYMBOLIC_FLAT)
    params = env_state.EnvParams(dense_reward_scale=0.0)
    return environment.env.make_kinetix_env(
        *kinds, None, params, utils.static_env_params_from_size("l"), auto_reset=False
    )


class KinetixEngine:
    """kinetix-env's own simulation of one scene, vmapped with the batch as the last axis."""

    def __init__(self, scene: scenes.Scene):
        self.scene = scene
        self.start, self.sizes, self.params = to_kinetix(scene)
        self.env = _stock_env()

    def initial(self, batch: int):
        """The scene as it starts, ``batch`` times."""
        # In NumPy: JAX would compile a program for every leaf's shape.
        return jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf)[..., None], batch, -1)), self.start)

    def step(self, sim, motors: Array, thrusters: Array):
        """One control step: sim, solved [B], failed [B], distance [B] (metres)."""
        utils = _kinetix().utils

        def once(sim, motors: Array, thrusters: Array):
            action = jnp.concatenate([motors, thrusters])
            action = utils.convert_continuous_actions(action, sim, self.sizes, self.params)
            _, sim, reward, _, info = self.env.engine_step(sim, action, self.params)
            return sim, reward > 0, reward < 0, info["distance"]

        axes = jax.tree.map(lambda _: -1, sim)
        with _lenient():
            return jax.vmap(once, in_axes=(axes, -1, -1), out_axes=(axes, -1, -1, -1))(sim, motors, thrusters)

    def displace(self, sim, by: Array):
        """The moving bodies' x, y and angle changed by ``by`` [3, M, B]."""
        parts = {"polygon": sim.polygon, "circle": sim.circle}
        for body, change in zip(self.scene.moving, by.swapaxes(0, 1), strict=True):
            kind, slot = ("circle", body.slot - scenes.POLYGON_SLOTS) if body.is_circle else ("polygon", body.slot)
            part = parts[kind]
            positions, angles = part.position.at[slot].add(change[:2]), part.rotation.at[slot].add(change[2])
            parts[kind] = part.replace(position=positions, rotation=angles)
        return sim.replace(**parts)

    def bodies(self, sim) -> tuple[Array, ...]:
        """x, y, angle, vx, vy, w of the moving bodies in slot order, each [M, B]."""
        quads = [body.slot for body in self.scene.moving if not body.is_circle]
        discs = [body.slot - scenes.POLYGON_SLOTS for body in self.scene.moving if body.is_circle]

        def rows(name: str, *axis: int) -> Array:
            parts = [(sim.polygon, quads), (sim.circle, discs)]
            chosen = [getattr(part, name)[np.array(index, int)] for part, index in parts]
            return jnp.concatenate([rows[:, axis[0]] if axis else rows for rows in chosen])

        velocity = (rows("velocity", 0), rows("velocity", 1), rows("angular_velocity"))
        return (rows("position", 0), rows("position", 1), rows("rotation"), *velocity)

    def distance(self, sim) -> Array:
        """Green to blue, metres, [B]."""

        def position(slot: int) -> Array:
            part, index = (
                (sim.polygon, slot) if slot < scenes.POLYGON_SLOTS else (sim.circle, slot - scenes.POLYGON_SLOTS)
            )
            return part.position[index]

        return sum(jnp.linalg.norm(position(a) - position(b), axis=0) for a, b in self.scene.goal_pairs)
