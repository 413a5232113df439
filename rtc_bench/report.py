"""Curves and tables from the rows of a run."""

import pathlib
from collections.abc import Sequence
from typing import Any

from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import pictures, results, statistics


def default_rows(rows: Sequence[results.Row]) -> list[results.Row]:
    """The curve over delay: s = max(d, 1) where it was run, else the smallest horizon of each delay."""
    smallest: dict[tuple, int] = {}
    for row in rows:
        key = (row.task, row.strategy, row.delay)
        smallest[key] = min(smallest.get(key, row.horizon), row.horizon)
    return [row for row in rows if row.horizon == smallest[row.task, row.strategy, row.delay]]


def _unique(rows: Sequence[results.Row], name: str) -> list:
    return list(dict.fromkeys(getattr(row, name) for row in rows))


def mean_curve(rows: Sequence[results.Row], strategy: str) -> list[tuple[int, float, float, float]]:
    """(delay, mean over tasks, low, high); delays at which some task is missing are left out."""
    tasks = _unique(rows, "task")
    points = []
    for delay in sorted(_unique(rows, "delay")):
        here = {row.task: row for row in rows if row.strategy == strategy and row.delay == delay}
        if len(here) == len(tasks):
            rates, counts = [here[t].solve_rate for t in tasks], [here[t].episodes for t in tasks]
            points.append((delay, *statistics.stratified_interval(rates, counts)))
    return points


def _task_curve(rows: Sequence[results.Row], task: str, strategy: str) -> list[tuple[int, float, float, float]]:
    """(delay, solve rate, low, high)."""
    return sorted(
        (row.delay, row.solve_rate, row.ci_low, row.ci_high)
        for row in rows
        if row.task == task and row.strategy == strategy
    )


def _panel(axis: Any, lines: dict[str, list[tuple[int, float, float, float]]]) -> None:
    """One strategy's points after the other: rate over delay, in a band from low to high."""
    from matplotlib.ticker import MaxNLocator

    for place, (name, points) in enumerate(lines.items()):
        if not points:
            continue
        colour, marker, dash = pictures.style(place)
        delay, rate, low, high = zip(*points, strict=True)
        axis.fill_between(delay, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(delay, rate, color=colour, marker=marker, linestyle=dash, markersize=4.5, label=name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def curves(rows: Sequence[results.Row], path: pathlib.Path) -> None:
    """Save the solve rate over inference delay: the mean over tasks, and one panel per task."""
    rows = default_rows(rows)
    tasks, names = _unique(rows, "task"), _unique(rows, "strategy")
    titles = [*(["mean over tasks"] if len(tasks) > 1 else []), *tasks]
    figure, axes = pictures.panels(titles, width=3.4, height=2.9, head=0.7, sharex=True)
    for axis, title in zip(axes, titles, strict=True):
        _panel(
            axis,
            {name: _task_curve(rows, title, name) if title in tasks else mean_curve(rows, name) for name in names},
        )
    pictures.label_below(axes, "inference delay d (control steps)")
    drawn = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    labels = [name for name in names if name in drawn]
    figure.legend(
        [drawn[name] for name in labels], labels, loc="upper center", ncols=min(len(labels), 4), frameon=False
    )
    episodes = max((row.episodes for row in rows), default=0)
    figure.text(
        0.995, 0.005, f"{episodes} episodes a point; bands: 95 % intervals", ha="right", fontsize=7, color="0.35"
    )
    figure.tight_layout(rect=(0, 0.02, 1, 1 - 0.38 / figure.get_size_inches()[1]))
    pictures.save(figure, path)


def _cell(row: results.Row) -> str:
    return f"{row.solve_rate:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"


def lines(rows: Sequence[results.Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the summary: one per task and strategy, one column per delay; then the means over tasks."""
    rows = default_rows(rows)
    delays, tasks = sorted(_unique(rows, "delay")), _unique(rows, "task")
    found = {(row.task, row.strategy, row.delay): _cell(row) for row in rows}
    body = [
        [task, name, *(found.get((task, name, delay), "") for delay in delays)]
        for task in tasks
        for name in _unique(rows, "strategy")
    ]
    if len(tasks) > 1:
        for name in _unique(rows, "strategy"):
            means = {point[0]: f"{point[1]:.2f} [{point[2]:.2f}, {point[3]:.2f}]" for point in mean_curve(rows, name)}
            body.append(["mean", name, *(means.get(delay, "") for delay in delays)])
    return ["task", "strategy", *(f"d={delay}" for delay in delays)], body


def markdown(rows: Sequence[results.Row], origin: Sequence[str] = ()) -> str:
    """The curves and the summary as a Markdown page; ``origin`` are lines on what made it."""
    header, body = lines(rows)
    episodes, seeds = (", ".join(map(str, _unique(rows, name))) for name in ("episodes", "seed"))
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


def run(config: configs.ReportConfig) -> pathlib.Path:
    """Report a run folder again. Raises ConfigError if it holds no results."""
    table = pathlib.Path(config.run) / "results.csv"
    if not table.is_file():
        raise configs.ConfigError(
            f"{config.run}: no results.csv there; give the folder that a sweep printed at its end"
        )
    rows, folder = results.read(table), pathlib.Path(config.out or config.run)
    if not rows:
        raise configs.ConfigError(f"{table} has no rows yet; let the sweep finish a cell")
    write(rows, folder, results.origin(pathlib.Path(config.run)))
    show(rows)
    print(f"README.md and curves.png are in {folder}")
    return folder


def write(rows: Sequence[results.Row], folder: pathlib.Path, origin: Sequence[str] = ()) -> None:
    """curves.png and README.md into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    curves(rows, folder / "curves.png")
    checkpoint.write_whole(folder / "README.md", markdown(rows, origin).encode())
