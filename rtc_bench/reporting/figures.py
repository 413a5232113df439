"""Pictures of results: solve rates over delay and over execution horizon, and how much actions jump."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import plotting
from rtc_bench.evaluation import results

MEAN_TITLE = "mean over tasks"
LEGEND_ENTRY_INCHES = 2.2  # the longest names of strategies


class Panel(NamedTuple):
    """One diagram: a curve for each strategy, in the strategies' order."""

    title: str
    curves: dict[str, success_curves.Curve]


class Figure(NamedTuple):
    """Diagrams that belong together."""

    panels: list[Panel]
    x_label: str
    y_label: str
    note: str
    percent: bool = True


def rates_over_delay(rows: Sequence[results.Row]) -> Figure:
    """The solve rate over inference delay: the mean over tasks, and one panel per task."""
    panels = _panels(success_curves.rows_over_delay(rows), "delay")
    return Figure(panels, "inference delay d (control steps)", "solve rate", _note(rows))


def rates_over_horizon(rows: Sequence[results.Row]) -> Figure | None:
    """The same over the execution horizon, at the smallest delay of those with the most horizons; None without any."""
    delays_run = sorted(results.unique_values(rows, "delay"))
    horizons_run = {d: {row.horizon for row in rows if row.delay == d} for d in delays_run}
    # d = 0 hides what the horizon costs
    delay = max(horizons_run, key=lambda d: (len(horizons_run[d]) > 1, min(d, 1), len(horizons_run[d]), -d))
    if len(horizons_run[delay]) < 2:
        return None
    panels = _panels([row for row in rows if row.delay == delay], "horizon")
    return Figure(panels, f"execution horizon s (at d = {delay})", "solve rate", _note(rows))


def boundary_changes(rows: Sequence[results.Row]) -> Figure:
    """How much consecutive actions differ where a newer chunk takes over, mean over tasks."""
    curves: dict[str, success_curves.Curve] = {}
    rows = success_curves.rows_over_delay(rows)
    tasks = results.unique_values(rows, "task")
    for name in results.unique_values(rows, "strategy"):
        own_rows = [row for row in rows if row.strategy == name]
        curves[name] = []
        for delay in sorted(results.unique_values(own_rows, "delay")):
            changes = [row.boundary_change for row in own_rows if row.delay == delay]
            if len(changes) == len(tasks):
                mean = sum(changes) / len(changes)
                curves[name].append((delay, mean, mean, mean))
    panel = Panel("action change at chunk boundaries", curves)
    return Figure([panel], "inference delay d (control steps)", "mean |difference| of actions", "", percent=False)


def differences_over_delay(
    comparisons: Sequence[paired_comparison.Comparison], strategies: Sequence[str]
) -> Figure | None:
    """Mean differences to the baseline over delay, in the looks that ``strategies`` have elsewhere; None without any."""
    by_delay = [(comparison.delay, comparison) for comparison in comparisons if comparison.delay is not None]
    if not by_delay:
        return None
    curves: dict[str, success_curves.Curve] = {name: [] for name in strategies}
    for delay, comparison in by_delay:
        curves[comparison.strategy].append((delay, comparison.difference, comparison.low, comparison.high))
    baseline = comparisons[0].baseline
    curves[baseline] = [(delay, 0.0, 0.0, 0.0) for delay in sorted({delay for delay, _ in by_delay})]
    panel = Panel(f"mean difference to {baseline}", curves)
    return Figure([panel], "inference delay d (control steps)", "solve rate less the baseline's", "", percent=False)


def _panels(rows: Sequence[results.Row], over: str) -> list[Panel]:
    tasks, names = results.unique_values(rows, "task"), results.unique_values(rows, "strategy")
    means = {name: success_curves.mean_curve(rows, name, over) for name in names}
    panels = [
        Panel(task, {name: success_curves.task_curve(rows, task, name, over) for name in names}) for task in tasks
    ]
    return [Panel(MEAN_TITLE, means), *panels] if len(tasks) > 1 else panels


def _note(rows: Sequence[results.Row]) -> str:
    return f"{episode_counts(rows)} episodes a point; bands: 95 % intervals"


def episode_counts(rows: Sequence[results.Row]) -> str:
    """How many episodes a cell has: a number, or from ... to ..."""
    counts = sorted({row.episodes for row in rows})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def save(figure: Figure, *paths: pathlib.Path) -> None:
    """All panels as one picture, in each of the files' formats (PNG, PDF, ...)."""
    alone = len(figure.panels) == 1
    canvas, axes = _draw(figure, width=5.6 if alone else 3.4, height=3.1 if alone else 2.9, head=0.0 if alone else 0.7)
    plotting.label_x(axes, figure.x_label)
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    width, height = canvas.get_size_inches()
    columns = min(len(lines), int(width / LEGEND_ENTRY_INCHES))
    legend_inches = 0.0 if alone else 0.16 + 0.22 * -(-len(lines) // columns)
    if alone:  # it is too narrow to have them above
        axes[0].legend(lines.values(), lines.keys(), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    else:
        canvas.legend(lines.values(), lines.keys(), loc="upper center", ncols=columns, frameon=False)
    canvas.text(0.995, 0.005, figure.note, ha="right", fontsize=7, color="0.35")
    canvas.tight_layout(rect=(0, 0.02, 1, 1 - legend_inches / height))
    plotting.save(canvas, *paths)


def svg(figure: Figure, panel: Panel, *, large: bool, legend: bool) -> str:
    """One panel as SVG, for a page that lays panels out by the width of the screen."""
    canvas, (axis,) = _draw(figure._replace(panels=[panel]), width=4.4 if large else 3.2, height=3.3 if large else 2.5)
    axis.set_xlabel(figure.x_label)
    if legend:
        axis.legend(frameon=False, fontsize=8)
    canvas.tight_layout()
    return plotting.svg(canvas)


def _draw(figure: Figure, **size: float) -> tuple[Any, list[Any]]:
    from matplotlib.ticker import MaxNLocator

    looks = {"y_label": figure.y_label, "percent": figure.percent, "sharex": True}
    canvas, axes = plotting.panels([panel.title for panel in figure.panels], **size, **looks)
    for axis, panel in zip(axes, figure.panels, strict=True):
        for number, (name, points) in enumerate(panel.curves.items()):
            colour, marker, dash = plotting.style(number)
            x, y, low, high = zip(*points, strict=True) if points else ((),) * 4  # without points, for the legend
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(x, y, color=colour, marker=marker, linestyle=dash, markersize=4.5, label=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return canvas, axes
