"""Strategies against a baseline, pair by pair: both met the same random numbers in the same episode."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtc_bench.analysis import success_curves
from rtc_bench.common import errors, statistics
from rtc_bench.evaluation import episodes, results, run_folder

MEAN_OVER_TASKS = "mean"
MIN_APART = (
    6  # episodes that must have ended differently: of five, all on one side happens by chance in 6 % (sign test)
)

DelayHorizon = tuple[int, int]  # a (d, s) pair


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A strategy's solve rate less the baseline's: of one task, or the mean over tasks."""

    strategy: str
    baseline: str
    task: str  # MEAN_OVER_TASKS: the mean over ``tasks``
    delay: int | None  # control steps; None: the mean over all (d, s) pairs
    tasks: int
    episodes: int  # paired, a task
    rate: float  # the strategy's
    difference: float
    low: float  # 95 % interval
    high: float
    improvement: float  # probability that an episode ends better than one of the baseline, mean over (d, s) pairs
    settled_by: int | None  # episodes a task that would probably settle the sign; None where no difference was seen
    apart: int  # paired episodes, of all tasks, that ended differently

    @property
    def verdict(self) -> str:
        """What the interval says, where enough episodes ended differently for an interval to say anything."""
        if self.apart < MIN_APART:
            return "undecided"
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "undecided"


class PairedOutcomes:
    """Episodes by strategy and (d, s): at s = max(d, 1) where it was run, else at the smallest horizon."""

    def __init__(self, runs: run_folder.LoadedRuns, *, all_pairs: bool = False):
        """``all_pairs``: at every (d, s) that was run."""
        self.rows = runs.rows if all_pairs else success_curves.rows_over_delay(runs.rows)
        self.tasks, self.strategies = (results.unique_values(self.rows, name) for name in ("task", "strategy"))
        self.delays = sorted(results.unique_values(self.rows, "delay"))
        self.pairs = sorted({(row.delay, row.horizon) for row in self.rows})
        self.all_pairs = all_pairs
        self._episodes = {
            (row.task, row.strategy, (row.delay, row.horizon)): runs.episodes[row.cell] for row in self.rows
        }

    def episodes_by_task(self, strategy: str, pair: DelayHorizon) -> dict[str, episodes.Episodes]:
        """Task -> episodes, of the tasks where this was run."""
        keys = {task: (task, strategy, pair) for task in self.tasks}
        return {task: self._episodes[key] for task, key in keys.items() if key in self._episodes}

    def pairs_of(self, strategy: str) -> list[DelayHorizon]:
        """The (d, s) pairs where this was run."""
        return [pair for pair in self.pairs if self.episodes_by_task(strategy, pair)]

    def mean_rate(self, strategy: str, pairs: Sequence[DelayHorizon]) -> float | None:
        """Mean solve rate over tasks and ``pairs``; None where a cell is missing."""
        rates = [own["solved"].mean() for pair in pairs for own in self.episodes_by_task(strategy, pair).values()]
        cells_a_task = len(pairs) if self.all_pairs else len({delay for delay, _ in pairs})
        return float(sum(rates)) / len(rates) if len(rates) == len(self.tasks) * cells_a_task else None

    def pairs_at(self, delay: int) -> list[DelayHorizon]:
        """The (d, s) pairs with this delay."""
        return [pair for pair in self.pairs if pair[0] == delay]


