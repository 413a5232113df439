"""A run folder: results.csv, episodes/, config.yaml, manifest.json. The only module that knows these files."""

import dataclasses
import json
import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rtc_bench.common import errors, files, schema, versions
from rtc_bench.evaluation import results
from rtc_bench.strategies import registry

NOT_DECIDING = ("out", "wandb")  # settings that do not change a result; batch does, in the last bit of a sum
MUST_AGREE = ("interface", "engine", "noise_std", "flow_steps", "seed")  # settings that merged runs have in common
MANIFEST = "manifest.json"

EpisodeOutcomes = dict[str, np.ndarray]  # of one cell, by column: each [E], in the episodes' order
EPISODE_COLUMNS = {"solved": "bool", "total_reward": "int8", "length": "int16"}


def read_episodes(folder: pathlib.Path | str, task: str) -> dict[results.Cell, EpisodeOutcomes]:
    """Cell -> its episodes. Strategies met the same random numbers in the same episode, so that cells can be paired."""
    from pyarrow import parquet

    path = pathlib.Path(folder) / "episodes" / f"{task}.parquet"
    if not path.is_file():
        return {}
    try:
        table = parquet.read_table(path, columns=["strategy", "delay", "horizon", *EPISODE_COLUMNS]).to_pandas()
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are among them
        remedy = "delete it and run the sweep again"
        raise errors.ConfigError(f"{path}: not a whole table of episodes ({error}); {remedy}") from error
    groups = table.groupby(["strategy", "delay", "horizon"], sort=False)
    return {(task, *cell): {name: group[name].to_numpy() for name in EPISODE_COLUMNS} for cell, group in groups}


def _write_episodes(folder: pathlib.Path, task: str, episodes: Mapping[results.Cell, EpisodeOutcomes]) -> None:
    import pyarrow as pa

    columns: dict[str, list] = {"strategy": [], "delay": [], "horizon": [], "episode": []}
    for (_, *cell), outcomes in episodes.items():
        count = len(outcomes["solved"])
        for name, value in zip(columns, (*cell, None), strict=True):
            columns[name].append(np.arange(count) if value is None else np.full(count, value))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    for name, dtype in EPISODE_COLUMNS.items():
        joined[name] = np.concatenate([outcomes[name] for outcomes in episodes.values()]).astype(dtype)
    files.write_parquet(folder / "episodes" / f"{task}.parquet", pa.table(joined))


@dataclasses.dataclass(frozen=True)
class LoadedRuns:
    """The cells of one run folder, or of several that go together."""

    rows: list[results.Row]
    episodes: dict[results.Cell, EpisodeOutcomes]
    manifests: list[dict[str, Any]]  # one a folder, with "folder"
    sessions: list[str]  # what made them, a line a session


def load(folders: Sequence[pathlib.Path | str]) -> LoadedRuns:
    """Cells of all folders; of a cell that two hold, the one with more episodes.

    Raises ConfigError where there are no results, or where runs met other policies, strategies or random numbers.
    """
    rows: dict[results.Cell, results.Row] = {}
    episodes: dict[results.Cell, EpisodeOutcomes] = {}
    manifests: list[dict[str, Any]] = []
    for folder in map(pathlib.Path, folders):
        if not (folder / "results.csv").is_file():
            raise errors.ConfigError(f"{folder}: no results.csv there; give the folder that a sweep printed at its end")
        manifest = {**files.read_manifest(folder / MANIFEST, "settings", "identity", "versions"), "folder": folder}
        for other in manifests:
            _check_mergeable(other, manifest)
        manifests.append(manifest)
        for row, outcomes in _read_cells(folder):
            if row.cell not in rows or rows[row.cell].episodes < row.episodes:
                rows[row.cell], episodes[row.cell] = row, outcomes
    if not rows:
        raise errors.ConfigError(f"{folders[0]}/results.csv has no rows yet; let the sweep finish a cell")
    line = "`{command}` at commit `{commit:.12}`, jax {jax}, {device}"
    sessions = [
        {"command": "(command not recorded)", **session} for manifest in manifests for session in manifest["versions"]
    ]
    return LoadedRuns(list(rows.values()), episodes, manifests, [line.format(**session) for session in sessions])


def _read_cells(folder: pathlib.Path) -> list[tuple[results.Row, EpisodeOutcomes]]:
    rows = results.read(folder / "results.csv")
    episodes: dict[results.Cell, EpisodeOutcomes] = {}
    for task in dict.fromkeys(row.task for row in rows):
        episodes |= read_episodes(folder, task)
    for row in rows:
        if row.cell not in episodes:
            raise errors.ConfigError(f"{folder}: {row.cell} lacks its episodes; run the same sweep again")
    return [(row, episodes[row.cell]) for row in rows]


