"""A run folder: results.csv, episodes/, config.yaml, manifest.json. The only module that knows these files."""

import csv
import dataclasses
import io
import json
import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import manifests, statistics, strategies, versions

FREE = ("out", "wandb")  # settings that do not change a result; batch does, in the last bit of a sum
MANIFEST = "manifest.json"


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
    seed: int
    policy: str
    seconds: float

    @property
    def cell(self) -> tuple[str, str, int, int]:
        """What a row is about."""
        return self.task, self.strategy, self.delay, self.horizon


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
_DECIMALS = {"seconds": 3}


def summarise(outcomes, **cell: Any) -> Row:
    """A row from per-episode outcomes (``evaluator.Outcomes``)."""
    episodes, solved = len(outcomes.solved), int(outcomes.solved.sum())
    low, high = statistics.wilson_interval(solved, episodes)
    rates = {"episodes": episodes, "solve_rate": solved / episodes, "ci_low": low, "ci_high": high}
    means = {
        "mean_return": outcomes.total_reward,
        "mean_length": outcomes.length,
        "action_change": outcomes.action_change,
        "boundary_change": outcomes.boundary_change,
    }
    return Row(**cell, **rates, **{name: float(values.mean()) for name, values in means.items()})


def _text(rows: Iterable[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = dataclasses.asdict(row)
        decimals = {name: _DECIMALS.get(name, 6) for name, value in values.items() if isinstance(value, float)}
        writer.writerow([f"{v:.{decimals[n]}f}" if n in decimals else v for n, v in values.items()])
    return file.getvalue()


def read(path: pathlib.Path | str) -> list[Row]:
    """The rows of a results.csv. Raises ConfigError for another kind of file."""
    path = pathlib.Path(path)
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Row)}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise configs.ConfigError(f"{path}: not a results.csv of rtc_bench (columns differ); give a run folder")
        try:
            return [Row(**{name: kinds[name](value) for name, value in line.items()}) for line in reader]
        except (TypeError, ValueError) as error:
            raise configs.ConfigError(
                f"{path}: line {reader.line_num} is damaged ({error}); delete that line and run the sweep again"
            ) from error


Episodes = dict[str, np.ndarray]  # of one cell: solved bool, total_reward and length, each [E], in the episodes' order
KEPT = {"solved": "bool", "total_reward": "int8", "length": "int16"}


def episodes(folder: pathlib.Path | str, task: str) -> dict[tuple, Episodes]:
    """Cell -> its episodes. Strategies met the same random numbers in the same episode, so that cells can be paired."""
    from pyarrow import parquet

    path = pathlib.Path(folder) / "episodes" / f"{task}.parquet"
    if not path.is_file():
        return {}
    try:
        table = parquet.read_table(path, columns=["strategy", "delay", "horizon", *KEPT]).to_pandas()
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are among them
        remedy = "delete it and run the sweep again"
        raise configs.ConfigError(f"{path}: not a whole table of episodes ({error}); {remedy}") from error
    groups = table.groupby(["strategy", "delay", "horizon"], sort=False)
    return {(task, *cell): {name: group[name].to_numpy() for name in KEPT} for cell, group in groups}


