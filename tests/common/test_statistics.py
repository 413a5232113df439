"""Intervals, against their definitions."""

import math

import numpy as np
import pytest

from rtc_bench.common import statistics

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


def ones(count, trials):
    return (np.arange(trials) < count).astype(np.float32)


def test_the_mean_over_tasks_weighs_tasks_alike_and_narrows_with_their_number():
    assert statistics.mean_interval([ones(1, 10), ones(900, 1000)])[0] == pytest.approx(0.5)
    mean, low, high = statistics.mean_interval([ones(50, 100)])
    # a bootstrap of one rate is the binomial distribution: half width z sqrt(0.25 / 100), in steps of 0.01
    assert high - low == pytest.approx(2 * Z * 0.05, abs=0.025)
    _, low_4, high_4 = statistics.mean_interval([ones(50, 100)] * 4)
    assert (high_4 - low_4) == pytest.approx((high - low) / 2, rel=0.15)  # 1 / sqrt 4
    assert 0 < low < mean < high < 1


def test_episodes_are_drawn_anew_within_tasks_and_tasks_are_not():
    # Rates 0 and 1 for certain: drawing tasks anew would spread the mean from 0 to 1.
    mean, low, high = statistics.mean_interval([ones(0, 50), ones(50, 50)])
    assert (mean, low, high) == (0.5, 0.5 - 3 / 100, 0.5 + 3 / 100)  # rule of three: 100 episodes, nothing else seen
    mean, low, high = statistics.mean_interval([ones(0, 50), ones(49, 50)])
    assert 0.4 < low < mean < high <= 0.5


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng, rates, covered = np.random.default_rng(1), (0.2, 0.5, 0.9), 0
    for _ in range(200):
        samples = [(rng.random(60) < rate).astype(np.float32) for rate in rates]
        _, low, high = statistics.mean_interval(samples)
        covered += low <= np.mean(rates) <= high
    assert 180 <= covered <= 200  # 190 expected, standard deviation 3


def test_one_episode_a_task_is_enough_to_say_nothing():
    mean, low, high = statistics.mean_interval([ones(1, 1), ones(0, 1)])
    assert (mean, low, high) == (0.5, 0.5 - 1.5, 0.5 + 1.5)


def test_the_probability_of_improvement_counts_pairs_and_halves_of_ties():
    ours, theirs = np.array([1, 0, 1]), np.array([0, -1])
    # 1 beats both, 0 ties one and beats the other, 1 beats both: (2 + 1.5 + 2) / 6
    assert statistics.probability_of_improvement([ours], [theirs]) == pytest.approx(5.5 / 6)
    assert statistics.probability_of_improvement([ours, ours], [theirs, ours]) == pytest.approx((5.5 / 6 + 0.5) / 2)


def test_episodes_to_settle_are_enough_in_four_of_five_repetitions():
    rng, values, chances = np.random.default_rng(0), np.array([-1, 0, 1]), (0.1, 0.7, 0.2)
    # mean 0.1, variance 0.3 - 0.01 = 0.29; one task: n = 0.29 (1.960 + 0.842)^2 / 0.01 = 228
    exact = np.repeat(values, [10, 70, 20]).astype(np.float32)
    assert statistics.episodes_to_settle([exact]) == 228
    assert statistics.episodes_to_settle([exact, exact]) == 114  # two tasks share the work
    draws = rng.choice(values, (4000, 228), p=chances)
    settled = np.abs(draws.mean(1)) > Z * draws.std(1) / math.sqrt(228)
    assert settled.mean() == pytest.approx(0.8, abs=0.03)
    assert statistics.episodes_to_settle([np.zeros(10)]) is None


def test_two_proportions_that_differ_by_two_standard_errors_are_seen():
    assert statistics.two_proportion_p((50, 50), (100, 100)) == 1.0
    assert statistics.two_proportion_p((100, 100), (100, 100)) == 1.0
    # 60 and 40 of 100: pooled 0.5, standard error sqrt(0.25 * 2 / 100) = 0.0707, z = 2.83, two-sided p 0.0047
    assert statistics.two_proportion_p((60, 40), (100, 100)) == pytest.approx(0.0047, abs=1e-4)
    assert statistics.two_proportion_p((40, 60), (100, 100)) == pytest.approx(0.0047, abs=1e-4)
