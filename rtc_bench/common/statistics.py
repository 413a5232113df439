"""Intervals for rates and means."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000  # of a bootstrap; the bounds then wobble by some 3 % of the interval's width


def quantile(confidence: float) -> float:
    """The normal distribution's two-sided quantile, 1.96 for 0.95."""
    return statistics.NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a rate (Wilson 1927); honest also near 0 and 1. Raises ValueError without trials."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials; trials must be 1 or more and hold the successes")
    z, rate = quantile(confidence), successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(samples: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Mean over tasks of each task's mean, with its 95 % interval: (mean, low, high); ``samples``: an array [E] a task.

    Task-stratified bootstrap (Agarwal et al. 2021, arXiv 2108.13264): episodes are drawn anew within each task; the tasks
    are the benchmark itself, not a sample of tasks. Where all episodes ended alike, a bootstrap claims certainty; then the
    rule of three bounds what was not seen.
    """
    from scipy import stats

    mean = float(np.mean([sample.mean() for sample in samples]))
    if all((sample == sample[0]).all() for sample in samples):
        unseen = 3.0 / sum(len(sample) for sample in samples)
        return mean, mean - unseen, mean + unseen

    def mean_of_means(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([sample.mean(axis) for sample in drawn], axis=0)

    resampled = [np.asarray(sample, np.float32) if len(sample) > 1 else np.repeat(sample, 2) for sample in samples]
    options = {"n_resamples": RESAMPLES, "method": "percentile", "batch": 100, "rng": np.random.default_rng(0)}
    low, high = stats.bootstrap(resampled, mean_of_means, vectorized=True, **options).confidence_interval
    return mean, float(low), float(high)


def probability_of_improvement(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Probability that an episode of ours ends better than one of theirs, ties counted half, mean over tasks.

    From the Mann-Whitney statistic, as in Agarwal et al. 2021; a sequence holds an array [E] of returns a task.
    """
    from scipy import stats

    def of_task(x: np.ndarray, y: np.ndarray) -> float:
        return float(stats.mannwhitneyu(x, y, method="asymptotic").statistic) / (len(x) * len(y))

    return float(np.mean([of_task(x, y) for x, y in zip(ours, theirs, strict=True)]))


def episodes_to_settle(differences: Sequence[np.ndarray], *, power: float = 0.8) -> int | None:
    """Episodes a task after which the mean difference's 95 % interval excludes 0 with probability ``power``.

    Taking the observed difference and its spread for the true ones; None where no difference or no spread was observed.
    ``differences``: an array [E] of paired differences a task.
    """
    mean = float(np.mean([sample.mean() for sample in differences]))
    variance = float(np.sum([sample.var() for sample in differences])) / len(differences) ** 2
    if mean == 0 or variance == 0:
        return None
    reach = quantile(0.95) + statistics.NormalDist().inv_cdf(power)
    return math.ceil(variance * (reach / mean) ** 2)


def two_proportion_p(successes: tuple[int, int], trials: tuple[int, int]) -> float:
    """Two-sided p of the pooled two-proportion z-test: how likely so large a difference is if both rates are equal."""
    pooled = sum(successes) / sum(trials)
    standard_error = math.sqrt(pooled * (1 - pooled) * sum(1 / n for n in trials))
    if standard_error == 0:  # all solved, or none
        return 1.0
    z = abs(successes[0] / trials[0] - successes[1] / trials[1]) / standard_error
    return 2 * (1 - statistics.NormalDist().cdf(z))
