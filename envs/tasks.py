"""The registry: twelve task names and the scene behind each."""

import dataclasses
import difflib
import functools
import importlib
import math
from collections.abc import Sequence

from rtc_bench.envs import kinetix_levels
from rtc_bench.envs import scene as scenes

TASKS = (
    "grasp_easy",
    "catapult",
    "cartpole_thrust",
    "hard_lunar_lander",
    "mjc_half_cheetah",
    "mjc_swimmer",
    "mjc_walker",
    "h17_unicycle",
    "chain_lander",
    "catcher_v3",
    "trampoline",
    "car_launch",
)
INTERFACES = ("compact", "kinetix")
ENGINES = ("fast", "kinetix")
OWN_SCENES = ("catapult", "catcher_v3", "trampoline", "car_launch")
# Metres and radians by which starts differ. From trampoline's one exact start the last digits decide where its block goes: a
# policy that solved 0.91 from there solved 0.44 a micrometre beside it, and 0.28 a millimetre.
START_STD = {"trampoline": 1e-3}


class UnknownTask(ValueError):
    """A task name that is not in TASKS."""


def check_name(name: str) -> str:
    """The name itself. Raises UnknownTask with the nearest names."""
    if name in TASKS:
        return name
    near = difflib.get_close_matches(str(name), TASKS, n=2, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    raise UnknownTask(f"unknown task {name!r}{hint} tasks: {', '.join(TASKS)}")


def resolve(names: str | Sequence[str]) -> tuple[str, ...]:
    """The tasks of a name, a list of names, or "all". Raises UnknownTask, also for an empty list."""
    if names == "all":
        return TASKS
    tasks = tuple(check_name(name) for name in ([names] if isinstance(names, str) else names))
    if not tasks:
        raise UnknownTask(f"no task is named; name some of {', '.join(TASKS)}, or all")
    return tasks


@functools.cache
def scene(name: str) -> scenes.Scene:
    """The scene of a task. Raises UnknownTask."""
    check_name(name)
    if name in OWN_SCENES:
        return importlib.import_module(f"rtc_bench.envs.scenes.{name}").scene()
    if name == "cartpole_thrust":
        level = kinetix_levels.packaged("l/hard_cartpole_thrust")
        return _moved(level, name, 8, (4.436287887179349, 1.7776370309706886))
    if name == "chain_lander":
        level = kinetix_levels.packaged("l/chain_lander")
        obstacle = {"rotation": math.pi / 2, "inverse_mass": 0.0, "inverse_inertia": 0.0}
        return _moved(level, name, 4, (3.1586158019714583, 0.9280125582376999), **obstacle)
    return kinetix_levels.packaged(f"l/{name}")


def _moved(level: scenes.Scene, name: str, slot: int, position: scenes.Point, **changes) -> scenes.Scene:
    bodies = tuple(
        dataclasses.replace(body, position=position, **changes) if body.slot == slot else body for body in level.bodies
    )
    return dataclasses.replace(level, name=name, bodies=bodies)
