"""From rows to what is told of them: the curve over delay, the mean over tasks, and tables of both."""

from collections.abc import Sequence

import numpy as np

from rtc_bench import results, statistics

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
            mean, low, high = statistics.mean_interval([_episodes(row) for row in here.values()])
            points.append((place, mean, max(0.0, low), min(1.0, high)))
    return points


def _episodes(row: results.Row) -> np.ndarray:
    """One for each episode that was solved, zero for each other [E]."""
    return (np.arange(row.episodes) < round(row.solve_rate * row.episodes)).astype(np.float32)


def task_curve(rows: Sequence[results.Row], task: str, strategy: str, over: str = "delay") -> Curve:
    """A task's solve rates with their Wilson intervals, over ``delay`` or ``horizon``."""
    here = [row for row in rows if row.task == task and row.strategy == strategy]
    return sorted((getattr(row, over), row.solve_rate, row.ci_low, row.ci_high) for row in here)


def _cell(row: results.Row) -> str:
    return f"{row.solve_rate:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"


def lines(rows: Sequence[results.Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the summary: one per task and strategy, one column per delay; then the means over tasks."""
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
    return ["task", "strategy", *(f"d={delay}" for delay in delays)], body


def markdown(rows: Sequence[results.Row], origin: Sequence[str] = ()) -> str:
    """The curves and the summary as a Markdown page; ``origin`` are lines on what made it."""
    header, body = lines(rows)
    episodes, seeds = (", ".join(map(str, unique(rows, name))) for name in ("episodes", "seed"))
    told = (
        f"Solve rate with its 95 % interval, {episodes} episodes a cell, s = max(d, 1) where it was run, seed {seeds}."
    )
    table = ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *body)]
    made = ["Made by:", "", *(f"- {line}" for line in origin), ""] if origin else []
    return "\n".join(
        ["# Solve rate over inference delay", "", told, "", *made, "![curves](curves.png)", "", *table, ""]
    )


def show(rows: Sequence[results.Row]) -> None:
    """Print the summary as a table; the best rate of each task and delay is bold."""
    import rich.box
    import rich.console
    import rich.table

    header, body = lines(rows)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title="solve rate [95 % interval]", title_style="bold")
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    best: dict[tuple[str, int], str] = {}
    for line in body:
        for number, text in enumerate(line[2:]):
            if text:
                best[line[0], number] = max(best.get((line[0], number), ""), text.split()[0])
    for number, line in enumerate(body):
        shown = [
            f"[bold]{text.replace('[', chr(92) + '[')}[/]"
            if text and text.split()[0] == best[line[0], place]
            else text.replace("[", r"\[")
            for place, text in enumerate(line[2:])
        ]
        last = number + 1 == len(body) or body[number + 1][0] != line[0]
        first = number == 0 or body[number - 1][0] != line[0]
        table.add_row(line[0] if first else "", line[1], *shown, end_section=last)
    console = rich.console.Console()
    width = 24 + 26 + 20 * (len(header) - 2)
    if console.width < width:
        console = rich.console.Console(width=width)
    console.print(table)
