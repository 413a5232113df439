"""Learning curves of experts: their logs as one table and one picture."""

import pathlib
from collections.abc import Sequence
from typing import Any

from rtc_bench.common import plotting, tables
from rtc_bench.policies import checkpoint

LogEntry = dict[str, Any]  # task, seed, steps (control steps so far), start_solve_rate, solve_rate (from any start)


def read_logs(folder: pathlib.Path | str, task: str) -> list[LogEntry]:
    """The log of every seed of a task in a folder of experts."""
    logs = {int(log.stem.removeprefix("seed")): log for log in (pathlib.Path(folder) / task).glob("seed*.csv")}
    return [{"task": task, "seed": seed, **row} for seed in sorted(logs) for row in tables.read(logs[seed])]


def read_evaluations(folder: pathlib.Path | str, task: str) -> list[LogEntry]:
    """What the finished experts of a task solve without exploration: their headers."""
    paths = sorted((pathlib.Path(folder) / task).glob("seed*.safetensors"))
    return [checkpoint.read_header(path) for path in paths]


def plot(points: Sequence[LogEntry], evaluations: Sequence[LogEntry], path: pathlib.Path) -> None:
    """Solve rate from the start, while exploring, over control steps: a panel a task, a line a seed.

    Crosses show ``evaluations`` without exploration.
    """
    tasks = list(dict.fromkeys(point["task"] for point in points))
    figure, axes = plotting.panels(tasks, width=3.2, height=2.4)
    for axis, task in zip(axes, tasks, strict=True):
        for seed in sorted({int(point["seed"]) for point in points if point["task"] == task}):
            colour, _, dash = plotting.style(seed)
            log, finals = (_of(records, task, seed) for records in (points, evaluations))
            axis.plot(_millions(log), _column(log, "start_solve_rate"), color=colour, ls=dash, label=f"seed {seed}")
            if finals:  # an empty line that is not clipped has no extent, and the layout fails
                axis.plot(_millions(finals), _column(finals, "solve_rate"), "x", color=colour, clip_on=False)
        axis.set_xlim(left=0)
    plotting.label_x(axes, "million control steps")
    most = max(axes, key=lambda axis: len(axis.get_lines()))
    most.legend(fontsize=7, frameon=False, loc="lower right")
    figure.tight_layout()
    plotting.save(figure, path)


def _of(points: Sequence[LogEntry], task: str, seed: int) -> list[LogEntry]:
    return [point for point in points if point["task"] == task and int(point["seed"]) == seed]


def _column(points: Sequence[LogEntry], name: str) -> list[float]:
    return [float(point[name]) for point in points]


def _millions(points: Sequence[LogEntry]) -> list[float]:
    return [steps / 1e6 for steps in _column(points, "steps")]
