"""Kinetix level files -> scenes, read as plain JSON (importing kinetix takes seconds)."""

import importlib.util
import json
import pathlib
from collections.abc import Callable

from rtc_bench.envs import scene as scenes


class UnsupportedLevel(ValueError):
    """A level that the scene description cannot hold."""


def packaged(level: str) -> scenes.Scene:
    """The level file ``level`` (such as "l/mjc_walker") that ships with kinetix-env, as it is."""
    return load(folder() / f"{level}.json")


def folder() -> pathlib.Path:
    """Where kinetix-env keeps its level files. Raises ModuleNotFoundError without kinetix-env."""
    spec = importlib.util.find_spec("kinetix")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the level files come with kinetix-env; install it with `pip install kinetix-env`")
    return pathlib.Path(spec.submodule_search_locations[0]) / "levels"


def load(path: pathlib.Path | str) -> scenes.Scene:
    """A level file as a scene named like the file. Raises UnsupportedLevel."""
    path = pathlib.Path(path)
    return from_json(json.loads(path.read_text()), name=path.stem)


def from_json(level: dict, *, name: str) -> scenes.Scene:
    """A decoded level as a scene. Smaller levels are put into the slots of the size 'l', as kinetix-env expands them."""
    state, sizes = level["env_state"], level["static_env_params"]
    for part, most in (
        ("polygon", scenes.POLYGON_SLOTS),
        ("circle", scenes.CIRCLE_SLOTS),
        ("joint", scenes.JOINT_SLOTS),
    ):
        if sizes[f"num_{part}s"] > most:
            raise UnsupportedLevel(f"level {name!r} has {sizes[f'num_{part}s']} {part} slots; scenes have {most}")
    shift = scenes.POLYGON_SLOTS - sizes["num_polygons"]  # circles are numbered after the polygons

    def slot(index: int) -> int:
        return index + shift * (index >= sizes["num_polygons"])

    shapes = enumerate(state["polygon"] + state["circle"])
    return scenes.Scene(
        name=name,
        bodies=tuple(_body(name, slot(index), item) for index, item in shapes if item["active"]),
        joints=tuple(_joint(item, slot) for item in state["joint"] if item["active"]),
        thrusters=tuple(_thruster(item, slot) for item in state["thruster"] if item["active"]),
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
        velocity=_point(item["velocity"]),
        spin=item["angular_velocity"],
    )


def _joint(item: dict, slot: Callable[[int], int]) -> scenes.Joint:
    return scenes.Joint(
        a=slot(item["a_index"]),
        b=slot(item["b_index"]),
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


def _thruster(item: dict, slot: Callable[[int], int]) -> scenes.Thruster:
    return scenes.Thruster(
        body=slot(item["object_index"]),
        anchor=_point(item["relative_position"]),
        rotation=item["rotation"],
        power=item["power"],
        binding=item["thruster_binding"],
    )
