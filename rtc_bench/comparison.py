"""Strategies against a baseline, pair by pair: both met the same random numbers in the same episode."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtc_bench import config as configs
from rtc_bench import results, statistics, summary

MEAN = "mean"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A strategy's solve rate less the baseline's: of one task, or the mean over tasks."""

    strategy: str
    baseline: str
    task: str  # MEAN: the mean over ``tasks``
    delay: int | None  # control steps; None: the mean over all delays
    tasks: int
    episodes: int  # pairs a task
    rate: float  # the strategy's
    difference: float
    low: float  # 95 % interval
    high: float
    improvement: float  # probability that an episode ends better than one of the baseline
    settled_by: int | None  # episodes a task that would probably settle the sign; None where no difference was seen

    @property
    def verdict(self) -> str:
        """What the interval says."""
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "undecided"


class Cells:
    """Per-episode outcomes by strategy and delay, at s = max(d, 1) where it was run, else at the smallest horizon."""

    def __init__(self, loaded: results.Loaded):
        self.rows = summary.default_rows(loaded.rows)
        self.tasks, self.strategies = (summary.unique(self.rows, name) for name in ("task", "strategy"))
        self.delays = sorted(summary.unique(self.rows, "delay"))
        self._found = {(r.task, r.strategy, r.delay): (r.horizon, loaded.episodes[r.cell]) for r in self.rows}

    def of(self, strategy: str, delay: int) -> dict[str, tuple[int, results.Episodes]]:
        """Task -> execution horizon and episodes."""
        return {
            task: self._found[task, strategy, delay] for task in self.tasks if (task, strategy, delay) in self._found
        }


def compare(cells: Cells, strategy: str, baseline: str, delays: Sequence[int], task: str = MEAN) -> Comparison | None:
    """The mean over ``delays``, in a task or over the tasks, where both ran at all of them with the same horizon, if any."""
    sides = [[cells.of(name, delay) for delay in delays] for name in (strategy, baseline)]
    tasks = [
        task
        for task in (cells.tasks if task == MEAN else [task])
        if all(
            task in ours and task in theirs and ours[task][0] == theirs[task][0]
            for ours, theirs in zip(*sides, strict=True)
        )
    ]
    if not tasks:
        return None
    pairs = min(len(cell[task][1]["solved"]) for side in sides for cell in side for task in tasks)

    def samples(side: list, name: str) -> list[np.ndarray]:  # [pairs] a task, each the mean over delays
        return [np.mean([cell[task][1][name][:pairs] for cell in side], axis=0) for task in tasks]

    ours, theirs = (samples(side, "solved") for side in sides)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    difference, low, high = statistics.mean_interval(differences)
    return Comparison(
        strategy,
        baseline,
        task,
        delays[0] if len(delays) == 1 else None,
        len(tasks),
        pairs,
        float(np.mean([sample.mean() for sample in ours])),
        difference,
        low,
        high,
        statistics.improvement(*(samples(side, "total_reward") for side in sides)),
        statistics.episodes_to_settle(differences),
    )


def telling(cells: Cells) -> tuple[str, int, int, int]:
    """(task, delay, horizon, episode) where strategies differ most: solved by the best one, and not by the worst."""
    best: tuple[float, tuple[str, int, int, int]] | None = None
    for delay in cells.delays:
        found = [cells.of(name, delay) for name in cells.strategies]
        for task in cells.tasks:
            here = [cell[task] for cell in found if task in cell]
            if not here:
                continue
            ends = sorted((episodes["solved"] for _, episodes in here), key=lambda solved: solved.mean())
            pairs = min(len(ends[0]), len(ends[-1]))
            apart = ends[-1][:pairs] & ~ends[0][:pairs]
            gap = float(ends[-1].mean() - ends[0].mean())
            if best is None or gap > best[0]:
                best = gap, (task, delay, here[0][0], int(apart.argmax()))
    assert best is not None, "a run has a cell"
    return best[1]


def table(cells: Cells, baseline: str, strategies: Sequence[str] | None = None) -> list[Comparison]:
    """Each strategy against ``baseline``, at each delay and, where there are several, in the mean over them.

    Raises ConfigError if the baseline was not run.
    """
    if baseline not in cells.strategies:
        near = configs.nearest(baseline, cells.strategies)
        raise configs.ConfigError(f"baseline={baseline!r} was not run{near}; these were: {', '.join(cells.strategies)}")
    others = [name for name in strategies or cells.strategies if name != baseline]
    spans = [[delay] for delay in cells.delays] + ([cells.delays] if len(cells.delays) > 1 else [])
    found = [compare(cells, name, baseline, span) for name in others for span in spans]
    return [one for one in found if one is not None]


def by_task(cells: Cells, strategy: str, baseline: str) -> list[Comparison]:
    """The same in each task by itself, at each delay."""
    found = [compare(cells, strategy, baseline, [delay], task) for task in cells.tasks for delay in cells.delays]
    return [one for one in found if one is not None]


def interval(one: Comparison) -> str:
    """A difference as text, in hundredths of a solve rate with its sign."""
    return f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def sentence(found: Sequence[Comparison]) -> str:
    """What a strategy's comparisons to one baseline come to, in words; ``found`` are those at single delays."""
    name, baseline, parts = found[0].strategy, found[0].baseline, []
    for verdict, said in (("ahead", "is ahead of"), ("behind", "is behind"), ("undecided", "is not told apart from")):
        here = [one for one in found if one.verdict == verdict]
        if here:
            where = ", ".join(f"d = {one.delay} ({one.difference:+.3f})" for one in here)
            parts.append(f"{said} {baseline} at {where}")
    return f"{name} {'; '.join(parts)}."


def rows(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    """For a tidy table."""
    return [{**dataclasses.asdict(one), "verdict": one.verdict} for one in found]
