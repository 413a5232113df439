"""Episodes of a cell, one entry each: how they ended. Strategies met the same random numbers in the same one of a seed."""

import functools
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtc_bench.common import errors, files
from rtc_bench.evaluation import results

Episodes = dict[str, np.ndarray]  # by column: each [E], in the order of seed and episode
COLUMNS = {
    "seed": "uint32",
    "episode": "int32",
    "solved": "bool",
    "total_reward": "int8",
    "length": "int16",
    "action_change": "float32",
    "boundary_change": "float32",
    "boundary_jerk": "float32",
    "underruns": "int16",
    "misestimates": "int16",
    "delays": "object",
}


def of_seed(outcomes: Any, seed: int, first: int = 0) -> Episodes:
    """What an evaluator returned (``evaluator.Outcomes``) of a seed's episodes from number ``first`` on."""
    count = len(outcomes.solved)
    numbers = {"seed": np.full(count, seed), "episode": first + np.arange(count)}
    columns = {name: numbers[name] if name in numbers else getattr(outcomes, name) for name in COLUMNS}
    return {name: np.asarray(columns[name], dtype) for name, dtype in COLUMNS.items()}


def read(path: pathlib.Path, rows: Sequence[results.Row]) -> dict[results.Cell, Episodes]:
    """Cell -> its episodes, of those ``rows`` that the file has; {} without a file. Raises ConfigError for a damaged one.

    What was not recorded when the file was written is taken from the row, the same for all episodes.
    """
    from pyarrow import parquet

    if not path.is_file():
        return {}
    try:
        table = parquet.read_table(path).to_pandas()
        groups = dict(list(table.groupby(["strategy", "delay", "horizon"], sort=False)))
        cells = {row.cell: (row, groups[row.cell[1:]]) for row in rows if row.cell[1:] in groups}
        return {cell: _columns(row, group) for cell, (row, group) in cells.items()}
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are among them
        remedy = "delete it and run the sweep again"
        raise errors.ConfigError(f"{path}: not a whole table of episodes ({error}); {remedy}") from error


def _columns(row: results.Row, group: Any) -> Episodes:
    recorded = {name: group[name].to_numpy() for name in COLUMNS if name in group}
    added = {
        "seed": int(row.seed.split()[0]),
        "action_change": row.action_change,
        "boundary_change": row.boundary_change,
        "boundary_jerk": np.nan if row.boundary_jerk is None else row.boundary_jerk,
        **{"underruns": 0, "misestimates": 0, "delays": b""},
    }
    absent = {name: np.full(len(group), added[name]) for name in COLUMNS if name not in recorded}
    return {name: np.asarray({**recorded, **absent}[name], dtype) for name, dtype in COLUMNS.items()}


def write(path: pathlib.Path, episodes: Mapping[results.Cell, Episodes]) -> None:
    """A task's cells as one Parquet file, whole or not at all."""
    import pyarrow as pa

    counts = [len(own["solved"]) for own in episodes.values()]
    joined = {
        name: np.repeat([cell[index] for cell in episodes], counts)
        for index, name in enumerate(("strategy", "delay", "horizon"), start=1)
    }
    joined |= {name: np.concatenate([own[name] for own in episodes.values()]) for name in COLUMNS}
    files.write_parquet(path, pa.table(joined))


def align(cells: Sequence[Episodes]) -> list[Episodes]:
    """The episodes that all cells have, in one order."""
    numbers = [_numbers(cell) for cell in cells]
    common = functools.reduce(np.intersect1d, numbers)
    return [_take(cell, np.isin(own, common)) for cell, own in zip(cells, numbers, strict=True)]


def pool(one: Episodes, other: Episodes) -> Episodes:
    """The episodes that either has."""
    joined = {name: np.concatenate([one[name], other[name]]) for name in COLUMNS}
    return _take(joined, np.unique(_numbers(joined), return_index=True)[1])


def row(like: results.Row, episodes: Episodes, seconds: float) -> results.Row:
    """The row about these episodes of the cell that ``like`` is about."""
    task, strategy, delay, horizon = like.cell
    columns = {"task": task, "strategy": strategy, "delay": delay, "horizon": horizon, "policy": like.policy}
    seed = " ".join(map(str, np.unique(episodes["seed"])))
    return results.summarise(types.SimpleNamespace(**episodes), **columns, seed=seed, seconds=seconds)


def first_of(episodes: Episodes, seeds: Sequence[int], count: int) -> Episodes:
    """The first ``count`` episodes of each of these seeds."""
    return _take(episodes, np.isin(episodes["seed"], seeds) & (episodes["episode"] < count))


def _numbers(cell: Episodes) -> np.ndarray:
    return (cell["seed"].astype(np.int64) << 32) + cell["episode"]


def _take(cell: Episodes, index: np.ndarray) -> Episodes:
    return {name: column[index] for name, column in cell.items()}