def _write_episodes(folder: pathlib.Path, task: str, cells: Mapping[tuple, Episodes]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, list] = {"strategy": [], "delay": [], "horizon": [], "episode": []}
    for (_, *cell), found in cells.items():
        count = len(found["solved"])
        for name, value in zip(columns, (*cell, None), strict=True):
            columns[name].append(np.arange(count) if value is None else np.full(count, value))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    for name, kind in KEPT.items():
        joined[name] = np.concatenate([found[name] for found in cells.values()]).astype(kind)
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(joined), sink, compression="zstd")
    checkpoint.write_whole(folder / "episodes" / f"{task}.parquet", sink.getvalue().to_pybytes())


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The cells of one run folder, or of several that go together."""

    rows: list[Row]
    episodes: dict[tuple, Episodes]  # cell -> its episodes
    runs: list[dict[str, Any]]  # manifests, with "folder"
    origin: list[str]  # what made them, a line a session


SHARED = ("interface", "engine", "noise_std", "flow_steps", "seed")  # settings that runs must have in common


def load(folders: Sequence[pathlib.Path | str]) -> Loaded:
    """Cells of all folders; of a cell that two hold, the one with more episodes.

    Raises ConfigError where there are no results, or where runs met other policies, strategies or random numbers.
    """
    rows: dict[tuple, Row] = {}
    kept: dict[tuple, Episodes] = {}
    runs: list[dict[str, Any]] = []
    for folder in map(pathlib.Path, folders):
        if not (folder / "results.csv").is_file():
            raise configs.ConfigError(
                f"{folder}: no results.csv there; give the folder that a sweep printed at its end"
            )
        run = {**manifests.read(folder / MANIFEST, "settings", "identity", "versions"), "folder": folder}
        for other in runs:
            _check_goes_with(other, run)
        runs.append(run)
        found = read(folder / "results.csv")
        cells: dict[tuple, Episodes] = {}
        for task in dict.fromkeys(row.task for row in found):
            cells |= episodes(folder, task)
        for row in found:
            if row.cell not in cells:
                raise configs.ConfigError(f"{folder}: {row.cell} lacks its episodes; run the same sweep again")
            if row.cell not in rows or rows[row.cell].episodes < row.episodes:
                rows[row.cell], kept[row.cell] = row, cells[row.cell]
    if not rows:
        raise configs.ConfigError(f"{folders[0]}/results.csv has no rows yet; let the sweep finish a cell")
    told = "`{command}` at commit `{commit:.12}`, jax {jax}, {device}"
    sessions = [{"command": "(command not recorded)", **made} for run in runs for made in run["versions"]]
    return Loaded(list(rows.values()), kept, runs, [told.format(**made) for made in sessions])


def _check_goes_with(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    pairs = {name: (one["settings"].get(name), other["settings"].get(name)) for name in SHARED}
    pairs |= {
        name: (one["identity"][name], other["identity"][name]) for name in {*one["identity"]} & {*other["identity"]}
    }
    both = _strategies(one) & _strategies(other)
    options = [run["settings"].get("options") or {} for run in (one, other)]
    pairs |= {f"options.{name}": (options[0].get(name), options[1].get(name)) for name in both}
    for name, (before, now) in sorted(pairs.items()):
        if before != now:
            raise configs.ConfigError(
                f"{one['folder']} has {name}={before}, {other['folder']} has {name}={now}; "
                "only runs that agree in it can be merged"
            )


def _strategies(run: Mapping[str, Any]) -> set[str]:
    return {strategies.name_of(spec) for spec in configs.several(run["settings"]["strategy"])}


class Run:
    """A run folder that is being filled; opening it again continues."""

    def __init__(self, folder: pathlib.Path | str, settings: Mapping[str, Any], identity: Mapping[str, Any]):
        """``identity``: digests of policies and foreign strategies. Raises ConfigError for the folder of another run."""
        self.folder = pathlib.Path(folder)
        self.order: dict[tuple, int] = {}
        self.rows: dict[tuple, Row] = {}
        self.episodes: dict[str, dict[tuple, Episodes]] = {}  # task -> cell -> its episodes
        told = json.loads(json.dumps({"settings": settings, "identity": identity}))
        if self.manifest_file.exists():
            self._compare(manifests.read(self.manifest_file, *told, "versions"), told)
            if self.table.exists():
                rows = {row.cell: row for row in read(self.table)}
                self.episodes = {task: episodes(self.folder, task) for task in {row.task for row in rows.values()}}
                self.rows = {cell: row for cell, row in rows.items() if cell in self.episodes[row.task]}
        else:
            checkpoint.write_whole(self.folder / "config.yaml", _yaml(told["settings"]).encode())
            manifests.write(self.manifest_file, {**told, "versions": [versions.collect()]})

    @property
    def table(self) -> pathlib.Path:
        """results.csv"""
        return self.folder / "results.csv"

    @property
    def manifest_file(self) -> pathlib.Path:
        """manifest.json: settings, digests, and the versions and device of each session that ran cells."""
        return self.folder / MANIFEST

    def _compare(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for part in ("settings", "identity"):
            for name in sorted({*old[part], *new[part]} - set(FREE)):
                before, now = old[part].get(name), new[part].get(name)
                if before != now:
                    raise configs.ConfigError(
                        f"{self.folder} holds a run with {name}={before}, this one has {name}={now}; "
                        f"give another out=, or delete that folder"
                    )

    def plan(self, cells: Iterable[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
        """Fix the order of the table; returns the cells still to run. Whatever code runs them goes into the manifest."""
        self.order = {cell: place for place, cell in enumerate(cells)}
        todo = [cell for cell in self.order if cell not in self.rows]
        if todo:
            self._made_by([versions.collect()])
        return todo

    def _made_by(self, sessions: Sequence[Mapping[str, Any]]) -> None:
        manifest = manifests.read(self.manifest_file, "versions")
        if new := [one for one in sessions if one not in manifest["versions"]]:
            manifests.write(self.manifest_file, {**manifest, "versions": [*manifest["versions"], *new]})

    def borrow(self, cells: Iterable[tuple[str, str, int, int]], folders: Iterable[pathlib.Path]) -> None:
        """Take over cells, and what made them, from other run folders that agree in all that decides a number."""
        missing = set(cells) - self.rows.keys()
        manifest = manifests.read(self.manifest_file, "settings", "identity")
        for folder in folders:
            if not missing:
                break  # nothing need be read
            try:
                found = load([folder])
                _check_goes_with({**manifest, "folder": self.folder}, found.runs[0])
            except configs.ConfigError:
                continue  # another run, or one that is not whole
            episodes = manifest["settings"]["episodes"]
            rows = [row for row in found.rows if row.cell in missing and row.episodes == episodes]
            if rows:
                self._made_by(found.runs[0]["versions"])
            for row in rows:
                self.add(row, types.SimpleNamespace(**found.episodes[row.cell]))
                missing.discard(row.cell)

    def add(self, row: Row, outcomes: Any) -> None:
        """Add a finished cell and its episodes (``evaluator.Outcomes``); files are whole, and in the planned order."""
        self.rows[row.cell] = row
        cells = self.episodes.setdefault(row.task, {})
        cells[row.cell] = {name: np.asarray(getattr(outcomes, name)) for name in KEPT}
        _write_episodes(self.folder, row.task, {cell: cells[cell] for cell in sorted(cells, key=self._place)})
        checkpoint.write_whole(self.table, _text(self.sorted_rows()).encode())

    def sorted_rows(self) -> list[Row]:
        """Rows in the planned order."""
        return sorted(self.rows.values(), key=lambda row: self._place(row.cell))

    def _place(self, cell: tuple) -> int:
        return self.order.get(cell, len(self.order))


def _yaml(settings: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(settings), sort_keys=False)