def compare_strategies(
    outcomes: PairedOutcomes, strategy: str, baseline: str, pairs: Sequence[DelayHorizon], task: str = MEAN_OVER_TASKS
) -> Comparison | None:
    """The mean over those of ``pairs`` where both ran, some at each delay; in a task, or over the tasks where they did."""
    delays = {delay for delay, _ in pairs}
    pairs = [pair for pair in pairs if all(outcomes.episodes_by_task(name, pair) for name in (strategy, baseline))]
    episodes_by_task = [outcomes.episodes_by_task(name, pair) for name in (strategy, baseline) for pair in pairs]
    tasks = [
        name
        for name in (outcomes.tasks if task == MEAN_OVER_TASKS else [task])
        if all(name in episodes for episodes in episodes_by_task)
    ]
    if not tasks or {delay for delay, _ in pairs} < delays:
        return None
    aligned = {name: episodes.align([episodes[name] for episodes in episodes_by_task]) for name in tasks}
    count = min(len(aligned[name][0]["solved"]) for name in tasks)
    if not count:
        return None

    def column(name: str, first: int, last: int) -> list[np.ndarray]:  # [cells, count] a task
        return [np.stack([cell[name][:count] for cell in aligned[task_name][first:last]]) for task_name in tasks]

    def solved(first: int) -> list[np.ndarray]:  # [count] a task, each the mean over (d, s) pairs
        return [rates.mean(0) for rates in column("solved", first, first + len(pairs))]

    def improvement(index: int) -> float:
        returns = [[cells[0] for cells in column("total_reward", i, i + 1)] for i in (index, index + len(pairs))]
        return statistics.probability_of_improvement(*returns)

    our_rates, their_rates = solved(0), solved(len(pairs))
    differences = [a - b for a, b in zip(our_rates, their_rates, strict=True)]
    difference, low, high = statistics.mean_interval(differences)
    return Comparison(
        strategy,
        baseline,
        task,
        delays.pop() if len(delays) == 1 else None,
        len(tasks),
        count,
        float(np.mean([rates.mean() for rates in our_rates])),
        difference,
        low,
        high,
        float(np.mean([improvement(index) for index in range(len(pairs))])),
        statistics.episodes_to_settle(differences),
        sum(int((difference != 0).sum()) for difference in differences),
    )


def most_telling_episode(outcomes: PairedOutcomes) -> tuple[str, int, int, int, int]:
    """(task, delay, horizon, seed, episode) where strategies differ most: solved by the best one, and not by the worst.

    Of the pairs that all strategies play, if there are any.
    """
    best: tuple[float, tuple[str, int, int, int, int]] | None = None
    common = [pair for pair in outcomes.pairs if all(pair in outcomes.pairs_of(name) for name in outcomes.strategies)]
    for pair in common or outcomes.pairs:
        by_strategy = [outcomes.episodes_by_task(name, pair) for name in outcomes.strategies]
        for task in outcomes.tasks:
            cells = [by_task[task] for by_task in by_strategy if task in by_task]
            cells.sort(key=lambda cell: cell["solved"].mean())
            if not cells:
                continue
            worst, leader = episodes.align([cells[0], cells[-1]])
            gap = float(leader["solved"].mean() - worst["solved"].mean()) if len(leader["solved"]) else -1.0
            if gap >= 0 and (best is None or gap > best[0]):
                index = (leader["solved"] & ~worst["solved"]).argmax()
                best = gap, (task, *pair, int(leader["seed"][index]), int(leader["episode"][index]))
    if best is None:
        raise errors.ConfigError("the strategies were run with other seeds; give runs that share one")
    return best[1]


def against_baseline(
    outcomes: PairedOutcomes, baseline: str, strategies: Sequence[str] | None = None
) -> list[Comparison]:
    """Each strategy against ``baseline``, at each delay and, where there are several, in the mean over them.

    Raises ConfigError if the baseline was not run.
    """
    if baseline not in outcomes.strategies:
        near, names = errors.did_you_mean(baseline, outcomes.strategies), ", ".join(outcomes.strategies)
        raise errors.ConfigError(f"baseline={baseline!r} was not run{near}; these were: {names}")
    others = [name for name in strategies or outcomes.strategies if name != baseline]
    spans = [outcomes.pairs_at(delay) for delay in outcomes.delays]
    own_pairs = outcomes.pairs_of(baseline)  # others may have been run at longer delays, too
    spans += [own_pairs] if len({delay for delay, _ in own_pairs}) > 1 else []
    comparisons = [compare_strategies(outcomes, name, baseline, span) for name in others for span in spans]
    return [comparison for comparison in comparisons if comparison is not None]


def against_baseline_by_task(outcomes: PairedOutcomes, strategy: str, baseline: str) -> list[Comparison]:
    """The same in each task by itself, at each delay."""
    comparisons = [
        compare_strategies(outcomes, strategy, baseline, outcomes.pairs_at(delay), task)
        for task in outcomes.tasks
        for delay in outcomes.delays
    ]
    return [comparison for comparison in comparisons if comparison is not None]


def records(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """For a tidy table."""
    return [{**dataclasses.asdict(comparison), "verdict": comparison.verdict} for comparison in comparisons]
