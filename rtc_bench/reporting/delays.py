"""Delay as it is: what a report shows of runs whose delays vary or are misestimated, and who executed which chunk when."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtc_bench import policies
from rtc_bench.analysis import delay_scenarios
from rtc_bench.common import errors, files, plotting, tables
from rtc_bench.evaluation import results, run_folder, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.reporting import figures
from rtc_bench.strategies import base

STEPS_SHOWN = 32  # control steps


class Chunk(NamedTuple):
    """A chunk's way, in control steps."""

    asked: int
    arrival: int  # first step that it can act at
    executed: list[int]  # steps at which its actions were executed


class Timeline(NamedTuple):
    """An episode's chunks in turn, the one that it began with first."""

    chunks: list[Chunk]
    underruns: list[int]  # steps
    length: int


def timeline_of(delays: Sequence[int], *, horizon: int, prediction_horizon: int, length: int) -> Timeline:
    """From the control steps that its requests took; s = ``horizon``, H = ``prediction_horizon``.

    For strategies whose chunks begin at their request, see ``evaluation.execution.timeline``.
    """
    chunks, asked = [Chunk(0, 0, [])], 0
    underruns: list[int] = []
    acting = chunks[0]
    for delay in delays:
        chunk = Chunk(asked, asked + delay, [])
        chunks.append(chunk)
        end = asked + max(delay, horizon)
        for step in range(asked, min(end, length)):
            acting = chunk if step >= chunk.arrival else acting
            here = acting.executed if step < acting.asked + prediction_horizon else underruns
            here.append(step)
        acting, asked = chunk, end
        if asked >= length:
            break
    return Timeline(chunks, underruns, length)


def save_timelines(timelines: dict[str, Timeline], *paths: pathlib.Path) -> None:
    """A panel for each title: a line a chunk, thin while it is inferred, thick while its actions are executed."""
    from matplotlib.ticker import MaxNLocator

    shown = max(min(timeline.length, STEPS_SHOWN) for timeline in timelines.values())
    count = max(sum(chunk.asked < shown for chunk in timeline.chunks) for timeline in timelines.values())
    size = {"width": 9.0 / min(4, len(timelines)) + 1.5, "height": 1.4 + 0.09 * count}
    canvas, axes = plotting.panels(list(timelines), **size, y_label="chunk", percent=False)
    for axis, timeline in zip(axes, timelines.values(), strict=True):
        for number, chunk in enumerate(timeline.chunks):
            colour = plotting.style(number % 2)[0]
            axis.broken_barh([(chunk.asked, chunk.arrival - chunk.asked)], (number - 0.12, 0.24), color="0.6")
            spans = [(step, 1) for step in chunk.executed]
            axis.broken_barh(spans, (number - 0.4, 0.8), color=colour)
        for step in timeline.underruns:
            axis.axvspan(step, step + 1, color="#D55E00", alpha=0.5, linewidth=0)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlim=(0, shown), ylim=(count - 0.4, -0.6))
    plotting.label_x(axes, "control step")
    note = "thin: inference; thick: the chunk's actions are executed; red: no chunk is left (underrun)"
    canvas.text(0.995, 0.005, note, ha="right", fontsize=7, color="0.35")
    canvas.tight_layout(rect=(0, 0.03, 1, 1))
    plotting.save(canvas, *paths)


class DelaySection(NamedTuple):
    """A table, diagrams over delay, and the timeline of one episode."""

    table: tables.Table
    figures: list[figures.Figure]
    timeline: pathlib.Path | None  # PNG
    caption: str


def section(scenarios: Sequence[run_folder.LoadedRuns], folder: pathlib.Path) -> DelaySection | None:
    """Of runs with a delay model or estimate each; delays.csv, delays.md and pictures go to ``folder``.

    None where the delay is constant and told throughout.
    """
    varying = [runs for runs in scenarios if any(_recorded(runs).values())]
    if not varying and len(scenarios) == 1:
        return None
    summaries = _comparable(delay_scenarios.summarise(scenarios))
    tables.write([{"scenario": item.scenario, **vars(item)} for item in summaries], folder / "delays.csv")
    drawings = [
        _figure("solve rate over p95 of delay", delay_scenarios.over_p95(summaries), "p95 of delay (control steps)")
    ]
    for (model, delay), curves in delay_scenarios.over_misestimate(summaries).items():
        title = f"misled: {model}, d = {delay}"
        drawings.append(_figure(title, curves, "told too many (control steps)"))
    for number, figure in enumerate(drawings, start=1):
        figures.save(figure, folder / f"delays_{number}.png", folder / f"delays_{number}.pdf")
    timeline, caption = _timeline(varying, folder / "timeline.png")
    table, pictures = _table(summaries), [f"delays_{number}.png" for number in range(1, len(drawings) + 1)]
    pictures += ["timeline.png"] if timeline else []
    text = ["# Delay as it is", "", *tables.markdown(table), "", *(f"![]({name})\n" for name in pictures), caption, ""]
    files.write_whole(folder / "delays.md", "\n".join(text).encode())
    return DelaySection(table, drawings, timeline, caption)


