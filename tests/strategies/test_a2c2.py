"""A2C2: the head's input and layers, what it is trained for, and the same head alone."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_strategies import OBS, A, B, H, acting, jittered, moments, policy

from rtc_bench.strategies import base
from rtc_bench.strategies.trained import a2c2

pytestmark = pytest.mark.usefixtures("exact")


def inputs():
    keys = jax.random.split(jax.random.key(8), 2)
    return jax.random.normal(keys[0], (B, OBS)), jax.random.normal(keys[1], (B, A))


def holding(strategy, weights, **changes):
    return dataclasses.replace(policy(), weights={strategy.training.name: weights}, **changes)


def test_phase():
    phases = a2c2.phase(jnp.arange(H), H)
    expected = [(math.cos(2 * math.pi * k / H), math.sin(2 * math.pi * k / H)) for k in range(H)]
    np.testing.assert_allclose(phases, expected, atol=1e-6)
    np.testing.assert_allclose(a2c2.phase(jnp.int32(1), 4), (0, 1), atol=1e-6)


def test_the_head_follows_its_layers():
    strategy, (obs, action), index = a2c2.A2c2(), inputs(), 3
    weights = jittered(strategy.initial_weights(policy(), jax.random.key(0)), 1)
    mean, std = jnp.arange(1.0, 1 + OBS), jnp.arange(2.0, 2 + OBS)
    corrected = strategy.correct(
        holding(strategy, weights, obs_mean=mean, obs_std=std), obs, action, jnp.int32(index), ()
    )

    place = np.broadcast_to([math.cos(2 * math.pi * index / H), math.sin(2 * math.pi * index / H)], (B, 2))
    x = np.concatenate([(obs - mean[None]) / std[None], action, place], 1).astype(np.float64)
    for name in ("first", "second"):
        layer = {key: np.float64(value) for key, value in weights[name].items()}
        x = x @ layer["kernel"] + layer["bias"]
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        x = np.maximum(x * layer["scale"] + layer["shift"], 0)
    expected = np.float64(action) + x @ np.float64(weights["last"]["kernel"]) + np.float64(weights["last"]["bias"])
    np.testing.assert_allclose(corrected, expected, atol=1e-3)


@pytest.mark.parametrize(("strategy", "share"), [(a2c2.A2c2(), 1), (a2c2.A2c2Alone(), 0)])
def test_at_first_the_head_adds_nothing(strategy, share):
    weights, (obs, action) = strategy.initial_weights(policy(), jax.random.key(0)), inputs()
    corrected = strategy.correct(holding(strategy, weights), obs, action, jnp.int32(2), ())
    np.testing.assert_array_equal(corrected, share * action)


@pytest.mark.parametrize("strategy", [a2c2.A2c2(), a2c2.A2c2Alone()])
def test_what_the_head_depends_on(strategy):
    (obs, action), prepared = inputs(), acting(strategy)
    correct = jax.jit(lambda obs, action, index: strategy.correct(prepared, obs, action, index, ()))
    answer = correct(obs, action, jnp.int32(2))
    assert np.abs(correct(obs + 1, action, jnp.int32(2)) - answer).max() > 1e-2
    later, moved = correct(obs, action, jnp.int32(3)), correct(obs, action + 1, jnp.int32(2))
    if strategy.sees_chunk:
        assert np.abs(later - answer).max() > 1e-2
        assert np.abs(moved - answer - 1).max() > 1e-2
    else:
        np.testing.assert_array_equal(later, answer)
        np.testing.assert_array_equal(moved, answer)


@pytest.mark.parametrize(("strategy", "share"), [(a2c2.A2c2(), 1), (a2c2.A2c2Alone(), 0)])
def test_all_actions_of_a_chunk_are_learned_up_to_the_episode_s_end(strategy, share):
    batch = moments(base.ROLLOUTS)
    weights = strategy.initial_weights(policy(), jax.random.key(0))
    weights["last"]["bias"] = jnp.array([0.5, -1.0])  # the kernel is 0: every action is corrected by this
    loss = strategy.loss(policy(), weights, batch, jax.random.key(1))
    error = share * batch.chunk + jnp.array([0.5, -1.0])[None, None] - batch.action[:, :H]
    np.testing.assert_allclose(loss, (np.asarray(error)[np.asarray(batch.inside)] ** 2).mean(), rtol=1e-5)


@pytest.mark.parametrize("strategy", [a2c2.A2c2(), a2c2.A2c2Alone()])
def test_what_stands_past_an_episode_s_end_teaches_nothing(strategy):
    batch = moments(base.ROLLOUTS)
    inside = batch.inside[..., None]
    action = jnp.where(jnp.pad(inside, ((0, 0), (0, H), (0, 0))), batch.action, 0.0)
    other = batch._replace(obs=jnp.where(inside, batch.obs, 7.0), action=action)
    weights = jittered(strategy.initial_weights(policy(), jax.random.key(0)), 1)
    learn = jax.jit(jax.value_and_grad(lambda weights, batch: strategy.loss(policy(), weights, batch, None)))
    jax.tree.map(np.testing.assert_array_equal, learn(weights, batch), learn(weights, other))


def test_a_chunk_s_actions_are_corrected_in_training_as_they_are_in_execution():
    strategy, batch = a2c2.A2c2(), moments(base.ROLLOUTS, count=B)
    weights = acting(strategy).weights["a2c2"]
    corrected = [
        strategy.correct(acting(strategy), batch.obs[:, k], batch.chunk[:, k], jnp.int32(k), ()) for k in range(H)
    ]
    error = jnp.stack(corrected, 1) - batch.action[:, :H]
    expected = (np.asarray(error)[np.asarray(batch.inside)] ** 2).mean()
    np.testing.assert_allclose(strategy.loss(policy(), weights, batch, jax.random.key(1)), expected, rtol=1e-4)
