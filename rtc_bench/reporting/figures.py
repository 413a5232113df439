"""Pictures of results: solve rates over delay and over execution horizon, and how much actions jump."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import plotting
from rtc_bench.evaluation import results

MEAN_TITLE = "mean over tasks"
LEGEND_ENTRY_INCHES = 2.2  # the longest names of strategies
HANDLES = {False: 2.0, True: 4.0}  # crowded or not -> length of a legend's lines, in letters, which show all of a dash
LETTER_INCHES = 10 / 72
LEGEND_LINE_INCHES = 0.24
CROWD = 8  # strategies; more are drawn larger, without bands, each panel with its own vertical axis


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
    left_out: frozenset[str] = frozenset()  # strategies that have a look, and are not drawn

    @property
    def is_crowded(self) -> bool:
        """More strategies are drawn than can be told apart in a small panel."""
        return len(self.panels[0].curves.keys() - self.left_out) > CROWD


def rates_over_delay(rows: Sequence[results.Row]) -> Figure:
    """The solve rate over inference delay: the mean over tasks, and one panel per task."""
    panels = _panels(success_curves.rows_over_delay(rows), "delay")
    return _noted(Figure(panels, "inference delay d (control steps)", "solve rate", ""), rows)


def rates_over_horizon(rows: Sequence[results.Row]) -> Figure | None:
    """The same over the execution horizon, at the smallest delay of those with the most horizons; None without any."""
    delays_run = sorted(results.unique_values(rows, "delay"))
    horizons_run = {d: {row.horizon for row in rows if row.delay == d} for d in delays_run}
    # d = 0 hides what the horizon costs
    delay = max(horizons_run, key=lambda d: (len(horizons_run[d]) > 1, min(d, 1), len(horizons_run[d]), -d))
    if len(horizons_run[delay]) < 2:
        return None
    rows = [row for row in rows if row.delay == delay]
    horizons_by_name = {name: {row.horizon for row in rows if row.strategy == name} for name in _names(rows)}
    single = frozenset(name for name, horizons in horizons_by_name.items() if len(horizons) == 1)
    label = f"execution horizon s (at d = {delay})"
    return _noted(Figure(_panels(rows, "horizon"), label, "solve rate", "", left_out=single), rows)


def boundary_changes(rows: Sequence[results.Row]) -> Figure:
    """How much consecutive actions differ where a newer chunk takes over, mean over tasks."""
    curves: dict[str, success_curves.Curve] = {}
    rows = success_curves.rows_over_delay(rows)
    tasks = results.unique_values(rows, "task")
    for name in _names(rows):
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


def _names(rows: Sequence[results.Row]) -> list[str]:
    return results.unique_values(rows, "strategy")


def _panels(rows: Sequence[results.Row], over: str) -> list[Panel]:
    tasks, names = results.unique_values(rows, "task"), _names(rows)
    means = {name: success_curves.mean_curve(rows, name, over) for name in names}
    panels = [
        Panel(task, {name: success_curves.task_curve(rows, task, name, over) for name in names}) for task in tasks
    ]
    return [Panel(MEAN_TITLE, means), *panels] if len(tasks) > 1 else panels


def _noted(figure: Figure, rows: Sequence[results.Row]) -> Figure:
    crowded = "95 % intervals are in the tables; each panel has its own vertical axis"
    note = f"{episode_counts(rows)} episodes a point; {crowded if figure.is_crowded else 'bands: 95 % intervals'}"
    if figure.left_out:
        note += f"; {len(figure.left_out)} strategies that were run at one horizon only are left out"
    return figure._replace(note=note)


def episode_counts(rows: Sequence[results.Row]) -> str:
    """How many episodes a cell has: a number, or from ... to ..."""
    counts = sorted({row.episodes for row in rows})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def save(figure: Figure, *paths: pathlib.Path) -> None:
    """All panels as one picture, in each of the files' formats (PNG, PDF, ...)."""
    alone, crowded = len(figure.panels) == 1, figure.is_crowded
    if alone:
        names = len(figure.panels[0].curves.keys() - figure.left_out)
        size = {"width": 8.4 if crowded else 5.6, "height": max(3.1, 0.4 + LEGEND_LINE_INCHES * names)}
    else:
        size = {"width": 4.4, "height": 4.2, "head": 0.9} if crowded else {"width": 3.4, "height": 2.9, "head": 0.7}
    canvas, axes = _draw(figure, **size)
    plotting.label_x(axes, figure.x_label)
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    width, height = canvas.get_size_inches()
    entry = LEGEND_ENTRY_INCHES + LETTER_INCHES * (HANDLES[crowded] - HANDLES[False])
    columns = min(len(lines), int(width / entry))
    legend_inches = 0.0 if alone else 0.16 + 0.22 * -(-len(lines) // columns)
    looks = {"frameon": False, "handlelength": HANDLES[crowded]}
    if alone:  # it is too narrow to have them above
        axes[0].legend(lines.values(), lines.keys(), loc="center left", bbox_to_anchor=(1.01, 0.5), **looks)
    else:
        canvas.legend(lines.values(), lines.keys(), loc="upper center", ncols=columns, **looks)
    canvas.text(0.995, 0.005, figure.note, ha="right", fontsize=7, color="0.35")
    canvas.tight_layout(rect=(0, 0.02, 1, 1 - legend_inches / height))
    plotting.save(canvas, *paths)


def svg(figure: Figure, panel: Panel, *, large: bool, legend: bool) -> str:
    """One panel as SVG, for a page that lays panels out by the width of the screen."""
    width, height = (4.4, 3.3) if large else (3.2, 2.5)
    columns = 3
    below = legend and figure.is_crowded  # there is no room in the panel
    legend_inches = 0.2 + 0.17 * -(-len(panel.curves) // columns) if below else 0.0
    canvas, (axis,) = _draw(figure._replace(panels=[panel]), width=width + below, height=height + legend_inches)
    axis.set_xlabel(figure.x_label)
    if below:
        looks = {"fontsize": 7, "handlelength": 3.5, "columnspacing": 1.0}
        axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=columns, **looks)
    elif legend:
        axis.legend(frameon=False, fontsize=8)
    canvas.tight_layout()
    return plotting.svg(canvas)


def _narrow_limits(panel: Panel) -> tuple[float, float]:
    """Of the vertical axis, with all rates between them, and 30 % at least."""
    rates = [point[1] for points in panel.curves.values() for point in points] or [0.0]
    low, high = math.floor(10 * min(rates)) / 10, math.ceil(10 * max(rates)) / 10
    return min(low, high - 0.3) - 0.02, high + 0.02


def _draw(figure: Figure, **size: float) -> tuple[Any, list[Any]]:
    from matplotlib.ticker import MaxNLocator

    crowded = figure.is_crowded
    looks = {"y_label": figure.y_label, "percent": figure.percent, "sharex": True, "sharey": not crowded}
    canvas, axes = plotting.panels([panel.title for panel in figure.panels], **size, **looks)
    for axis, panel in zip(axes, figure.panels, strict=True):
        for number, (name, points) in enumerate(panel.curves.items()):
            if name in figure.left_out:
                continue
            colour, marker, dash = plotting.style(number)
            x, y, low, high = zip(*points, strict=True) if points else ((),) * 4  # without points, for the legend
            if not crowded:
                axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            width = 1.2 if crowded else 1.5
            line = {"color": colour, "marker": marker, "markersize": 4.5, "linestyle": dash, "linewidth": width}
            axis.plot(x, y, label=name, **line)
        if crowded and figure.percent:
            axis.set_ylim(*_narrow_limits(panel))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return canvas, axes
