"""Advantages, the clipped objective and squashed densities against numbers worked out here."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from policies import actor_critic
from rtc_bench import ppo


def test_gae_by_hand():
    reward, value = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[0.5], [1.0], [1.5]])
    done = jnp.array([[False], [True], [False]])
    last, gamma, decay = 4.0, 0.9, 0.8
    third = 3.0 + gamma * last - 1.5
    second = 2.0 - 1.0  # the episode ends: nothing flows back over it
    first = 1.0 + gamma * 1.0 - 0.5 + gamma * decay * second
    found = ppo.gae(reward, value, done, jnp.array([last]), gamma=gamma, decay=decay)
    np.testing.assert_allclose(found[:, 0], [first, second, third], rtol=1e-6)


def test_the_objective_is_clipped_on_the_greedy_side_only():
    up, down = jnp.array([1.0]), jnp.array([-1.0])
    assert float(ppo.policy_loss(jnp.array([1.5]), up, clip=0.2)) == pytest.approx(-1.2)
    assert float(ppo.policy_loss(jnp.array([0.5]), up, clip=0.2)) == pytest.approx(-0.5)
    assert float(ppo.policy_loss(jnp.array([0.5]), down, clip=0.2)) == pytest.approx(0.8)
    assert float(ppo.policy_loss(jnp.array([1.5]), down, clip=0.2)) == pytest.approx(1.5)


def test_squashed_density_integrates_to_one(lenient):
    """Numerically, over the squashed action: motors in [-1, 1], thrusters in [0, 1]."""
    for motors, low in ((1, -1.0), (0, 0.0)):
        edge = 1e-4
        action = jnp.linspace(low + edge, 1 - edge, 20_001)
        raw = (distrax.Tanh() if motors else distrax.Sigmoid()).inverse(action)
        np.testing.assert_allclose(actor_critic.squash(raw[:, None], motors)[:, 0], action, atol=1e-5)
        distribution = actor_critic.gaussian(jnp.full((20_001, 1), 0.4), jnp.array([-0.3]))
        density = jnp.exp(actor_critic.squashed_log_prob(distribution, raw[:, None], motors))
        assert float(jnp.trapezoid(density, action)) == pytest.approx(1.0, abs=0.01)


def test_the_mean_stays_within_its_limit(lenient):
    network = actor_critic.ActorCritic(2, width=4)
    params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    params = jax.tree.map(lambda leaf: leaf + 100.0, params)
    mean, log_std, value = network.apply(params, jnp.ones((5, 3)))
    assert float(jnp.abs(mean).max()) == actor_critic.MEAN_LIMIT
    assert mean.shape == (5, 2)
    assert log_std.shape == (2,)
    assert value.shape == (5,)


def test_the_perturbation_moves_the_mean_only_in_the_update(lenient):
    mean, log_std, value = jnp.zeros((4000, 1)), jnp.zeros(1), jnp.zeros(4000)
    raw = jnp.zeros((4000, 1))
    log_prob = actor_critic.gaussian(mean, log_std).log_prob(raw)
    batch = ppo.Transition(None, raw, log_prob, value, value, value)
    rest = {"clip": 10.0, "value_coefficient": 0.0, "entropy_coefficient": 0.0, "key": jax.random.key(0)}
    advantage = jnp.tile(jnp.array([1.0, -1.0]), 2000)
    still = ppo.loss((mean, log_std, value), batch, advantage, value, perturbation=0.0, **rest)
    assert float(still) == pytest.approx(0.0, abs=1e-6)
    moved = ppo.loss((mean, log_std, value), batch, advantage + 1.0, value, perturbation=0.3, **rest)
    assert float(moved) != 0.0
