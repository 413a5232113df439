"""A task on a clock: its outcome is the evaluator's under the delays that were met. The clock is a fake one."""

import threading

import line_task
import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.evaluation import evaluator
from rtc_bench.evaluation.execution import wall_clock
from rtc_bench.evaluation.latency import schedule
from rtc_bench.realtime import controller, execution
from rtc_bench.strategies import registry

HZ, STEPS, H = 30, 40, 8
LATENCIES = {
    "as fast as can be": [0.0],
    "two steps": [0.05],
    "jitter": [0.01, 0.09, 0.04, 0.0, 0.12],
    "later than a chunk lasts": [0.05, 0.4, 0.02, 0.3],
}


class FakeClock:
    """Time that moves only while the control loop sleeps; inference that sleeps is woken at its time, and waited for."""

    def __init__(self):
        self.now, self.wake, self.chunks, self.stopping = 0.0, None, None, False
        self._changed = threading.Condition()

    def attach(self, chunks):
        """Whoever stops the controller does not wait for inference that sleeps."""
        self.chunks, stop = chunks, chunks.stop

        def wake_and_stop(**options):
            with self._changed:
                self.wake, self.stopping = None, True
                self._changed.notify_all()
            stop(**options)

        chunks.stop = wake_and_stop

    def sleep(self, seconds):
        with self._changed:
            if threading.current_thread() is not threading.main_thread():
                self.wake = self.now + seconds
                self._changed.wait_for(lambda: self.wake is None or self.stopping)
                return
        until = self.now + seconds
        while True:
            while self.wake is None and not self.chunks.wait_for_answer(0.001):
                pass  # inference computes, which takes no time
            if self.wake is None or self.wake > until:
                self.now = until
                return
            with self._changed:
                self.now, self.wake = max(self.now, self.wake), None
                self._changed.notify_all()
            assert self.chunks.wait_for_answer(10)


def play(strategy, latencies, *, episode=0, horizon=2, delay=2, underrun="hold", **line):
    """An episode on the clock, and the same in the evaluator under the delays that it met."""
    env, policy, clock = line_task.Line(max_steps=STEPS, **line), line_task.policy(H), FakeClock()
    on_clock = wall_clock.WallClock(env, policy, strategy, HZ, clock=lambda: clock.now, sleep=clock.sleep)
    config = execution.ControllerConfig(H, 1, horizon, initial_delay=delay, underrun=underrun)
    in_turn = iter(latencies * STEPS)
    played = on_clock.play(
        config,
        seed=3,
        episode=episode,
        latency=lambda: next(in_turn),
        on_start=clock.attach,
    )
    delays = played.delays(STEPS)
    both = schedule.Delays(*(np.repeat(rows, 2, axis=0) for rows in delays))
    case = {"seed": 3, "first": episode, "episodes": 2, "delay": delay, "horizon": horizon, "underrun": underrun}
    return played, evaluator.Evaluator(env, policy, strategy, batch=2)(**case, delays=both)


@pytest.mark.parametrize("name", ["naive", "temporal_ensembling", "rtc", "bid_no_weak"])
@pytest.mark.parametrize("latencies", LATENCIES.values(), ids=LATENCIES)
def test_the_evaluator_agrees(name, latencies):
    played, outcomes = play(registry.build(name), latencies, noise_std=1.0, goal=3.0)
    assert (played.solved, played.length) == (bool(outcomes.solved[0]), int(outcomes.length[0]))
    assert played.underruns == outcomes.underruns[0]
    assert len(played.records) <= outcomes.requests[0] <= len(played.records) + 1
    assert 2 < played.length < STEPS  # it ended by what was done, not by the time limit


def test_delays_are_what_the_clock_says():
    played, _ = play(registry.build("naive"), LATENCIES["jitter"])
    met = [record.observed_delay for record in played.records]
    expected = [max(int(np.ceil(seconds * HZ - 1e-9)), 1) for seconds in LATENCIES["jitter"]]
    assert met[:5] == expected == [1, 3, 2, 1, 4]
    assert [record.estimate for record in played.records[:6]] == [2, 2, 3, 3, 3, 4]  # the largest so far
    assert played.missed == 0


@pytest.mark.parametrize("underrun", ["hold", "zero", "repeat"])
def test_underruns_are_the_evaluators(underrun):
    latencies = LATENCIES["later than a chunk lasts"]
    played, outcomes = play(registry.build("naive"), latencies, noise_std=1.0, goal=30.0, underrun=underrun)
    assert played.underruns == outcomes.underruns[0] > 0
    assert played.length == outcomes.length[0] == STEPS


@pytest.mark.parametrize("name", ["oracle", "synchronous", "vlash"])
def test_what_needs_more_than_observations_is_refused(name):
    with pytest.raises(errors.ConfigError, match="real clock"):
        wall_clock.WallClock(line_task.Line(), line_task.policy(H), registry.build(name))


def test_an_episode_that_ends_while_a_chunk_is_inferred_counts(monkeypatch):
    """However long ``with`` would have waited: here less than the latency, which is real."""
    monkeypatch.setattr(controller.Controller.stop, "__defaults__", (0.01,))
    on_clock = wall_clock.WallClock(line_task.Line(max_steps=3), line_task.policy(H), registry.build("naive"), HZ)
    config = execution.ControllerConfig(H, 1, 2)
    played = on_clock.play(config, seed=3, episode=0, latency=lambda: 0.5)
    assert (played.length, played.records) == (3, [])
