"""Which start states are drawn, and how outcomes are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.envs import task_env
from rtc_bench.training import curriculum


def starts(ended, solved):
    states = task_env.State(None, jnp.arange(len(ended)))
    return curriculum.untried_starts(states, limit=100)._replace(
        ended=jnp.array(ended, float), solved=jnp.array(solved, float)
    )


def test_states_that_are_solved_half_of_the_time_weigh_most():
    weights = curriculum.start_weights(starts([100, 0, 100, 100, 100], [50, 0, 50, 0, 100]))
    assert float(weights[0]) == 0.0  # the real start is drawn by its own share
    assert float(weights[1]) == float(weights[2]) == 1.0  # an untried one is worth a try
    assert float(weights[3]) == pytest.approx(float(weights[4]), rel=1e-4)
    assert curriculum.FLOOR < float(weights[4]) < 0.1


def test_draws_follow_share_and_weights(lenient):
    tried = starts([1000, 1000, 1000], [0, 500, 0])
    drawn = np.asarray(curriculum.sample_start_indices(tried, (20_000,), along_way=0.4, key=jax.random.key(0)))
    _, middle, low = np.asarray(curriculum.start_weights(tried))
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    wanted = [0.6, 0.4 * middle / (middle + low), 0.4 * low / (middle + low)]
    np.testing.assert_allclose(shares, wanted, atol=0.015)
    solved = tried._replace(solved=jnp.array([1000.0, 500, 0]))
    drawn = np.asarray(curriculum.sample_start_indices(solved, (20_000,), along_way=0.4, key=jax.random.key(0)))
    assert (drawn == 0).mean() == pytest.approx(0.8, abs=0.015)  # who solves from the start is drawn there more often
    assert not curriculum.sample_start_indices(tried, (100,), along_way=0.0, key=jax.random.key(0)).any()
    assert curriculum.sample_start_indices(tried, (100,), along_way=1.0, key=jax.random.key(0)).all()


def test_without_other_states_every_episode_begins_at_the_start(lenient):
    assert not curriculum.sample_start_indices(starts([0], [0]), (50,), along_way=1.0, key=jax.random.key(0)).any()


def test_outcomes_are_counted_by_where_episodes_began():
    before = starts([10, 0, 10], [10, 0, 0])
    origin, ended = jnp.array([0, 1, 1, 2]), jnp.array([True, True, True, False])
    after = curriculum.count_episodes(before, origin, ended, jnp.array([False, True, False, True]))
    decayed = curriculum.DECAY * 10
    np.testing.assert_allclose(after.ended, [decayed + 1, 2, decayed])
    np.testing.assert_allclose(after.solved, [decayed, 1, 0])  # what has not ended is not counted


def test_the_rate_from_the_start_is_low_until_seen():
    assert float(curriculum.start_solve_rate(starts([0, 9], [0, 9]))) == 0.0
    assert float(curriculum.start_solve_rate(starts([999, 0], [999, 0]))) == pytest.approx(0.999)
