"""From rows to what is told of them: the curve over delay, the mean over tasks, and tables of both."""

import functools
from collections.abc import Sequence

import numpy as np

from rtc_bench import results, statistics, tables

Curve = list[tuple[int, float, float, float]]  # (delay or horizon in control steps, rate, low, high)


def default_rows(rows: Sequence[results.Row]) -> list[results.Row]:
    """The curve over delay: s = max(d, 1) where it was run, else the smallest horizon of each delay."""
    smallest: dict[tuple, int] = {}
    for row in rows:
        key = (row.task, row.strategy, row.delay)
        smallest[key] = min(smallest.get(key, row.horizon), row.horizon)
    return [row for row in rows if row.horizon == smallest[row.task, row.strategy, row.delay]]


def unique(rows: Sequence[results.Row], name: str) -> list:
    """The values of a column, in their order."""
    return list(dict.fromkeys(getattr(row, name) for row in rows))


def mean_curve(rows: Sequence[results.Row], strategy: str, over: str = "delay") -> Curve:
    """Means over tasks with bootstrap intervals, over ``delay`` or ``horizon``; where some task is missing, none."""
    tasks, points = unique(rows, "task"), []
    for place in sorted(unique(rows, over)):
        here = {row.task: row for row in rows if row.strategy == strategy and getattr(row, over) == place}
        if len(here) == len(tasks):
            counts = tuple((round(row.solve_rate * row.episodes), row.episodes) for row in here.values())
            points.append((place, *_mean(counts)))
    return points


@functools.cache  # table, picture, page and wandb all show it
def _mean(counts: tuple[tuple[int, int], ...]) -> tuple[float, float, float]:
    """Mean rate with its interval from (solved, episodes) of each task."""
    mean, low, high = statistics.mean_interval([np.arange(episodes) < solved for solved, episodes in counts])
    return mean, max(0.0, low), min(1.0, high)


def task_curve(rows: Sequence[results.Row], task: str, strategy: str, over: str = "delay") -> Curve:
    """A task's solve rates with their Wilson intervals, over ``delay`` or ``horizon``."""
    here = [row for row in rows if row.task == task and row.strategy == strategy]
    return sorted((getattr(row, over), row.solve_rate, row.ci_low, row.ci_high) for row in here)


def _cell(row: results.Row) -> str:
    return f"{row.solve_rate:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"


def table(rows: Sequence[results.Row]) -> tables.Table:
    """One line per task and strategy, one column per delay; then the means over tasks."""
    rows = default_rows(rows)
    delays, tasks = sorted(unique(rows, "delay")), unique(rows, "task")
    found = {(row.task, row.strategy, row.delay): _cell(row) for row in rows}
    body = [
        [task, name, *(found.get((task, name, delay), "") for delay in delays)]
        for task in tasks
        for name in unique(rows, "strategy")
    ]
    if len(tasks) > 1:
        for name in unique(rows, "strategy"):
            means = {point[0]: f"{point[1]:.2f} [{point[2]:.2f}, {point[3]:.2f}]" for point in mean_curve(rows, name)}
            body.append(["mean", name, *(means.get(delay, "") for delay in delays)])
    return tables.Table(["task", "strategy", *(f"d={delay}" for delay in delays)], body, lead=2)


def markdown(rows: Sequence[results.Row], origin: Sequence[str] = ()) -> str:
    """The curves and the summary as a Markdown page; ``origin`` are lines on what made it."""
    episodes, seeds = (", ".join(map(str, unique(rows, name))) for name in ("episodes", "seed"))
    told = (
        f"Solve rate with its 95 % interval, {episodes} episodes a cell, s = max(d, 1) where it was run, seed {seeds}."
    )
    made = ["Made by:", "", *(f"- {line}" for line in origin), ""] if origin else []
    head = ["# Solve rate over inference delay", "", told, "", *made, "![curves](curves.png)", ""]
    return "\n".join([*head, *tables.markdown(table(rows)), ""])


def show(rows: Sequence[results.Row]) -> None:
    """Print the summary as a table; the best rate of each task and delay is bold."""
    found = table(rows)
    best: dict[tuple[str, int], str] = {}
    places = [(number, place) for number in range(len(found.lines)) for place in range(found.lead, len(found.header))]

    def rate(number: int, place: int) -> str:
        return found.lines[number][place].partition(" ")[0]

    for number, place in places:
        task = found.lines[number][0]
        best[task, place] = max(best.get((task, place), ""), rate(number, place))
    bold = {(number, place) for number, place in places if rate(number, place) == best[found.lines[number][0], place]}
    tables.show("solve rate [95 % interval]", found, bold)
