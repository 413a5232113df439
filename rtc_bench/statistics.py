"""Intervals for rates and means."""

import math
import statistics


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


def stratified_interval(
    rates: list[float], trials: list[int], *, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean of independent rates (one per task, equal weights) with its normal interval: (mean, low, high).

    The variance is that of the episodes within tasks; the tasks are the benchmark itself, not a sample of tasks. Each rate
    is shrunk by one success and one failure for the variance, so that 0 and 1 do not claim certainty.
    """
    count = len(rates)
    shrunk = [(rate * n + 1) / (n + 2) for rate, n in zip(rates, trials, strict=True)]
    variance = sum(p * (1 - p) / n for p, n in zip(shrunk, trials, strict=True)) / count**2
    mean, half = sum(rates) / count, quantile(confidence) * math.sqrt(variance)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def two_proportion_p(successes: tuple[int, int], trials: tuple[int, int]) -> float:
    """Two-sided p of the pooled two-proportion z-test: how likely so large a difference is if both rates are equal."""
    pooled = sum(successes) / sum(trials)
    spread = math.sqrt(pooled * (1 - pooled) * sum(1 / n for n in trials))
    if spread == 0:  # all solved, or none
        return 1.0
    z = abs(successes[0] / trials[0] - successes[1] / trials[1]) / spread
    return 2 * (1 - statistics.NormalDist().cdf(z))
