"""Strategies against a baseline, pair by pair: both met the same random numbers in the same episode."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtc_bench import config as configs
from rtc_bench import results, statistics, summary

MEAN = "mean"
APART = 6  # episodes that must have ended differently: of five, all on one side happens by chance in 6 % (sign test)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A strategy's solve rate less the baseline's: of one task, or the mean over tasks."""

    strategy: str
    baseline: str
    task: str  # MEAN: the mean over ``tasks``
    delay: int | None  # control steps; None: the mean over all places
    tasks: int
    episodes: int  # pairs a task
    rate: float  # the strategy's
    difference: float
    low: float  # 95 % interval
    high: float
    improvement: float  # probability that an episode ends better than one of the baseline, mean over places
    settled_by: int | None  # episodes a task that would probably settle the sign; None where no difference was seen
    apart: int  # pairs, of all tasks, that ended differently

    @property
    def verdict(self) -> str:
        """What the interval says, where enough episodes ended differently for an interval to say anything."""
        if self.apart < APART:
            return "undecided"
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "undecided"


Place = tuple[int, int]  # (delay, execution horizon)


class Cells:
    """Per-episode outcomes by strategy and place: at s = max(d, 1) where it was run, else at the smallest horizon."""

    def __init__(self, loaded: results.Loaded, *, every: bool = False):
        """``every``: at all places."""
        self.rows = loaded.rows if every else summary.default_rows(loaded.rows)
        self.tasks, self.strategies = (summary.unique(self.rows, name) for name in ("task", "strategy"))
        self.delays = sorted(summary.unique(self.rows, "delay"))
        self.places = sorted({(row.delay, row.horizon) for row in self.rows})
        self.count = len(self.places if every else self.delays)  # cells of a task, where a strategy ran everywhere
        self._found = {(r.task, r.strategy, (r.delay, r.horizon)): loaded.episodes[r.cell] for r in self.rows}

    def of(self, strategy: str, place: Place) -> dict[str, results.Episodes]:
        """Task -> episodes."""
        return {
            task: self._found[task, strategy, place] for task in self.tasks if (task, strategy, place) in self._found
        }

    def at(self, delay: int) -> list[Place]:
        """The places with this delay."""
        return [place for place in self.places if place[0] == delay]


def compare(cells: Cells, strategy: str, baseline: str, places: Sequence[Place], task: str = MEAN) -> Comparison | None:
    """The mean over those of ``places`` where both ran, some at each delay; in a task, or over the tasks where they did."""
    delays = {delay for delay, _ in places}
    places = [place for place in places if cells.of(strategy, place) and cells.of(baseline, place)]
    sides = [[cells.of(name, place) for place in places] for name in (strategy, baseline)]
    tasks = [
        task
        for task in (cells.tasks if task == MEAN else [task])
        if all(task in cell for side in sides for cell in side)
    ]
    if not tasks or {delay for delay, _ in places} < delays:
        return None
    pairs = min(len(cell[task]["solved"]) for side in sides for cell in side for task in tasks)

    def samples(side: list, name: str) -> list[np.ndarray]:  # [pairs] a task, each the mean over places
        return [np.mean([cell[task][name][:pairs] for cell in side], axis=0) for task in tasks]

    def improvement(place: int) -> float:
        returns = [[side[place][task]["total_reward"][:pairs] for task in tasks] for side in sides]
        return statistics.improvement(*returns)

    ours, theirs = (samples(side, "solved") for side in sides)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    difference, low, high = statistics.mean_interval(differences)
    return Comparison(
        strategy,
        baseline,
        task,
        delays.pop() if len(delays) == 1 else None,
        len(tasks),
        pairs,
        float(np.mean([sample.mean() for sample in ours])),
        difference,
        low,
        high,
        float(np.mean([improvement(place) for place in range(len(places))])),
        statistics.episodes_to_settle(differences),
        sum(int((difference != 0).sum()) for difference in differences),
    )


def telling(cells: Cells) -> tuple[str, int, int, int]:
    """(task, delay, horizon, episode) where strategies differ most: solved by the best one, and not by the worst."""
    best: tuple[float, tuple[str, int, int, int]] | None = None
    for place in cells.places:
        found = [cells.of(name, place) for name in cells.strategies]
        for task in cells.tasks:
            here = [cell[task]["solved"] for cell in found if task in cell]
            if not here:
                continue
            ends = sorted(here, key=lambda solved: solved.mean())
            pairs = min(len(ends[0]), len(ends[-1]))
            gap = float(ends[-1].mean() - ends[0].mean())
            if best is None or gap > best[0]:
                best = gap, (task, *place, int((ends[-1][:pairs] & ~ends[0][:pairs]).argmax()))
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
    spans = [cells.at(delay) for delay in cells.delays] + ([cells.places] if len(cells.delays) > 1 else [])
    found = [compare(cells, name, baseline, span) for name in others for span in spans]
    return [one for one in found if one is not None]


def by_task(cells: Cells, strategy: str, baseline: str) -> list[Comparison]:
    """The same in each task by itself, at each delay."""
    found = [
        compare(cells, strategy, baseline, cells.at(delay), task) for task in cells.tasks for delay in cells.delays
    ]
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
