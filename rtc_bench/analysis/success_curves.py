"""Success curves: solve rate over inference delay or execution horizon, of one task and in the mean over tasks."""

import functools
from collections.abc import Sequence

import numpy as np

from rtc_bench.common import statistics
from rtc_bench.evaluation import results

Curve = list[tuple[int, float, float, float]]  # (delay or horizon in control steps, rate, low, high)


def rows_over_delay(rows: Sequence[results.Row]) -> list[results.Row]:
    """The curve over delay: s = max(d, 1) where it was run, else the smallest horizon of each delay."""
    smallest: dict[tuple, int] = {}
    for row in rows:
        key = (row.task, row.strategy, row.delay)
        smallest[key] = min(smallest.get(key, row.horizon), row.horizon)
    return [row for row in rows if row.horizon == smallest[row.task, row.strategy, row.delay]]


def mean_curve(rows: Sequence[results.Row], strategy: str, over: str = "delay") -> Curve:
    """Means over tasks with bootstrap intervals, over ``delay`` or ``horizon``; where some task is missing, none."""
    tasks, points = results.unique_values(rows, "task"), []
    for x in sorted(results.unique_values(rows, over)):
        by_task = {row.task: row for row in rows if row.strategy == strategy and getattr(row, over) == x}
        if len(by_task) == len(tasks):
            counts = tuple((round(row.solve_rate * row.episodes), row.episodes) for row in by_task.values())
            points.append((x, *mean_of_tasks(counts)))
    return points


@functools.cache  # table, picture, page and wandb all show it
def mean_of_tasks(counts: tuple[tuple[int, int], ...]) -> tuple[float, float, float]:
    """Mean rate with its interval from (solved, episodes) of each task."""
    mean, low, high = statistics.mean_interval([np.arange(episodes) < solved for solved, episodes in counts])
    return mean, max(0.0, low), min(1.0, high)


def task_curve(rows: Sequence[results.Row], task: str, strategy: str, over: str = "delay") -> Curve:
    """A task's solve rates with their Wilson intervals, over ``delay`` or ``horizon``."""
    own_rows = [row for row in rows if row.task == task and row.strategy == strategy]
    return sorted((getattr(row, over), row.solve_rate, row.ci_low, row.ci_high) for row in own_rows)
