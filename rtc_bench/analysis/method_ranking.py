"""Every method of a run in one tidy table: its rate at each delay, against naive execution and RTC, and as published."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import errors, tables
from rtc_bench.evaluation import results, run_folder

BASELINES = ("naive", "rtc")
COLUMNS = ("method", "delay", "solve_rate", *BASELINES, "source")


@dataclasses.dataclass(frozen=True)
class Published:
    """A published mean over the twelve tasks, and the baselines' beside it."""

    solve_rate: float
    baselines: Mapping[str, float]  # those that are given
    source: str  # of both, unless it names another for the baselines


@dataclasses.dataclass(frozen=True)
class MethodAtDelay:
    """One method at one delay, or in the mean over the delays that the baselines were run at."""

    strategy: str
    delay: int | None  # control steps; None: the mean
    tasks: int
    solve_rate: float  # mean over tasks
    low: float  # 95 % interval, bootstrap within tasks; nan for the mean over delays
    high: float
    action_change: float  # mean |difference| of consecutive actions
    boundary_change: float  # the same where a newer chunk takes over
    comparisons: Mapping[str, paired_comparison.Comparison]  # by baseline
    published: Published | None


@dataclasses.dataclass(frozen=True)
class PublishedOrder:
    """Whether a method lies on the published side of a baseline."""

    strategy: str
    baseline: str
    delay: int
    published: float  # method less baseline
    comparison: paired_comparison.Comparison

    @property
    def verdict(self) -> str:
        """Of an order that is published: holds, does not hold, or undecided."""
        if self.comparison.verdict == "undecided":
            return "undecided"
        return "holds" if (self.comparison.verdict == "ahead") == (self.published > 0) else "does not hold"


def read_published(path: pathlib.Path) -> dict[tuple[str, int], Published]:
    """(method, delay) -> published mean. Raises ConfigError for a table without the columns."""
    rows = tables.read(path)
    if not rows or {*COLUMNS} - rows[0].keys():
        raise errors.ConfigError(f"{path}: not a table of {', '.join(COLUMNS)}; give another published=")
    published = {}
    for row in rows:
        baselines = {name: float(row[name]) for name in BASELINES if row[name]}
        published[row["method"], int(row["delay"])] = Published(float(row["solve_rate"]), baselines, row["source"])
    return published


def rank(runs: run_folder.LoadedRuns, published: Mapping[tuple[str, int], Published]) -> list[MethodAtDelay]:
    """Methods by their mean over delays, each first with that mean. Raises ConfigError where a baseline was not run."""
    outcomes = paired_comparison.PairedOutcomes(runs)
    by_baseline = {name: paired_comparison.against_baseline(outcomes, name) for name in BASELINES}
    pairs = outcomes.pairs_of(BASELINES[0])
    means = {name: outcomes.mean_rate(name, pairs) for name in outcomes.strategies}
    ranked: list[MethodAtDelay] = []
    for name in sorted(means, key=lambda name: -(means[name] or 0.0)):
        rates: dict[int | None, list[float]] = {
            delay: rate for delay, *rate in success_curves.mean_curve(outcomes.rows, name)
        }
        own_rows: dict[int | None, list[results.Row]] = {
            delay: [row for row in outcomes.rows if (row.strategy, row.delay) == (name, delay)] for delay in rates
        }
        mean = means[name]
        if mean is not None:
            rates = {None: [mean, math.nan, math.nan], **rates}
            own_rows[None] = [row for delay, _ in pairs for row in own_rows[delay]]
        for delay, rate in rates.items():
            comparisons = {
                baseline: comparison
                for baseline, own in by_baseline.items()
                for comparison in own
                if (comparison.strategy, comparison.delay) == (name, delay)
            }
            rows, theirs = own_rows[delay], None if delay is None else published.get((name, delay))
            changes = {
                column: _mean([getattr(row, column) for row in rows]) for column in ("action_change", "boundary_change")
            }
            numbers = {**dict(zip(("solve_rate", "low", "high"), rate, strict=True)), **changes}
            tasks = len(outcomes.tasks)
            ranked.append(MethodAtDelay(name, delay, tasks, comparisons=comparisons, published=theirs, **numbers))
    return ranked


def published_orders(ranked: Sequence[MethodAtDelay]) -> list[PublishedOrder]:
    """Every published order of a method and a baseline that can be looked at here."""
    orders = []
    for item in ranked:
        if item.delay is None or item.published is None or item.strategy == BASELINES[0]:
            continue  # the other baseline less this one says the same
        for baseline, rate in item.published.baselines.items():
            difference = item.published.solve_rate - rate
            if baseline in item.comparisons and difference:
                order = PublishedOrder(item.strategy, baseline, item.delay, difference, item.comparisons[baseline])
                orders.append(order)
    return orders


def records(ranked: Sequence[MethodAtDelay]) -> list[dict]:
    """For a tidy table."""
    rows = []
    for item in ranked:
        row = {name: getattr(item, name) for name in ("strategy", "delay", "tasks", "solve_rate", "low", "high")}
        row["delay"] = "mean" if item.delay is None else item.delay
        for baseline in BASELINES:
            comparison = item.comparisons.get(baseline)
            for name in ("difference", "low", "high", "verdict"):
                row[f"{name}_to_{baseline}"] = getattr(comparison, name) if comparison else ""
        row |= {name: getattr(item, name) for name in ("action_change", "boundary_change")}
        row["published"] = item.published.solve_rate if item.published else ""
        rows.append({name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()})
    return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
