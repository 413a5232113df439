"""The specialised stepper against the stock engine: single control steps from many visited states (see ``envs.equivalence``)."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench import envs
from rtc_bench.envs import equivalence, kinetix_engine, kinetix_levels, task_env, tasks
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import contact_slots, slot_solver
from rtc_bench.envs.physics import engine as fast_engine
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import naive

BATCH = 32
LONGER = {"trampoline": 120}  # control steps until what bounces has fallen
POLICIES = checkpoint.zoo_files()
at_random = equivalence.random_actions(BATCH)


def by_policy(name: str):
    """What the shipped policy does, under actuation noise."""
    env = envs.make(name, engine="kinetix")
    policy, _ = checkpoint.load_flow(POLICIES[name], **env.signature)

    @jax.jit
    def choose(key, sim):
        obs = env.observe(task_env.State(sim, jnp.zeros(BATCH, jnp.int32)))
        noise = jax.random.normal(key, (BATCH, policy.config.horizon + 1, env.action_size))
        action = naive.Naive().sample(policy, obs, noise[:, 1:])[:, 0] + 0.1 * noise[:, 0]
        return env._wire(jnp.clip(action, env.action_low[None], env.action_high[None]))

    return lambda time, sim: choose(jax.random.key(time), sim)


@pytest.fixture(scope="module")
def visited(stock_step):
    """name -> the stock engine, and states that it visits under random actions and under the shipped policy."""

    @functools.cache
    def visit(name: str):
        stock = kinetix_engine.KinetixEngine(tasks.scene(name))
        visits = [equivalence.visit(stock, stock_step, at_random, batch=BATCH, steps=LONGER.get(name, 40))]
        if name in POLICIES:
            visits.append(equivalence.visit(stock, stock_step, by_policy(name), batch=BATCH, steps=120))
        return stock, equivalence.concatenate(visits)

    return visit


@pytest.mark.parametrize("name", envs.TASKS)
def test_one_control_step_equals_the_stock_engine(name, visited, stock_step):
    stock, visited_states = visited(name)
    errors = equivalence.step_errors(fast_engine.FastEngine(stock.scene), stock, visited_states)
    assert errors.out_of_tolerance().mean() <= 0.001, (np.sort(errors.position)[-5:], np.sort(errors.angle)[-5:])
    # What is left must be states where the stock engine itself jumps when they change in the last place.
    assert equivalence.count_unexplained(stock, stock_step, visited_states, errors, batch=BATCH) == 0


def test_the_visited_states_are_of_all_kinds(visited):
    """In the air and on the ground, within joint limits and beyond them, before and after the goal."""
    air = ground = beyond = within = solved = 0
    for name in envs.TASKS:
        stock, visited_states = visited(name)
        engine = fast_engine.FastEngine(stock.scene)
        sim = equivalence.to_sim(engine.constants, stock, visited_states.before)
        pushes = sum(np.asarray(jnp.abs(kind.normal)).sum((0, 1)) for kind in sim[1:4])
        air, ground = air + (pushes == 0).sum(), ground + (pushes > 0).sum()
        for joint in engine.constants.joints:
            if joint.limits and max(joint.a, joint.b) < engine.constants.bodies.moving:
                off_rest = np.asarray(sim.motion.angle[joint.b] - sim.motion.angle[joint.a] - joint.rotation)
                outside = (off_rest < joint.limits[0]) | (off_rest > joint.limits[1])
                beyond, within = beyond + outside.sum(), within + (~outside).sum()
        solved += int(visited_states.solved.sum())
    assert min(air, ground, beyond, within, solved) > 100


def packaged(level: str, change=None):
    """A level file that is not among the tasks, perhaps changed, as a scene."""
    content = json.loads((kinetix_levels.folder() / f"{level}.json").read_text())
    if change:
        change(content["env_state"])
    return kinetix_levels.from_json(content, name=level)


def in_motion(state: dict) -> None:
    for item in state["polygon"]:
        if item["active"] and item["inverse_mass"]:
            item["velocity"], item["angular_velocity"] = {"0": 1.5, "1": 0.5}, 2.0


@pytest.mark.parametrize(("level", "change"), [("l/h6_lorry", None), ("m/h0_unicycle", in_motion)])
def test_other_levels_equal_the_stock_engine_too(level, change, stock_step):
    """Also smaller ones, and ones that start in motion."""
    stock = kinetix_engine.KinetixEngine(packaged(level, change))
    engine = fast_engine.FastEngine(stock.scene)
    for ours, theirs in zip(engine.bodies(engine.initial(1)), stock.bodies(stock.initial(1)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    errors = equivalence.step_errors(
        engine, stock, equivalence.visit(stock, stock_step, at_random, batch=BATCH, steps=40)
    )
    assert errors.out_of_tolerance().mean() <= 0.001


def test_a_state_carries_over_to_the_stock_engine_and_back():
    stock = kinetix_engine.KinetixEngine(tasks.scene("catapult"))  # quads and circles
    engine = fast_engine.FastEngine(stock.scene)
    shape = engine.initial(3).motion.x.shape
    bodies = tuple(np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32))
    back = equivalence.to_sim(engine.constants, stock, equivalence.to_stock(stock, bodies))
    np.testing.assert_array_equal(np.stack(back.motion), np.stack(bodies))


def test_a_triangle_is_refused_by_name_and_the_stock_engine_runs_it(stock_step):
    def cut(state: dict) -> None:
        state["polygon"][5]["n_vertices"] = 3

    scene = packaged("l/mjc_swimmer", cut)
    with pytest.raises(const.UnsupportedScene, match=r"level 'l/mjc_swimmer': polygon 5 has 3 corners.*engine=kinetix"):
        envs.make(scene)
    env = envs.make(scene, engine="kinetix", interface="kinetix")
    obs, state = env.reset(jax.random.key(0), BATCH)
    assert int(state.sim.polygon.n_vertices[5, 0]) == 3
    after = stock_step(state.sim, *at_random(0, None))[0]
    moved = np.abs(np.asarray(env.observe(state._replace(sim=after)) - obs))
    assert np.isfinite(moved).all()
    assert moved.max() > 1e-3


def bodies_with(**factors):
    """An alteration of a scene: a body's numbers, each times a factor."""

    def alter(scene):
        changed = [
            dataclasses.replace(body, **{name: getattr(body, name) * by for name, by in factors.items()})
            for body in scene.bodies
        ]
        return dataclasses.replace(scene, bodies=tuple(changed))

    return alter


