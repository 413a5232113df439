"""Pictures of results: solve rates over delay and over execution horizon, and how much actions jump."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from rtc_bench import comparison, pictures, results, summary

MEAN = "mean over tasks"


class Panel(NamedTuple):
    """One diagram: a curve for each strategy, in the strategies' order."""

    title: str
    curves: dict[str, summary.Curve]


class Figure(NamedTuple):
    """Diagrams that belong together."""

    panels: list[Panel]
    below: str  # label of the horizontal axis
    beside: str  # label of the vertical axis
    note: str
    percent: bool = True


def delays(rows: Sequence[results.Row]) -> Figure:
    """The solve rate over inference delay: the mean over tasks, and one panel per task."""
    panels = _panels(summary.default_rows(rows), "delay")
    return Figure(panels, "inference delay d (control steps)", "solve rate", _note(rows))


def horizons(rows: Sequence[results.Row]) -> Figure | None:
    """The same over the execution horizon, at the smallest delay of those with the most horizons; None without any."""
    tried = {d: {row.horizon for row in rows if row.delay == d} for d in sorted(summary.unique(rows, "delay"))}
    # d = 0 hides what the horizon costs
    delay = max(tried, key=lambda d: (len(tried[d]) > 1, min(d, 1), len(tried[d]), -d))
    if len(tried[delay]) < 2:
        return None
    panels = _panels([row for row in rows if row.delay == delay], "horizon")
    return Figure(panels, f"execution horizon s (at d = {delay})", "solve rate", _note(rows))


def jumps(rows: Sequence[results.Row]) -> Figure:
    """How much consecutive actions differ where a newer chunk takes over, mean over tasks."""
    curves: dict[str, summary.Curve] = {}
    rows = summary.default_rows(rows)
    tasks = summary.unique(rows, "task")
    for name in summary.unique(rows, "strategy"):
        here = [row for row in rows if row.strategy == name]
        curves[name] = []
        for delay in sorted(summary.unique(here, "delay")):
            changes = [row.boundary_change for row in here if row.delay == delay]
            if len(changes) == len(tasks):
                mean = sum(changes) / len(changes)
                curves[name].append((delay, mean, mean, mean))
    panel = Panel("action change at chunk boundaries", curves)
    return Figure([panel], "inference delay d (control steps)", "mean |difference| of actions", "", percent=False)


def differences(found: Sequence[comparison.Comparison], strategies: Sequence[str]) -> Figure | None:
    """Mean differences to the baseline over delay, in the looks that ``strategies`` have elsewhere; None without any."""
    single = [(one.delay, one) for one in found if one.delay is not None]
    if not single:
        return None
    curves: dict[str, summary.Curve] = {name: [] for name in strategies}
    for delay, one in single:
        curves[one.strategy].append((delay, one.difference, one.low, one.high))
    baseline = found[0].baseline
    curves[baseline] = [(delay, 0.0, 0.0, 0.0) for delay in sorted({delay for delay, _ in single})]
    panel = Panel(f"mean difference to {baseline}", curves)
    return Figure([panel], "inference delay d (control steps)", "solve rate less the baseline's", "", percent=False)


def _panels(rows: Sequence[results.Row], over: str) -> list[Panel]:
    tasks, names = summary.unique(rows, "task"), summary.unique(rows, "strategy")
    means = {name: summary.mean_curve(rows, name, over) for name in names}
    each = [Panel(task, {name: summary.task_curve(rows, task, name, over) for name in names}) for task in tasks]
    return [Panel(MEAN, means), *each] if len(tasks) > 1 else each


def _note(rows: Sequence[results.Row]) -> str:
    return f"{counts(rows)} episodes a point; bands: 95 % intervals"


def counts(rows: Sequence[results.Row]) -> str:
    """How many episodes a cell has: a number, or from ... to ..."""
    found = sorted({row.episodes for row in rows})
    return " to ".join(map(str, dict.fromkeys((found[0], found[-1]))))


def save(figure: Figure, *paths: pathlib.Path) -> None:
    """All panels as one picture, in each of the files' formats (PNG, PDF, ...)."""
    alone = len(figure.panels) == 1
    drawn, axes = _draw(figure, width=5.6 if alone else 3.4, height=3.1 if alone else 2.9, head=0.0 if alone else 0.7)
    pictures.label_below(axes, figure.below)
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    if alone:  # it is too narrow to have them above
        axes[0].legend(lines.values(), lines.keys(), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    else:
        drawn.legend(lines.values(), lines.keys(), loc="upper center", ncols=min(len(lines), 4), frameon=False)
    drawn.text(0.995, 0.005, figure.note, ha="right", fontsize=7, color="0.35")
    drawn.tight_layout(rect=(0, 0.02, 1, 1.0 if alone else 1 - 0.38 / drawn.get_size_inches()[1]))
    pictures.save(drawn, *paths)


def svg(figure: Figure, panel: Panel, *, large: bool, legend: bool) -> str:
    """One panel as SVG, for a page that lays panels out by the width of the screen."""
    drawn, (axis,) = _draw(figure._replace(panels=[panel]), width=4.4 if large else 3.2, height=3.3 if large else 2.5)
    axis.set_xlabel(figure.below)
    if legend:
        axis.legend(frameon=False, fontsize=8)
    drawn.tight_layout()
    return pictures.svg(drawn)


def _draw(figure: Figure, **size: float) -> tuple[Any, list[Any]]:
    from matplotlib.ticker import MaxNLocator

    looks = {"beside": figure.beside, "percent": figure.percent, "sharex": True}
    drawn, axes = pictures.panels([panel.title for panel in figure.panels], **size, **looks)
    for axis, panel in zip(axes, figure.panels, strict=True):
        for place, (name, points) in enumerate(panel.curves.items()):
            colour, marker, dash = pictures.style(place)
            x, y, low, high = zip(*points, strict=True) if points else ((),) * 4  # without points, for the legend
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(x, y, color=colour, marker=marker, linestyle=dash, markersize=4.5, label=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn, axes
