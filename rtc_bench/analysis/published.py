"""A run beside a published table of solve rates: cell by cell, in the mean over tasks, and the published findings one by one."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import errors, statistics, tables
from rtc_bench.evaluation import episodes, results, run_folder

FIGURES = pathlib.Path(__file__).resolve().parent / "published_figures"  # solve_rates.csv, and methods.csv for rankings
Rates = dict[results.Cell, float]
COLUMNS = ("method", "task", "delay", "horizon", "solve_rate")
DELAYS = (1, 2, 3, 4)  # control steps, those at which a chunk's start was committed
AT_LEAST = 0.08  # RTC less naive at (1, 1)
WITHIN = 0.12  # mean |ours - published| over tasks


class CellComparison(NamedTuple):
    """One cell, here and published."""

    task: str
    strategy: str
    delay: int
    horizon: int
    episodes: int
    solve_rate: float
    ci_low: float  # 95 % Wilson interval of ours
    ci_high: float
    published: float

    @property
    def difference(self) -> float:
        """Ours less the published rate."""
        return self.solve_rate - self.published


@dataclasses.dataclass(frozen=True)
class MeanComparison:
    """One strategy at one delay, over the tasks that both have."""

    strategy: str
    delay: int
    tasks: int
    solve_rate: float  # mean over tasks
    low: float  # 95 % interval (bootstrap within tasks)
    high: float
    published: float
    apart: float  # mean |ours - published| over tasks
    rank_correlation: float  # Spearman's, over tasks; nan where one side has a single value


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the published policies showed, and whether ours do."""

    text: str
    value: float
    low: float  # 95 % interval; equal to the value where there is none
    high: float
    published: float
    verdict: str  # holds, does not hold, undecided


def read(path: pathlib.Path) -> Rates:
    """Published solve rates by cell. Raises ConfigError for a file without the columns."""
    lines = tables.read(path)
    if not lines or not set(COLUMNS) <= set(lines[0]):
        raise errors.ConfigError(f"{path}: no table of solve rates there; its columns are {', '.join(COLUMNS)}")
    return {
        (line["task"], line["method"], int(line["delay"]), int(line["horizon"])): float(line["solve_rate"])
        for line in lines
    }


def compare_cells(rows: Sequence[results.Row], rates: Rates) -> list[CellComparison]:
    """The cells with s = max(d, 1) that both have, in the run's order."""
    return [
        CellComparison(*row.cell, row.episodes, row.solve_rate, row.ci_low, row.ci_high, rates[row.cell])
        for row in rows
        if row.cell in rates and row.horizon == max(row.delay, 1)
    ]


def compare_means(cells: Sequence[CellComparison]) -> list[MeanComparison]:
    """By strategy and delay."""
    groups: dict[tuple[str, int], list[CellComparison]] = {}
    for cell in cells:
        groups.setdefault((cell.strategy, cell.delay), []).append(cell)
    comparisons = []
    for (strategy, delay), group in groups.items():
        solved = [(round(cell.solve_rate * cell.episodes), cell.episodes) for cell in group]
        mean, low, high = success_curves.mean_of_tasks(tuple(solved))
        published = float(np.mean([cell.published for cell in group]))
        apart = float(np.mean([abs(cell.difference) for cell in group]))
        ranks = _rank_correlation([cell.solve_rate for cell in group], [cell.published for cell in group])
        comparisons.append(MeanComparison(strategy, delay, len(group), mean, low, high, published, apart, ranks))
    return comparisons


def _rank_correlation(ours: Sequence[float], theirs: Sequence[float]) -> float:
    from scipy import stats

    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return float("nan")
    return float(stats.spearmanr(ours, theirs).statistic)


Side = tuple[str, int, int]  # strategy, delay, execution horizon


class _Run:
    """Contrasts between a run's cells, in the mean over its tasks, and the same of the published rates."""

    def __init__(self, runs: run_folder.LoadedRuns, rates: Rates):
        self.outcomes = paired_comparison.PairedOutcomes(runs, all_pairs=True)
        self.rates, self.tasks = rates, self.outcomes.tasks

    def contrast(self, ahead: Sequence[Side], behind: Sequence[Side]) -> "Contrast | None":
        """The sum of the rates of ``ahead`` less that of ``behind``; None where a cell is missing in some task."""
        sides = [*ahead, *behind]
        by_side = [self.outcomes.episodes_by_task(name, (delay, horizon)) for name, delay, horizon in sides]
        if any(set(by_task) != set(self.tasks) for by_task in by_side):
            return None
        signs = [1.0] * len(ahead) + [-1.0] * len(behind)
        aligned = [episodes.align([by_task[task] for by_task in by_side]) for task in self.tasks]
        if not all(len(cells[0]["solved"]) for cells in aligned):
            return None
        differences = [sum(sign * cell["solved"] for sign, cell in zip(signs, cells, strict=True)) for cells in aligned]
        published = sum(sign * self._published(side) for sign, side in zip(signs, sides, strict=True))
        return Contrast(*statistics.mean_interval(differences), published)

    def _published(self, side: Side) -> float:
        """Mean over tasks; nan where the table lacks it."""
        return float(np.mean([self.rates.get((task, *side), np.nan) for task in self.tasks]))


