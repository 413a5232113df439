"""The twelve scenes: names, and the published numbers."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from rtc_bench import envs
from rtc_bench.envs import kinetix_levels, tasks
from rtc_bench.envs.physics import constants as const

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
# name: moving bodies, joints, driven motor bindings, thruster bindings (the published task table)
PUBLISHED = {
    "grasp_easy": (7, 6, 4, 0),
    "catapult": (5, 1, 1, 0),
    "cartpole_thrust": (2, 1, 0, 2),
    "hard_lunar_lander": (3, 2, 0, 2),
    "mjc_half_cheetah": (7, 6, 4, 0),
    "mjc_swimmer": (3, 2, 2, 0),
    "mjc_walker": (7, 6, 4, 0),
    "h17_unicycle": (3, 2, 1, 0),
    "chain_lander": (6, 4, 0, 2),
    "catcher_v3": (6, 3, 2, 2),
    "trampoline": (4, 2, 1, 0),
    "car_launch": (5, 3, 2, 0),
}


def test_the_published_tasks_come_first_and_in_their_order():
    assert tuple(PUBLISHED) == envs.TASKS[: len(PUBLISHED)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts(name):
    scene = tasks.scene(name)
    counts = (len(scene.moving), len(scene.joints), len(scene.wired_motors), len(scene.wired_thrusters))
    assert counts == PUBLISHED[name]


@pytest.mark.parametrize("name", envs.TASKS)
def test_the_readme_describes_the_task(name):
    scene = tasks.scene(name)
    (moving, action) = re.search(rf"^\| `{name}` \| (\d+) \| ([^|]+) \|", README, re.MULTILINE).groups()
    counts = {"motor": len(scene.wired_motors), "thruster": len(scene.wired_thrusters)}
    described = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count]
    assert (int(moving), action) == (len(scene.moving), ", ".join(described))


def same(ours, theirs, skip=()):
    for field in dataclasses.fields(ours):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name in skip:
            continue
        if a is None or b is None:
            assert a is b, field.name
        else:
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-7, err_msg=f"{field.name} of {ours}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_scene_equals_the_published_level(name, reference):
    ours, theirs = tasks.scene(name), kinetix_levels.load(reference / "levels" / f"{name}.json")
    assert len(ours.bodies) == len(theirs.bodies)
    for a, b in zip(ours.bodies, theirs.bodies, strict=True):
        same(a, b, skip=("vertices",) if a.slot == 1 else ())
    left = (ours.bodies[1], theirs.bodies[1])
    assert [body.slot for body in left] == [1, 1]
    reach = [max(x for x, _ in body.vertices) for body in left]
    assert reach[0] == 0.0  # the corrected wall; older levels have it 5 cm further left
    assert reach[1] in (0.0, pytest.approx(-0.05))
    for kind in ("joints", "thrusters"):
        for a, b in zip(getattr(ours, kind), getattr(theirs, kind), strict=True):
            same(a, b)


def test_an_unknown_task_is_told_its_neighbours():
    with pytest.raises(
        envs.UnknownTask, match=r"unknown task 'car_lunch'; did you mean 'car_launch'.*tasks: grasp_easy"
    ):
        envs.make("car_lunch")


LEVELS = kinetix_levels.folder()


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_every_packaged_level_is_a_scene(size):
    """Those with triangles are refused by the specialised engine, by name and with the way out."""
    built = 0
    for file in (LEVELS / size).glob("*.json"):
        scene = kinetix_levels.load(file)
        if any(body.vertices and len(body.vertices) == 3 for body in scene.bodies):
            with pytest.raises(const.UnsupportedScene, match=f"'{scene.name}'.*3 corners.*engine=kinetix"):
                const.build(scene)
        else:
            assert const.build(scene).bodies.moving == len(scene.moving)
            built += 1
    assert built > 5


def test_a_level_too_large_is_refused_by_name():
    level = json.loads((LEVELS / "l" / "mjc_swimmer.json").read_text())
    level["static_env_params"]["num_polygons"] = 20
    with pytest.raises(kinetix_levels.UnsupportedLevel, match="'x' has 20 polygon slots; scenes have 12"):
        kinetix_levels.from_json(level, name="x")
