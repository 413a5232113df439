"""A run folder: results.csv, episodes/, config.yaml, manifest.json. The only module that knows these files."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtc_bench.common import errors, files, schema, versions
from rtc_bench.evaluation import results
from rtc_bench.strategies import registry

NOT_DECIDING = ("out", "wandb")  # settings that do not change a result; batch does, in the last bit of a sum
GROWING = ("episodes", "seed")  # settings that more of go on in the same folder
MUST_AGREE = ("interface", "engine", "noise_std", "flow_steps")  # settings that merged runs have in common
MANIFEST = "manifest.json"

EpisodeOutcomes = dict[str, np.ndarray]  # of one cell, by column: each [E]
EPISODE_COLUMNS = {"seed": "uint32", "episode": "int32", "solved": "bool", "total_reward": "int8", "length": "int16"}


class Span(NamedTuple):
    """Episodes of a seed."""

    seed: int
    first: int
    count: int


def read_episodes(folder: pathlib.Path | str, task: str, seed: int = 0) -> dict[results.Cell, EpisodeOutcomes]:
    """Cell -> its episodes; ``seed`` is theirs in a file from before it was recorded."""
    from pyarrow import parquet

    path = pathlib.Path(folder) / "episodes" / f"{task}.parquet"
    if not path.is_file():
        return {}
    try:
        table = parquet.read_table(path).to_pandas()
        table = table.assign(seed=np.uint32(seed)) if "seed" not in table else table
        table = table[["strategy", "delay", "horizon", *EPISODE_COLUMNS]]
    except (OSError, ValueError, KeyError) as error:  # Arrow's own errors are among them
        remedy = "delete it and run the sweep again"
        raise errors.ConfigError(f"{path}: not a whole table of episodes ({error}); {remedy}") from error
    groups = table.groupby(["strategy", "delay", "horizon"], sort=False)
    return {(task, *cell): {name: group[name].to_numpy() for name in EPISODE_COLUMNS} for cell, group in groups}


def _write_episodes(folder: pathlib.Path, task: str, episodes: Mapping[results.Cell, EpisodeOutcomes]) -> None:
    import pyarrow as pa

    columns: dict[str, list] = {"strategy": [], "delay": [], "horizon": []}
    for (_, *cell), outcomes in episodes.items():
        for name, value in zip(columns, cell, strict=True):
            columns[name].append(np.full(len(outcomes["solved"]), value))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    for name in EPISODE_COLUMNS:
        joined[name] = np.concatenate([outcomes[name] for outcomes in episodes.values()])
    files.write_parquet(folder / "episodes" / f"{task}.parquet", pa.table(joined))


@dataclasses.dataclass(frozen=True)
class LoadedRuns:
    """The cells of one run folder, or of several that go together."""

    rows: list[results.Row]
    episodes: dict[results.Cell, EpisodeOutcomes]
    manifests: list[dict[str, Any]]  # one a folder, with "folder"
    sessions: list[str]  # what made them, a line a session


def align(cells: Sequence[EpisodeOutcomes]) -> list[EpisodeOutcomes]:
    """The episodes that all cells have, in one order: strategies met the same random numbers in the same one of a seed."""
    numbers = [_episode_numbers(cell) for cell in cells]
    common = functools.reduce(np.intersect1d, numbers)
    orders = [np.argsort(own) for own in numbers]
    positions = [order[np.searchsorted(own[order], common)] for own, order in zip(numbers, orders, strict=True)]
    return [
        {name: column[position] for name, column in cell.items()}
        for cell, position in zip(cells, positions, strict=True)
    ]


def _episode_numbers(cell: EpisodeOutcomes) -> np.ndarray:
    return (cell["seed"].astype(np.int64) << 32) + cell["episode"]


def _pool(
    one: tuple[results.Row, EpisodeOutcomes], other: tuple[results.Row, EpisodeOutcomes]
) -> tuple[results.Row, EpisodeOutcomes]:
    """All episodes of a cell that two hold. Raises ConfigError if they share some, and each has others, too."""
    numbers = [set(_episode_numbers(episodes)) for _, episodes in (one, other)]
    if numbers[0] >= numbers[1]:
        return one
    if numbers[1] > numbers[0]:
        return other
    if numbers[0] & numbers[1]:
        raise errors.ConfigError(
            f"two runs of {one[0].cell} share some episodes; give runs of other seeds, or one of them"
        )
    joined = {name: np.concatenate([one[1][name], other[1][name]]) for name in EPISODE_COLUMNS}
    return results.pool(one[0], other[0]), joined


def load(folders: Sequence[pathlib.Path | str]) -> LoadedRuns:
    """Cells of all folders; those that two hold are pooled: episodes of several seeds, or of the longer run.

    Raises ConfigError where there are no results, or where runs met other policies or strategies.
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
        for row, outcomes in _read_cells(folder, manifest):
            if row.cell in rows:
                row, outcomes = _pool((rows[row.cell], episodes[row.cell]), (row, outcomes))
            rows[row.cell], episodes[row.cell] = row, outcomes
    if not rows:
        raise errors.ConfigError(f"{folders[0]}/results.csv has no rows yet; let the sweep finish a cell")
    line = "`{command}` at commit `{commit:.12}`, jax {jax}, {device}"
    sessions = [
        {"command": "(command not recorded)", **session} for manifest in manifests for session in manifest["versions"]
    ]
    return LoadedRuns(list(rows.values()), episodes, manifests, [line.format(**session) for session in sessions])