def _comparable(summaries: list[delay_scenarios.ScenarioRate]) -> list[delay_scenarios.ScenarioRate]:
    """Of delays that all scenarios have, and strategies that more than one has; all of them where that leaves nothing."""
    scenarios_by_delay: dict[int, set[str]] = {}
    scenarios_by_strategy: dict[str, set[str]] = {}
    for item in summaries:
        scenarios_by_delay.setdefault(item.delay, set()).add(item.scenario)
        scenarios_by_strategy.setdefault(item.strategy, set()).add(item.scenario)
    count = len({item.scenario for item in summaries})
    kept = [
        item
        for item in summaries
        if len(scenarios_by_delay[item.delay]) == count and len(scenarios_by_strategy[item.strategy]) >= min(2, count)
    ]
    return kept or summaries


def _figure(title: str, curves: dict, x_label: str) -> figures.Figure:
    return figures.Figure([figures.Panel(title, curves)], x_label, "solve rate", "bands: 95 % intervals")


def _table(summaries: Sequence[delay_scenarios.ScenarioRate]) -> tables.Table:
    header = ("delay", "strategy", "d", "solve rate [95 %]", "delay p50, p95, p99", "underruns", "misestimates")
    lines = []
    for item in sorted(summaries, key=lambda item: (item.delay, -item.solve_rate)):
        percentiles = (item.delay_p50, item.delay_p95, item.delay_p99)
        met = ", ".join("?" if value is None else f"{value:.3g}" for value in percentiles)
        shares = ["?" if v is None else f"{v:.1%}" for v in (item.underrun_share, item.misestimate_share)]
        smoothness = ["?" if v is None else f"{v:.3f}" for v in (item.boundary_change, item.boundary_jerk)]
        rate = f"{item.solve_rate:.2f} [{item.low:.2f}, {item.high:.2f}]"
        lines.append([item.scenario, item.strategy, str(item.delay), rate, met, *shares, *smoothness])
    order = {scenario: number for number, scenario in enumerate(dict.fromkeys(item.scenario for item in summaries))}
    lines.sort(key=lambda line: (order[line[0]], int(line[2])))
    return tables.Table((*header, "jump at boundaries", "jerk there"), lines, lead=2)


def _recorded(runs: run_folder.LoadedRuns) -> dict[results.Cell, bool]:
    """Whether delays were recorded, cell by cell."""
    return {cell: any(own["delays"]) for cell, own in runs.episodes.items()}


def _timeline(varying: Sequence[run_folder.LoadedRuns], path: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """Of an episode that ran out of chunks early and often; and what it shows, or why there is none."""
    drawn: list[tuple[int, Timeline, str, str]] = []
    for runs in varying:
        settings = runs.manifests[0]["settings"]
        try:
            strategies = sweep_inputs.build_strategies(evaluation_settings.SweepConfig.from_mapping(settings))
        except errors.ConfigError:
            continue  # those that were run are not here any more
        scenario = delay_scenarios.describe(settings)[0]
        for (task, name, delay, horizon), own in runs.episodes.items():
            if not any(own["delays"]) or strategies[name].timing != base.DELAYED:
                continue
            number = int(np.argmax(own["underruns"]))
            sizes = {"horizon": horizon, "prediction_horizon": _prediction_horizon(settings, task)}
            timeline = timeline_of(list(own["delays"][number]), **sizes, length=int(own["length"][number]))
            shown = sum(step < STEPS_SHOWN for step in timeline.underruns)
            episode = f"d = {delay}, s = {horizon}, seed {own['seed'][number]}, episode {own['episode'][number]}"
            drawn.append((shown, timeline, f"{task}, {name}, {scenario}", episode))
    if not drawn:
        return None, "No strategy was run whose chunks begin at their request, so there is no timeline."
    _, timeline, title, episode = max(drawn, key=lambda item: item[0])
    save_timelines({title: timeline}, path)
    return path, f"{title}, {episode}"


@functools.cache
def _chunk_of_checkpoint(policy: str, task: str) -> int:
    sources = sweep_inputs.policy_sources(evaluation_settings.SweepConfig(policy=policy, task=task))
    return sweep_inputs.chunk_length(sources[task])


def _prediction_horizon(settings: Mapping[str, Any], task: str) -> int:
    """H of a checkpoint; of a policy from elsewhere, whose code or server is not asked again, the usual one."""
    policy = settings.get("policy", "zoo")
    try:
        return policies.PREDICTION_HORIZON if ":" in policy else _chunk_of_checkpoint(policy, task)
    except ValueError:  # it is not here any more
        return policies.PREDICTION_HORIZON