def parts_with(part: str, **factors):
    """The same for a scene's joints or thrusters."""

    def alter(scene):
        changed = [
            dataclasses.replace(item, **{name: getattr(item, name) * by for name, by in factors.items()})
            for item in getattr(scene, part)
        ]
        return dataclasses.replace(scene, **{part: tuple(changed)})

    return alter


def one_mass(scene):
    first = scene.moving[0].slot
    bodies = [
        dataclasses.replace(body, inverse_mass=body.inverse_mass * 1.01) if body.slot == first else body
        for body in scene.bodies
    ]
    return dataclasses.replace(scene, bodies=tuple(bodies))


PLANTED = {
    "gravity": ("mjc_swimmer", lambda scene: dataclasses.replace(scene, gravity=scene.gravity * 1.01)),
    "friction": ("mjc_swimmer", bodies_with(friction=1.01)),
    "a mass": ("mjc_swimmer", one_mass),
    "inertia": ("mjc_swimmer", bodies_with(inverse_inertia=1.01)),
    "motor power": ("mjc_swimmer", parts_with("joints", motor_power=1.01)),
    "restitution": ("trampoline", bodies_with(restitution=0.99)),
    "thruster power": ("hard_lunar_lander", parts_with("thrusters", power=1.01)),
    "CONTACT_BIAS": ("mjc_swimmer", None),
    "JOINT_STIFFNESS": ("mjc_swimmer", None),
}


