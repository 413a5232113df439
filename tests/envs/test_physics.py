"""The specialised stepper against the stock engine: single control steps from many visited states.

Whole trajectories prove nothing, because these scenes are chaotic. All twelve levels have one size, so that one
compilation of the stock step serves them all.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import envs
from envs import kinetix_engine, tasks
from envs.physics import constants as const
from envs.physics import engine as fast_engine

BATCH, STEPS, HOLD = 32, 40, 5


def actions(step: int) -> tuple[jnp.ndarray, jnp.ndarray]:
    rng = np.random.default_rng(step // HOLD)
    motors, thrusters = rng.uniform(-1.2, 1.2, (4, BATCH)), rng.uniform(-0.2, 1.2, (2, BATCH))
    return jnp.asarray(motors.clip(-1, 1), jnp.float32), jnp.asarray(thrusters.clip(0, 1), jnp.float32)


def differences(name: str, stock_step, fast: fast_engine.FastEngine, steps: int = STEPS):
    """Per visited state: largest error in position, angle and distance, and whether reward signs differ."""
    scene = tasks.scene(name)
    stock = kinetix_engine.KinetixEngine(scene)
    fast_step, sim, found = jax.jit(fast.step), stock.initial(BATCH), []
    for step in range(steps):
        start = oracle.to_sim(fast.constants, scene, stock, sim)
        ours, *decided = fast_step(start, *actions(step))
        sim, solved, failed, distance = stock_step(sim, *actions(step))
        truth = stock.bodies(sim)
        position = np.maximum(np.abs(ours.motion.x - truth[0]), np.abs(ours.motion.y - truth[1])).max(0)
        angle = np.abs(ours.motion.angle - truth[2]).max(0)
        reward = (np.asarray(decided[0]) != solved) | (np.asarray(decided[1]) != failed)
        found.append((position, angle, np.abs(decided[2] - distance), reward))
    return [np.concatenate(part) for part in zip(*found, strict=True)]


@pytest.mark.parametrize("name", envs.TASKS)
def test_one_control_step_equals_the_stock_engine(name, stock_step):
    position, angle, distance, reward = differences(name, stock_step, fast_engine.FastEngine(tasks.scene(name)))
    assert (position < 1e-5).mean() >= 0.999, np.sort(position)[-5:]
    assert (angle < 1e-4).mean() >= 0.999, np.sort(angle)[-5:]
    assert (distance < 1e-5).mean() >= 0.999
    assert not reward.any()


def altered(scene, **changes):
    bodies = [
        dataclasses.replace(body, **{k: getattr(body, k) * v for k, v in changes.items()}) for body in scene.bodies
    ]
    return dataclasses.replace(scene, bodies=tuple(bodies))


@pytest.mark.parametrize("change", [{"inverse_mass": 1.01}, {"friction": 1.01}, {"inverse_inertia": 1.01}])
def test_an_error_of_one_percent_is_seen(change, stock_step):
    engine = fast_engine.FastEngine(altered(tasks.scene("mjc_walker"), **change))
    position, angle, *_ = differences("mjc_walker", stock_step, engine, steps=20)
    assert max((position >= 1e-5).mean(), (angle >= 1e-4).mean()) > 0.001


def test_static_bodies_that_overlap_count_in_every_contact_rank():
    scene = tasks.scene("mjc_half_cheetah")  # its goal box stands in the right wall
    pairs = const.build(scene).polygon_polygon
    listed = const._generic_list("polygon_polygon")
    touching = [
        k
        for k, (a, b) in enumerate(listed)
        if {a, b} <= {body.slot for body in scene.bodies if not body.moves}
        and const.statics_touch(*(next(body for body in scene.bodies if body.slot == slot) for slot in (a, b)))
    ]
    assert touching
    assert pairs.first_position.min() == len(listed) - 1 - len(touching)


def test_an_episode_does_not_depend_on_its_batch():
    env = envs.make("chain_lander", noise_std=0.0)
    action = jax.random.uniform(jax.random.key(0), (7, env.action_size))
    step = jax.jit(env.step)
    _, many = env.reset(jax.random.key(0), 7)
    _, few = env.reset(jax.random.key(0), 2)
    for _ in range(30):
        many_obs, many, *_ = step(jax.random.key(0), many, action)
        few_obs, few, *_ = step(jax.random.key(0), few, action[3:5])
    np.testing.assert_allclose(many_obs[3:5], few_obs, atol=1e-3)
