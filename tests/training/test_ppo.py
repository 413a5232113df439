"""Advantages, the clipped objective and squashed densities against numbers worked out here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.policies import actor_critic
from rtc_bench.training import ppo


def test_gae_by_hand():
    reward, value = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[0.5], [1.0], [1.5]])
    done = jnp.array([[False], [True], [False]])
    last, gamma, decay = 4.0, 0.9, 0.8
    third = 3.0 + gamma * last - 1.5
    second = 2.0 - 1.0  # the episode ends: nothing flows back over it
    first = 1.0 + gamma * 1.0 - 0.5 + gamma * decay * second
    advantages = ppo.gae(reward, value, done, jnp.array([last]), gamma=gamma, decay=decay)
    np.testing.assert_allclose(advantages[:, 0], [first, second, third], rtol=1e-6)


def test_the_objective_is_clipped_on_the_greedy_side_only():
    up, down = jnp.array([1.0]), jnp.array([-1.0])
    assert float(ppo.policy_loss(jnp.array([1.5]), up, clip=0.2)) == pytest.approx(-1.2)
    assert float(ppo.policy_loss(jnp.array([0.5]), up, clip=0.2)) == pytest.approx(-0.5)
    assert float(ppo.policy_loss(jnp.array([0.5]), down, clip=0.2)) == pytest.approx(0.8)
    assert float(ppo.policy_loss(jnp.array([1.5]), down, clip=0.2)) == pytest.approx(1.5)


def test_shaping_pays_the_first_distance_whichever_way_is_taken():
    gamma = 0.9
    for way in ([3.0, 1.0, 0.5], [3.0, 4.0, 3.5, 2.0]):
        *rest, last = way
        before, after = jnp.array(way), jnp.array([*rest[1:], last, 2.5])  # touching with the centres 2.5 m apart
        solved = jnp.array([False] * len(rest) + [True])
        paid = ppo.shaping(before, after, solved, gamma=gamma)
        assert float((paid * gamma ** jnp.arange(len(way), dtype=float)).sum()) == pytest.approx(3.0)
    # Waiting for ever, 3 m away, is paid no more.
    assert float(ppo.shaping(*jnp.array([[3.0], [3.0], [0.0]]), gamma=gamma)[0]) / (1 - gamma) == pytest.approx(3.0)


def test_actions_are_squashed_into_bounds(lenient):
    raw = jnp.array([[-9.0, 9.0, -9.0, 9.0, 0.0]])
    np.testing.assert_allclose(actor_critic.squash(raw, 2), [[-1.0, 1.0, 0.0, 1.0, 0.5]], atol=1e-3)


def test_the_mean_stays_within_its_limit(lenient):
    network = actor_critic.ActorCritic(2, width=4)
    params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    params = jax.tree.map(lambda leaf: leaf + 100.0, params)
    mean, value = network.apply(params, jnp.ones((5, 3)))
    assert float(jnp.abs(mean).max()) == actor_critic.MEAN_LIMIT
    assert mean.shape == (5, 2)
    assert value.shape == (5,)


def test_the_perturbation_moves_the_mean_only_in_the_update(lenient):
    mean, value = jnp.zeros((4000, 1)), jnp.zeros(4000)
    raw = jnp.zeros((4000, 1))
    log_prob = actor_critic.gaussian(mean, 1.0).log_prob(raw)
    batch = ppo.Transition(None, raw, log_prob, value, value, value)
    rest = {"clip": 10.0, "value_coefficient": 0.0, "std": 1.0, "key": jax.random.key(0)}
    advantage = jnp.tile(jnp.array([1.0, -1.0]), 2000)
    still = ppo.loss((mean, value), batch, advantage, value, perturbation=0.0, **rest)
    assert float(still) == pytest.approx(0.0, abs=1e-6)
    moved = ppo.loss((mean, value), batch, advantage, value, perturbation=0.3, **rest)
    assert abs(float(moved)) > 1e-5
