"""results.csv: one row a cell, with its rate, interval and smoothness."""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rtc_bench.common import errors, statistics
from rtc_bench.evaluation.latency import models

Cell = tuple[str, str, int, int]  # task, strategy, delay, execution horizon


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell: task x strategy x delay x execution horizon."""

    task: str
    strategy: str
    delay: int  # control steps
    horizon: int  # control steps
    episodes: int
    solve_rate: float
    ci_low: float  # 95 % Wilson interval
    ci_high: float
    mean_return: float
    mean_length: float  # control steps
    action_change: float
    boundary_change: float
    seed: str  # all of them, with spaces between
    policy: str
    seconds: float
    boundary_jerk: float | None = None  # mean |second difference| of actions where a newer chunk takes over
    delay_p50: float | None = None  # control steps; percentiles of what the requests met
    delay_p95: float | None = None
    delay_p99: float | None = None
    underrun_share: float | None = None  # of control steps: chunks had run out
    misestimate_share: float | None = None  # of requests: told another delay than they met

    @property
    def cell(self) -> Cell:
        """What the row is about."""
        return self.task, self.strategy, self.delay, self.horizon


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
# A column that comes later gets a default, which stands for it in the runs made before; then their tables can be read.
REQUIRED = tuple(field.name for field in dataclasses.fields(Row) if field.default is dataclasses.MISSING)
_DECIMALS = {"seconds": 3}


def unique_values(rows: Sequence[Row], column: str) -> list:
    """The values of a column, in their order."""
    return list(dict.fromkeys(getattr(row, column) for row in rows))


def summarise(outcomes, **columns: Any) -> Row:
    """A row from per-episode outcomes (``evaluator.Outcomes``); ``columns`` are those that no outcome tells."""
    episodes, solved = len(outcomes.solved), int(outcomes.solved.sum())
    low, high = statistics.wilson_interval(solved, episodes)
    rates = {"episodes": episodes, "solve_rate": solved / episodes, "ci_low": low, "ci_high": high}
    means = {
        "mean_return": outcomes.total_reward,
        "mean_length": outcomes.length,
        "action_change": outcomes.action_change,
        "boundary_change": outcomes.boundary_change,
    }
    if not np.isnan(outcomes.boundary_jerk).any():  # of runs that did not record it
        means["boundary_jerk"] = outcomes.boundary_jerk
    met = np.frombuffer(b"".join(outcomes.delays), np.uint8)
    delays = {
        **models.percentiles(met if len(met) else np.array([columns["delay"]])),
        "underrun_share": float(outcomes.underruns.sum() / outcomes.length.sum()),
        "misestimate_share": float(outcomes.misestimates.sum() / max(len(met), 1)),
    }
    averages = {name: float(values.mean(dtype=float)) for name, values in means.items()}
    return Row(**columns, **rates, **averages, **delays)


def csv_text(rows: Iterable[Row]) -> str:
    """The rows as the text of a results.csv."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = dataclasses.asdict(row)
        decimals = {name: _DECIMALS.get(name, 6) for name, value in values.items() if isinstance(value, float)}
        writer.writerow([f"{v:.{decimals[n]}f}" if n in decimals else v for n, v in values.items()])
    return file.getvalue()


def _value(name: str, kind: Any, text: str) -> Any:
    if kind == float | None:
        if not text:
            return None
        kind = float
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    if name == "seed" and not all(map(str.isdigit, text.split() or "-")):
        raise ValueError(f"{text!r} are not seeds")
    return value


def read(path: pathlib.Path | str) -> list[Row]:
    """The rows of a results.csv. Raises ConfigError for another kind of file."""
    path = pathlib.Path(path)
    column_types: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Row)}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names = tuple(reader.fieldnames or ())
        if names != tuple(name for name in COLUMNS if name in (*names, *REQUIRED)):
            raise errors.ConfigError(f"{path}: not a results.csv of rtc_bench (columns differ); give a run folder")
        try:
            return [
                Row(**{name: _value(name, column_types[name], text) for name, text in line.items()}) for line in reader
            ]
        except (TypeError, ValueError) as error:
            raise errors.ConfigError(
                f"{path}: line {reader.line_num} is damaged ({error}); delete that line and run the sweep again"
            ) from error
