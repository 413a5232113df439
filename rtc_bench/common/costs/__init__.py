"""What work will take, before it starts: from times measured on two CPU cores (measured.csv), scaled by cores.

measured.csv (kind, name, value) is made by scripts/bench_costs.py from the committed results; the kinds:
  length   a task's mean control steps in an episode
  step     seconds of a task's physics for 1,000 control steps
  chunk    seconds of a strategy for 1,000 chunks, with a policy of the shipped size
  compile  seconds of a task's program of four strategies
  expert   seconds of a task's search and training for 1,000,000 control steps
  record   seconds of a task's expert data for 100,000 control steps
  epoch    seconds of a flow policy's epoch of 100,000 control steps
  method   seconds of an epoch of what a strategy learns, for 100,000 control steps
"""

import csv
import functools
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from rtc_bench.common import tables

MEASURED = pathlib.Path(__file__).with_name("measured.csv")
CORES = 2  # that measured.csv was measured on


@functools.cache
def measured() -> dict[tuple[str, str], float]:
    """(kind, name) -> value."""
    with MEASURED.open(newline="") as file:
        return {(row["kind"], row["name"]): float(row["value"]) for row in csv.DictReader(file)}


def value(kind: str, name: str) -> float | None:
    """None where it was not measured."""
    return measured().get((kind, name))


def cores() -> int:
    """CPU cores that JAX uses; 0 on an accelerator, of which nothing was measured."""
    import jax

    return min(jax.device_count(), os.cpu_count() or 1) if jax.default_backend() == "cpu" else 0


def machine() -> str:
    """ "2 cores", "one NVIDIA H200"."""
    import jax

    if count := cores():
        return plural(count, "core")
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    return f"one {kind}" if count == 1 else f"{count} {kind}"


def scaled(seconds: float | None) -> float | None:
    """Seconds on this machine's cores, of work that spreads over all; None where nothing is known."""
    return seconds * CORES / cores() if seconds is not None and cores() else None


def plural(count: int, noun: str) -> str:
    """ "1 cell", "240 cells"."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else several}"


def seconds_text(seconds: float | None) -> str:
    """For a table."""
    return "?" if seconds is None else f"{seconds:,.0f}"


def amount(seconds: float) -> str:
    """ "40 seconds", "6 minutes", "2.5 hours"."""
    if seconds < 55:
        return f"{max(10, 10 * round(seconds / 10))} seconds"
    if seconds < 5400:
        return plural(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


class Part(NamedTuple):
    """Work that is done and missed as a whole, such as a task's experts."""

    name: str
    total: int
    missing: int
    seconds: float | None  # of what is missing; None where nothing is known
    refusal: str = ""  # why it cannot be done


def line(
    total: int,
    missing: int,
    noun: str,
    folder: object,
    seconds: float | None,
    *,
    compiling: float = 0.0,
    at_least: bool = False,
) -> str:
    """What is to be done and what that takes: "240 cells, 100 of them done before, some 6 minutes on 2 cores -> folder".

    ``seconds`` of what is missing, None where nothing is known; ``compiling``: more of them where programs are new;
    ``at_least``: where a part is not known.
    """
    parts = [plural(total, noun)]
    if total > missing:
        parts.append(f"{total - missing:,} of them done before")
    if missing and seconds is None:
        parts.append(f"on {machine()}")
    elif missing:
        parts.append(f"{'at least' if at_least else 'some'} {amount(seconds or 0.0)} on {machine()}")
        if compiling >= 5:
            parts.append(f"{amount(compiling)} more where programs must be compiled")
    return f"{', '.join(parts)} -> {folder}"


def show(noun: str, parts: Iterable[Part], folder: object, *, each: bool = False) -> None:
    """Print the ``line`` about all parts; with ``each`` also a table of them."""
    parts = list(parts)
    if each:
        lines = [
            (
                part.name,
                f"{part.missing} of {part.total}",
                "cannot" if part.refusal else "" if not part.missing else seconds_text(part.seconds),
            )
            for part in parts
        ]
        tables.show(f"{noun}: what is missing", tables.Table(("task", "missing", "seconds"), lines))
    possible = [part for part in parts if not part.refusal]
    if not possible:
        return
    seconds = [part.seconds for part in possible if part.missing]
    known = [value for value in seconds if value is not None]
    counts = (sum(part.total for part in possible), sum(part.missing for part in possible))
    total = sum(known) if known else None
    print(line(*counts, noun, folder, total, at_least=len(known) < len(seconds)), flush=True)
