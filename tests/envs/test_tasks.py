"""The twelve scenes: names, and the published numbers."""

import dataclasses
import json

import numpy as np
import pytest

import envs
from envs import kinetix_levels, tasks

# name: moving bodies, joints, driven motor bindings, thruster bindings (the published task table)
TABLE = {
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


def test_names_and_order():
    assert tuple(TABLE) == envs.TASKS


@pytest.mark.parametrize("name", envs.TASKS)
def test_counts(name):
    scene = tasks.scene(name)
    counts = (len(scene.moving), len(scene.joints), len(scene.wired_motors), len(scene.wired_thrusters))
    assert counts == TABLE[name]


def same(ours, theirs, skip=()):
    for field in dataclasses.fields(ours):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if field.name in skip:
            continue
        if a is None or b is None:
            assert a is b, field.name
        else:
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-7, err_msg=f"{field.name} of {ours}")


@pytest.mark.parametrize("name", envs.TASKS)
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


def level() -> dict:
    path = kinetix_levels.importlib.util.find_spec("kinetix").submodule_search_locations[0]
    with open(f"{path}/levels/l/mjc_swimmer.json") as file:
        return json.load(file)


def test_triangles_are_refused_by_name():
    broken = level()
    broken["env_state"]["polygon"][5]["n_vertices"] = 3
    with pytest.raises(kinetix_levels.UnsupportedLevel, match="'x': polygon 5 has 3 corners"):
        kinetix_levels.from_json(broken, name="x")


def test_a_level_in_motion_is_refused():
    broken = level()
    broken["env_state"]["polygon"][5]["angular_velocity"] = 1.0
    with pytest.raises(kinetix_levels.UnsupportedLevel, match="body 5 starts in motion"):
        kinetix_levels.from_json(broken, name="x")
