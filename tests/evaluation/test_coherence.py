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