def _read_cells(folder: pathlib.Path, manifest: Mapping[str, Any]) -> list[tuple[results.Row, EpisodeOutcomes]]:
    rows = results.read(folder / "results.csv")
    episodes: dict[results.Cell, EpisodeOutcomes] = {}
    for task in dict.fromkeys(row.task for row in rows):
        episodes |= read_episodes(folder, task, _seeds(manifest)[0])
    for row in rows:
        if row.cell not in episodes:
            raise errors.ConfigError(f"{folder}: {row.cell} lacks its episodes; run the same sweep again")
    return [(row, episodes[row.cell]) for row in rows]


def _seeds(manifest: Mapping[str, Any]) -> tuple[int, ...]:
    return schema.whole_numbers("seed", manifest["settings"].get("seed", 0))


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
    """A run folder that is being filled; opening it again continues, and with more episodes or other seeds it grows."""

    def __init__(self, folder: pathlib.Path | str, settings: Mapping[str, Any], identity: Mapping[str, Any]):
        """``identity``: digests of policies and foreign strategies. Raises ConfigError for the folder of another run."""
        self.folder = pathlib.Path(folder)
        self.seeds, self.episodes_a_seed = _seeds({"settings": settings}), settings.get("episodes", 0)
        self.order: dict[results.Cell, int] = {}
        self.rows: dict[results.Cell, results.Row] = {}
        self.episodes: dict[str, dict[results.Cell, EpisodeOutcomes]] = {}  # by task
        manifest = json.loads(json.dumps({"settings": settings, "identity": identity}))
        if self.manifest_file.exists():
            old = files.read_manifest(self.manifest_file, *manifest, "versions")
            self._check_same_run(old, manifest)
            if self.results_file.exists():
                rows, seed = {row.cell: row for row in results.read(self.results_file)}, _seeds(old)[0]
                tasks = {row.task for row in rows.values()}
                self.episodes = {task: read_episodes(self.folder, task, seed) for task in tasks}
                self.rows = {cell: row for cell, row in rows.items() if cell in self.episodes[row.task]}
            self._grow(old)
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
            for name in sorted({*old[part], *new[part]} - {*NOT_DECIDING, *GROWING}):
                before, now = old[part].get(name), new[part].get(name)
                if before != now:
                    raise errors.ConfigError(
                        f"{self.folder} holds a run with {name}={before}, this one has {name}={now}; "
                        f"give another out=, or delete that folder"
                    )

    def _grow(self, manifest: dict[str, Any]) -> None:
        """Say in config.yaml and the manifest what the folder will hold, if that is more than it was made for."""
        old = manifest["settings"]
        seeds = sorted({*_seeds(manifest), *self.seeds})
        grown = {"seed": seeds if len(seeds) > 1 else seeds[0]}
        grown |= {"episodes": max(old.get("episodes", 0), self.episodes_a_seed)}
        if any(old.get(name) != value for name, value in grown.items()):
            manifest = {**manifest, "settings": {**old, **grown}}
            files.write_whole(self.folder / "config.yaml", _yaml(manifest["settings"]).encode())
            files.write_manifest(self.manifest_file, manifest)

    def missing(self, cells: Iterable[results.Cell]) -> list[tuple[results.Cell, Span]]:
        """Fix the order of the table; returns what is still to run. Whatever code runs it goes into the manifest."""
        self.order = {cell: number for number, cell in enumerate(cells)}
        missing = []
        for cell in self.order:
            done = self.episodes[cell[0]][cell]["seed"] if cell in self.rows else np.zeros(0)
            counts = {seed: int((done == seed).sum()) for seed in self.seeds}
            missing += [
                (cell, Span(seed, count, self.episodes_a_seed - count))
                for seed, count in counts.items()
                if count < self.episodes_a_seed
            ]
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
            seeds = " ".join(map(str, sorted(self.seeds)))
            wanted = {"seed": seeds, "episodes": self.episodes_a_seed * len(self.seeds)}
            rows = [row for row in lender.rows if row.cell in missing]
            rows = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
            if rows:
                self._record_sessions(lender.manifests[0]["versions"])
            for row in rows:
                self._add(row, lender.episodes[row.cell])
                missing.discard(row.cell)

    def add(self, row: results.Row, outcomes: Any, first: int = 0) -> None:
        """Add finished episodes (``evaluator.Outcomes``) of a cell and a seed; ``row`` is about these, ``first`` their number.

        Files are whole, and in the planned order.
        """
        count = len(outcomes.solved)
        columns = {"seed": np.full(count, int(row.seed)), "episode": first + np.arange(count)}
        self._add(row, columns | {name: getattr(outcomes, name) for name in EPISODE_COLUMNS if name not in columns})

    def _add(self, row: results.Row, outcomes: EpisodeOutcomes) -> None:
        outcomes = {name: np.asarray(outcomes[name], dtype) for name, dtype in EPISODE_COLUMNS.items()}
        episodes = self.episodes.setdefault(row.task, {})
        if row.cell in self.rows:
            row, outcomes = _pool((self.rows[row.cell], episodes[row.cell]), (row, outcomes))
        self.rows[row.cell], episodes[row.cell] = row, outcomes
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