def _check_mergeable(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raise ConfigError unless what two manifests have in common is alike."""
    values = {name: (one["settings"].get(name), other["settings"].get(name)) for name in MUST_AGREE}
    digests = {*one["identity"]} & {*other["identity"]}
    values |= {name: (one["identity"][name], other["identity"][name]) for name in digests}
    options = [manifest["settings"].get("options") or {} for manifest in (one, other)]
    common = _strategy_names(one) & _strategy_names(other)
    values |= {f"options.{name}": (options[0].get(name), options[1].get(name)) for name in common}
    for name, (left, right) in sorted(values.items()):
        if left != right:
            raise errors.ConfigError(
                f"{one['folder']} has {name}={left}, {other['folder']} has {name}={right}; "
                "only runs that agree in it can be merged"
            )


def _strategy_names(manifest: Mapping[str, Any]) -> set[str]:
    return {registry.name_of(spec) for spec in schema.as_tuple(manifest["settings"]["strategy"])}


class RunFolder:
    """A run folder that is being filled; opening it again continues."""

    def __init__(self, folder: pathlib.Path | str, settings: Mapping[str, Any], identity: Mapping[str, Any]):
        """``identity``: digests of policies and foreign strategies. Raises ConfigError for the folder of another run."""
        self.folder = pathlib.Path(folder)
        self.order: dict[results.Cell, int] = {}
        self.rows: dict[results.Cell, results.Row] = {}
        self.episodes: dict[str, dict[results.Cell, EpisodeOutcomes]] = {}  # by task
        manifest = json.loads(json.dumps({"settings": settings, "identity": identity}))
        if self.manifest_file.exists():
            self._check_same_run(files.read_manifest(self.manifest_file, *manifest, "versions"), manifest)
            if self.results_file.exists():
                rows = {row.cell: row for row in results.read(self.results_file)}
                self.episodes = {task: read_episodes(self.folder, task) for task in {row.task for row in rows.values()}}
                self.rows = {cell: row for cell, row in rows.items() if cell in self.episodes[row.task]}
        else:
            files.write_whole(self.folder / "config.yaml", _yaml(manifest["settings"]).encode())
            files.write_manifest(self.manifest_file, {**manifest, "versions": [versions.collect()]})

    @property
    def results_file(self) -> pathlib.Path:
        """results.csv"""
        return self.folder / "results.csv"

    @property
    def manifest_file(self) -> pathlib.Path:
        """manifest.json: settings, digests, and the versions and device of each session that ran cells."""
        return self.folder / MANIFEST

    def _check_same_run(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for part in ("settings", "identity"):
            for name in sorted({*old[part], *new[part]} - set(NOT_DECIDING)):
                before, now = old[part].get(name), new[part].get(name)
                if before != now:
                    raise errors.ConfigError(
                        f"{self.folder} holds a run with {name}={before}, this one has {name}={now}; "
                        f"give another out=, or delete that folder"
                    )

    def missing(self, cells: Iterable[results.Cell]) -> list[results.Cell]:
        """Fix the order of the table; returns the cells still to run. Whatever code runs them goes into the manifest."""
        self.order = {cell: number for number, cell in enumerate(cells)}
        missing = [cell for cell in self.order if cell not in self.rows]
        if missing:
            self._record_sessions([versions.collect()])
        return missing

    def _record_sessions(self, sessions: Sequence[Mapping[str, Any]]) -> None:
        """Name the sessions that ran cells in the manifest."""
        manifest = files.read_manifest(self.manifest_file, "versions")
        if new := [session for session in sessions if session not in manifest["versions"]]:
            files.write_manifest(self.manifest_file, {**manifest, "versions": [*manifest["versions"], *new]})

    def borrow(self, cells: Iterable[results.Cell], folders: Iterable[pathlib.Path]) -> None:
        """Take over cells, and what made them, from other run folders that agree in all that decides a number."""
        missing = set(cells) - self.rows.keys()
        manifest = files.read_manifest(self.manifest_file, "settings", "identity")
        for folder in folders:
            if not missing:
                break  # nothing need be read
            try:
                lender = load([folder])
                _check_mergeable({**manifest, "folder": self.folder}, lender.manifests[0])
            except errors.ConfigError:
                continue  # another run, or one that is not whole
            episodes = manifest["settings"]["episodes"]
            rows = [row for row in lender.rows if row.cell in missing and row.episodes == episodes]
            if rows:
                self._record_sessions(lender.manifests[0]["versions"])
            for row in rows:
                self.add(row, types.SimpleNamespace(**lender.episodes[row.cell]))
                missing.discard(row.cell)

    def add(self, row: results.Row, outcomes: Any) -> None:
        """Add a finished cell and its episodes (``evaluator.Outcomes``); files are whole, and in the planned order."""
        self.rows[row.cell] = row
        episodes = self.episodes.setdefault(row.task, {})
        episodes[row.cell] = {name: np.asarray(getattr(outcomes, name)) for name in EPISODE_COLUMNS}
        ordered = {cell: episodes[cell] for cell in sorted(episodes, key=self._position)}
        _write_episodes(self.folder, row.task, ordered)
        files.write_whole(self.results_file, results.csv_text(self.sorted_rows()).encode())

    def sorted_rows(self) -> list[results.Row]:
        """Rows in the planned order."""
        return sorted(self.rows.values(), key=lambda row: self._position(row.cell))

    def _position(self, cell: results.Cell) -> int:
        return self.order.get(cell, len(self.order))


def _yaml(settings: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(settings), sort_keys=False)
