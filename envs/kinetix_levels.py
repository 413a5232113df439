"""Kinetix level files -> scenes, read as plain JSON (importing kinetix takes seconds)."""

import importlib.util
import json
import pathlib

from envs import scene as scenes


class UnsupportedLevel(ValueError):
    """A level that the scene description cannot hold."""


def packaged(level: str) -> scenes.Scene:
    """The level file ``level`` (such as "l/mjc_walker") that ships with kinetix-env, as it is."""
    spec = importlib.util.find_spec("kinetix")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the level files come with kinetix-env; install it with `pip install kinetix-env`")
    return load(pathlib.Path(spec.submodule_search_locations[0]) / "levels" / f"{level}.json")


def load(path: pathlib.Path | str) -> scenes.Scene:
    """A level file as a scene named like the file. Raises UnsupportedLevel, as for levels of another size."""
    path = pathlib.Path(path)
    return from_json(json.loads(path.read_text()), name=path.stem)


def from_json(level: dict, *, name: str) -> scenes.Scene:
    """A decoded level as a scene."""
    state, sizes = level["env_state"], level["static_env_params"]
    if (sizes["num_polygons"], sizes["num_circles"]) != (scenes.POLYGON_SLOTS, scenes.CIRCLE_SLOTS):
        raise UnsupportedLevel(f"level {name!r} has another size than 'l' (12 polygons, 4 circles); use an 'l' level")
    bodies = [_body(name, slot, item) for slot, item in enumerate(state["polygon"] + state["circle"]) if item["active"]]
    return scenes.Scene(
        name=name,
        bodies=tuple(bodies),
        joints=tuple(_joint(item) for item in state["joint"] if item["active"]),
        thrusters=tuple(_thruster(item) for item in state["thruster"] if item["active"]),
        gravity=state["gravity"]["1"],
    )


def _point(item: dict) -> scenes.Point:
    return item["0"], item["1"]


def _body(name: str, slot: int, item: dict) -> scenes.Body:
    circle = slot >= scenes.POLYGON_SLOTS
    if not circle and item["n_vertices"] not in (3, 4):
        raise UnsupportedLevel(
            f"level {name!r}: polygon {slot} has {item['n_vertices']} corners; scenes know triangles, quads and circles"
        )
    if _point(item["velocity"]) != (0.0, 0.0) or item["angular_velocity"] != 0.0:
        raise UnsupportedLevel(f"level {name!r}: body {slot} starts in motion; scenes start at rest")
    return scenes.Body(
        slot=slot,
        position=_point(item["position"]),
        rotation=item["rotation"],
        vertices=None if circle else tuple(_point(item["vertices"][str(i)]) for i in range(item["n_vertices"])),
        radius=item["radius"] if circle else 0.0,
        inverse_mass=item["inverse_mass"],
        inverse_inertia=item["inverse_inertia"],
        friction=item["friction"],
        restitution=item["restitution"],
        collision_mode=item["collision_mode"],
        role=item["role"],
        density=item["density"],
    )


def _joint(item: dict) -> scenes.Joint:
    return scenes.Joint(
        a=item["a_index"],
        b=item["b_index"],
        a_anchor=_point(item["a_relative_pos"]),
        b_anchor=_point(item["b_relative_pos"]),
        fixed=item["is_fixed_joint"],
        rotation=item["rotation"],
        motor_on=item["motor_on"],
        motor_speed=item["motor_speed"],
        motor_power=item["motor_power"],
        limits=(item["min_rotation"], item["max_rotation"]) if item["motor_has_joint_limits"] else None,
        binding=item["motor_binding"],
    )


def _thruster(item: dict) -> scenes.Thruster:
    return scenes.Thruster(
        body=item["object_index"],
        anchor=_point(item["relative_position"]),
        rotation=item["rotation"],
        power=item["power"],
        binding=item["thruster_binding"],
    )