class Contrast(NamedTuple):
    """A difference of mean solve rates with its 95 % interval, and the published one."""

    value: float
    low: float
    high: float
    published: float


def findings(runs: run_folder.LoadedRuns, rates: Rates, means: Sequence[MeanComparison]) -> list[Finding]:
    """Those that the run's cells can answer, each judged by its interval; ``means`` are the run's."""
    run = _Run(runs, rates)
    naive, rtc, hard, bid, ensembling = "naive", "rtc", "rtc_hard", "bid_no_weak", "temporal_ensembling"

    def ahead(text: str, better: Side, worse: Side, judge: Judge = _above) -> Finding | None:
        return _judge(run, text, [better], [worse], judge)

    first = (rtc, 1, 1)
    found = [
        ahead(f"at (1, 1) {rtc} less {naive} is {AT_LEAST} or more", first, (naive, 1, 1), _above_by(AT_LEAST)),
        ahead(f"asking anew at every step costs {naive}: (1, 2) is ahead of (1, 1)", (naive, 1, 2), (naive, 1, 1)),
        ahead("at (1, 1) soft masking is at least as good as hard masking", first, (hard, 1, 1)),
        ahead(f"{ensembling} is behind {naive} already at d = 0", (naive, 0, 1), (ensembling, 0, 1)),
    ]
    for better, worse in ((rtc, bid), (bid, naive)):
        found += [ahead(f"at d = {d} {better} is ahead of {worse}", (better, d, d), (worse, d, d)) for d in DELAYS]
    gaps = [(rtc, 3, 3), (naive, 1, 1)], [(naive, 3, 3), first]
    found.append(_judge(run, f"{rtc}'s lead over {naive} is greater at d = 3 than at d = 1", *gaps, _above))
    for name in (rtc, bid):
        found.append(ahead(f"{name} gains from asking often: (1, 1) is ahead of (1, 4)", (name, 1, 1), (name, 1, 4)))
    for name in (naive, ensembling):
        found.append(ahead(f"{name} loses by asking often: (1, 4) is ahead of (1, 1)", (name, 1, 4), (name, 1, 1)))
    found += [_nearness(means, delay) for delay in (0, 1, 2)]
    return [finding for finding in found if finding is not None]


Judge = Callable[[Contrast], str]


def _judge(run: _Run, text: str, ahead: list[Side], behind: list[Side], judge: Judge) -> Finding | None:
    contrast = run.contrast(ahead, behind)
    return None if contrast is None else Finding(text, *contrast, judge(contrast))


def _above(contrast: Contrast) -> str:
    return "holds" if contrast.low > 0 else "does not hold" if contrast.high < 0 else "undecided"


def _above_by(least: float) -> Judge:
    """By so much as estimated, and certainly above 0."""

    def judge(contrast: Contrast) -> str:
        if contrast.value >= least and contrast.low > 0:
            return "holds"
        return "does not hold" if contrast.high < least else "undecided"

    return judge


def _nearness(means: Sequence[MeanComparison], delay: int) -> Finding | None:
    """Of the strategy that is farthest from its published rates."""
    apart = [mean.apart for mean in means if mean.delay == delay]
    if not apart:
        return None
    text = f"at d = {delay} tasks lie within {WITHIN} of their published rates, in the mean over tasks"
    return Finding(
        text, max(apart), max(apart), max(apart), float("nan"), "holds" if max(apart) <= WITHIN else "does not hold"
    )


def records(items: Sequence[CellComparison | MeanComparison | Finding]) -> list[Mapping[str, object]]:
    """For a tidy table: rates to four decimals."""
    rows: list[Mapping[str, object]] = []
    for item in items:
        values = item._asdict() | {"difference": item.difference} if isinstance(item, tuple) else vars(item)
        rows.append({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in values.items()})
    return rows
