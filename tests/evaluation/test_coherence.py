"""Measures of a policy's chunks, where they are known."""

import jax.numpy as jnp
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation import coherence
from rtc_bench.strategies import naive

ABSOLUTE_DIFFERENCE = 2 / np.sqrt(np.pi)  # of two independent standard normal numbers, expected


def test_chunks_of_independent_noise():
    """The policy's velocity is 0, so that its chunks are the noise itself."""
    measures = coherence.measure(line_task.Line(max_steps=40), line_task.policy(), seed=0, episodes=32)
    assert measures.spread == pytest.approx(1.0, abs=0.03)
    assert measures.correlation == pytest.approx(0.0, abs=0.03)
    assert measures.asking_anew == pytest.approx(ABSOLUTE_DIFFERENCE, abs=0.06)
    assert measures.continuing == pytest.approx(ABSOLUTE_DIFFERENCE, abs=0.06)
    assert measures.saturation == 0.0  # the line's bounds are a million away


def test_chunks_that_are_one_draw_each(monkeypatch):
    monkeypatch.setattr(naive.Naive, "sample", lambda self, policy, obs, noise: jnp.repeat(noise[:, :1], 8, 1))
    line = line_task.Line(max_steps=40)
    line.action_low, line.action_high = np.array([-0.5], np.float32), np.array([0.5], np.float32)
    measures = coherence.measure(line, line_task.policy(), seed=0, episodes=32)
    assert measures.correlation == pytest.approx(1.0)
    assert measures.continuing == 0.0
    assert measures.asking_anew == pytest.approx(ABSOLUTE_DIFFERENCE, abs=0.06)
    outside = 2 * 0.32636  # P(|x| > 0.45) of a standard normal number
    assert measures.saturation == pytest.approx(outside, abs=0.03)


def test_only_steps_of_episodes_that_go_on_count(monkeypatch):
    """Beyond 3.5 after four steps of 1; then the chunks change, but the episodes are over."""

    def sample(self, policy, obs, noise):
        action = jnp.where(obs[:, 0] < 4, 1.0, 1000.0 * obs[:, 0])
        return jnp.broadcast_to(action[:, None, None], noise.shape)

    monkeypatch.setattr(naive.Naive, "sample", sample)
    measures = coherence.measure(line_task.Line(goal=3.5, max_steps=40), line_task.policy(), seed=0, episodes=4)
    assert (measures.asking_anew, measures.continuing, measures.spread) == (0.0, 0.0, 0.0)


def data(spread, coupling, *, episodes=200, length=20, seed=0):
    """Actions about sin(obs), whose second deviation is ``coupling`` times the first; observations know neither."""
    rng = np.random.default_rng(seed)
    episode = np.repeat(np.arange(episodes), length)
    obs = np.tile(np.linspace(0, 3, length), episodes)[:, None] + 1e-3 * rng.normal(size=(episodes * length, 1))
    deviation = rng.normal(size=(episodes, length))
    deviation[:, 1::2] = coupling * deviation[:, ::2] + np.sqrt(1 - coupling**2) * deviation[:, 1::2]
    return obs, np.sin(obs) + spread * deviation.reshape(-1, 1), episode


@pytest.mark.parametrize("coupling", [0.0, -0.8])
def test_data_are_measured_at_neighbours_of_other_episodes(coupling):
    obs, action, episode = data(0.3, coupling)
    measures = coherence.measure_data(obs, action, episode, (np.array([-1.0]), np.array([1.0])))
    assert measures.spread == pytest.approx(0.3, rel=0.1)
    assert measures.correlation == pytest.approx(coupling * 10 / 19, abs=0.06)  # 10 of 19 pairs are coupled
    assert measures.asking_anew == pytest.approx(0.3 * ABSOLUTE_DIFFERENCE, rel=0.1)
    assert measures.continuing > measures.asking_anew
    assert measures.saturation == pytest.approx((np.abs(action) > 0.95).mean())


def test_an_episode_is_not_its_own_neighbour():
    """Each episode repeats one action at a place of its own, and those beside it the opposite one."""
    episode = np.repeat(np.arange(40), 30)
    action = np.where(np.arange(40) % 2, 0.5, -0.5)[episode][:, None]
    obs = episode[:, None] + 1e-3 * np.random.default_rng(0).normal(size=(len(episode), 1))
    measures = coherence.measure_data(obs, action, episode, (np.array([-1.0]), np.array([1.0])))
    assert (measures.continuing, measures.asking_anew) == (0.0, 1.0)