@pytest.mark.parametrize("constant", PLANTED)
def test_an_error_of_one_percent_is_seen(constant, visited, monkeypatch):
    name, alter = PLANTED[constant]
    stock, visited_states = visited(name)
    if alter is None:
        monkeypatch.setattr(const, constant, getattr(const, constant) * 1.01)
    scene = alter(stock.scene) if alter else stock.scene
    errors = equivalence.step_errors(fast_engine.FastEngine(scene), stock, visited_states)
    assert errors.out_of_tolerance().mean() > 0.001


def test_contacts_that_find_no_slot_make_the_full_solver_run(visited, monkeypatch):
    """With too few slots nearly every batch of states needs it, and it equals the stock engine as well."""
    stock, visited_states = visited("chain_lander")
    usual = slot_solver.usual_slots
    monkeypatch.setattr(slot_solver, "usual_slots", lambda constants, kind: min(1, usual(constants, kind)))
    engine = fast_engine.FastEngine(stock.scene)
    errors = equivalence.step_errors(engine, stock, visited_states)
    assert errors.out_of_tolerance().mean() <= 0.001
    monkeypatch.setattr(slot_solver, "all_slots", lambda constants, kind: 1)  # contacts are dropped
    assert equivalence.step_errors(engine, stock, visited_states).out_of_tolerance().mean() > 0.001


@pytest.mark.parametrize("cap", [1, 2, 4])
def test_pairs_are_dealt_as_kinetix_deals_them(cap):
    """The k-th of n active pairs of the full list sits at its length - n + k, and its batch is that modulo the batches."""
    constants = const.build(tasks.scene("catcher_v3"))
    pairs = constants.polygon_polygon
    listed = len(const.generic_list("polygon_polygon"))
    active = np.random.default_rng(0).random((len(pairs.a), 64)) < 0.15
    deal = contact_slots.assign(pairs, jnp.asarray(active), cap)
    assert (pairs.first_position == listed - 1).all()  # no static bodies that touch, which would count as well
    overflow = False
    for column in range(active.shape[1]):
        pair_counts: dict[int, int] = {}
        touching = list(np.flatnonzero(active[:, column]))
        expected = {}
        for pair in reversed(touching):
            batch = (listed - len(touching) + touching.index(pair)) % pairs.batches
            if pair in pairs.pushing:
                index_in_batch = pair_counts.get(batch, 0)
                pair_counts[batch] = index_in_batch + 1
                overflow |= index_in_batch >= cap
                if index_in_batch < cap:
                    expected[list(pairs.pushing).index(pair)] = batch * cap + index_in_batch
        slots = np.asarray(deal.slot[:, column])
        assert {i: int(slot) for i, slot in enumerate(slots) if slot < pairs.batches * cap} == expected
        assert set(np.flatnonzero(deal.filled[:, column])) == set(expected.values())
    assert bool(deal.overflow) == overflow


def test_static_bodies_that_overlap_count_in_every_contact_rank():
    scene = tasks.scene("mjc_half_cheetah")  # its goal box stands in the right wall
    pairs = const.build(scene).polygon_polygon
    listed = const.generic_list("polygon_polygon")
    static = {body.slot: body for body in scene.bodies if not body.moves}
    touching = [
        k for k, (a, b) in enumerate(listed) if {a, b} <= set(static) and const.statics_touch(static[a], static[b])
    ]
    assert touching
    assert pairs.first_position.min() == len(listed) - 1 - len(touching)


def test_an_episode_does_not_depend_on_its_batch():
    env = envs.make("chain_lander", noise_std=0.0)
    action = jax.random.uniform(jax.random.key(0), (7, env.action_size))
    step = jax.jit(env.step)
    _, state7 = env.reset(jax.random.key(0), 7)
    _, state2 = env.reset(jax.random.key(0), 2)
    for _ in range(30):
        obs7, state7, *_ = step(jax.random.key(0), state7, action)
        obs2, state2, *_ = step(jax.random.key(0), state2, action[3:5])
    np.testing.assert_allclose(obs7[3:5], obs2, atol=1e-3)
