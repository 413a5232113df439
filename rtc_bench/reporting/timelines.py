"""Who executed which chunk when: one episode as a picture."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from rtc_bench.common import plotting

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


def of_episode(delays: Sequence[int], *, horizon: int, prediction_horizon: int, length: int) -> Timeline:
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


def save(timelines: dict[str, Timeline], *paths: pathlib.Path) -> None:
    """A panel for each title: a line a chunk, thin while it is inferred, thick while its actions are executed."""
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
        axis.set(xlim=(0, shown), ylim=(count - 0.4, -0.6))
    plotting.label_x(axes, "control step")
    note = "thin: inference; thick: the chunk's actions are executed; red: no chunk is left (underrun)"
    canvas.text(0.995, 0.005, note, ha="right", fontsize=7, color="0.35")
    canvas.tight_layout(rect=(0, 0.03, 1, 1))
    plotting.save(canvas, *paths)
