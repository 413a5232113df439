"""The loop's rate, by a clock that only sleeping and working move."""

import pytest

from rtc_bench.realtime import pacing


class Clock:
    def __init__(self, oversleep=0.0, shortest=1.0):
        self.now, self.oversleep, self.shortest = 100.0, oversleep, shortest

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += self.shortest * seconds + self.oversleep


def begun(pacer, clock, work):
    """When each control step begins, after the first; ``work`` is what each takes, in seconds."""
    times = []
    for seconds in work:
        pacer.wait()
        times.append(clock.now - 100.0)
        clock.now += seconds
    return times


def test_deadlines_are_on_a_grid_and_a_late_step_moves_no_other():
    clock = Clock()
    pacer = pacing.Pacer(10, clock=clock, sleep=clock.sleep)
    times = begun(pacer, clock, [0.05, 0.05, 0.14, 0.08, 0.01, 0.0])
    assert times == pytest.approx([0.0, 0.1, 0.2, 0.34, 0.42, 0.5])
    assert pacer.missed == 2
    assert pacer.worst_lateness == pytest.approx(0.04)


def test_no_drift_where_every_sleep_is_too_long():
    clock = Clock(oversleep=0.005)
    pacer = pacing.Pacer(10, clock=clock, sleep=clock.sleep)
    times = begun(pacer, clock, [0.01] * 50)
    assert times[1:] == pytest.approx([0.1 * k + 0.005 for k in range(1, 50)])
    assert pacer.missed == 0  # a twentieth of a period is tolerated


def test_a_sleep_that_is_too_short_is_gone_on_with():
    clock = Clock(shortest=0.5, oversleep=1e-6)
    pacer = pacing.Pacer(10, clock=clock, sleep=clock.sleep)
    assert begun(pacer, clock, [0.0, 0.0]) == pytest.approx([0.0, 0.1], abs=1e-5)


def test_the_start_is_the_first_wait():
    clock = Clock()
    pacer = pacing.Pacer(10, clock=clock, sleep=clock.sleep)
    clock.now += 7.0
    assert pacer.wait() == 0.0
    clock.now += 0.15
    assert pacer.wait() == pytest.approx(0.05)


@pytest.mark.parametrize("hz", [0, -30, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(hz):
    with pytest.raises(ValueError, match="is not a rate; give a number above 0"):
        pacing.Pacer(hz)
