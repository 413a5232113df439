"""Intervals, against their definitions."""

import math

import pytest

from rtc_bench import statistics

Z = 1.959963984540054  # P(|x| > z) = 0.05 for a standard normal x: erfc(z / sqrt 2)


def test_the_quantile_is_the_normal_distributions():
    assert math.erfc(Z / math.sqrt(2)) == pytest.approx(0.05, abs=1e-12)
    assert statistics.quantile(0.95) == pytest.approx(Z, abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 10), (5, 10), (10, 10), (1700, 2048), (1, 1)])
def test_wilson_bounds_are_the_rates_that_the_score_test_just_accepts(successes, trials):
    # Wilson (1927): the bounds are the p with |successes/trials - p| = z sqrt(p (1 - p) / trials), found by bisection.
    rate = successes / trials

    def score(p):
        return abs(rate - p) - Z * math.sqrt(p * (1 - p) / trials)

    def root(inside, outside):
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if score(middle) <= 0 else (inside, middle)
        return inside

    low, high = statistics.wilson_interval(successes, trials)
    assert low == pytest.approx(0.0 if successes == 0 else root(rate, 0.0), abs=1e-9)
    assert high == pytest.approx(1.0 if successes == trials else root(rate, 1.0), abs=1e-9)


def test_no_success_still_leaves_room():
    # at p = 0 the interval is [0, z^2 / (n + z^2)]
    assert statistics.wilson_interval(0, 20) == pytest.approx((0.0, Z**2 / (20 + Z**2)))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 4)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="successes"):
        statistics.wilson_interval(successes, trials)


def test_the_mean_over_tasks_weighs_tasks_alike_and_narrows_with_their_number():
    mean, low, high = statistics.stratified_interval([0.0, 1.0], [10, 1000])
    assert mean == 0.5
    one = statistics.stratified_interval([0.5], [98])
    # shrunk rate (49 + 1) / (98 + 2) = 0.5; half width z sqrt(0.25 / 98)
    assert one[2] - one[0] == pytest.approx(Z * math.sqrt(0.25 / 98))
    four = statistics.stratified_interval([0.5] * 4, [98] * 4)
    assert four[2] - four[0] == pytest.approx((one[2] - one[0]) / 2)  # 1 / sqrt 4
    assert 0 <= low < mean < high <= 1


def test_two_proportions_that_differ_by_two_standard_errors_are_seen():
    assert statistics.two_proportion_p((50, 50), (100, 100)) == 1.0
    assert statistics.two_proportion_p((100, 100), (100, 100)) == 1.0
    # 60 and 40 of 100: pooled 0.5, standard error sqrt(0.25 * 2 / 100) = 0.0707, z = 2.83, two-sided p 0.0047
    assert statistics.two_proportion_p((60, 40), (100, 100)) == pytest.approx(0.0047, abs=1e-4)
    assert statistics.two_proportion_p((40, 60), (100, 100)) == pytest.approx(0.0047, abs=1e-4)
