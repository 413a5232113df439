"""A run folder: results.csv, episodes/, config.yaml, manifest.json. The only module that knows these files."""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtc_bench.common import errors, files, schema
from rtc_bench.evaluation import episodes, results
from rtc_bench.evaluation.latency import schedule
from rtc_bench.strategies import registry

# Settings that do not change a result. The batch does in the last bit of a sum, as the number of devices does, and is chosen
# anew where memory runs out. Of weights the identity holds digests.
NOT_DECIDING = ("out", "wandb", "weights", "batch", "launcher")
GROWING = ("episodes", "seed")  # settings that more of go on in the same folder
# Settings of delay, and what stands for them in runs made before there were any.
CONSTANT_DELAY = {"delay_model": "constant", "delay_estimate": "exact", "delay_options": {}, "underrun": "hold"}
MUST_AGREE = (
    "interface",
    "engine",
    "noise_std",
    "flow_steps",
    *CONSTANT_DELAY,
)  # settings that merged runs have in common
MANIFEST = "manifest.json"


class Span(NamedTuple):
    """Episodes of a seed."""

    seed: int
    first: int
    count: int


@dataclasses.dataclass(frozen=True)
class LoadedRuns:
    """The cells of one run folder, or of several that go together."""

    rows: list[results.Row]
    episodes: dict[results.Cell, episodes.Episodes]
    manifests: list[dict[str, Any]]  # one a folder, with "folder"
    sessions: list[str]  # what made them, a line a session


def load(folders: Sequence[pathlib.Path | str]) -> LoadedRuns:
    """Cells of all folders; those that two hold are pooled: episodes of several seeds, or of the longer run.

    Raises ConfigError where there are no results, or where runs met other policies or strategies.
    """
    rows: dict[results.Cell, results.Row] = {}
    cells: dict[results.Cell, episodes.Episodes] = {}
    manifests: list[dict[str, Any]] = []
    for folder in map(pathlib.Path, folders):
        if not (folder / "results.csv").is_file():
            raise errors.ConfigError(
                f"{folder.absolute()}: no results.csv there; give the folder that a sweep printed at its end"
            )
        manifest = {**files.read_manifest(folder / MANIFEST, "settings", "identity", "versions"), "folder": folder}
        for other in manifests:
            _check_mergeable(other, manifest)
        manifests.append(manifest)
        for row, own in _read_cells(folder):
            if row.cell in rows:
                row, own = _pool(rows[row.cell], cells[row.cell], row, own)
            rows[row.cell], cells[row.cell] = row, own
    if not rows:
        raise errors.ConfigError(f"{folders[0]}/results.csv has no rows yet; let the sweep finish a cell")
    line = "`{command}` at commit `{commit:.12}`, jax {jax}, {device}"
    sessions = [
        {"command": "(command not recorded)", **session} for manifest in manifests for session in manifest["versions"]
    ]
    return LoadedRuns(list(rows.values()), cells, manifests, [line.format(**session) for session in sessions])


def load_scenarios(folders: Sequence[pathlib.Path | str]) -> list[LoadedRuns]:
    """Like ``load``, but folders with other settings of delay stand beside each other: one for each of such settings."""
    by_delay: dict[str, list[pathlib.Path]] = {}
    for folder in map(pathlib.Path, folders):
        manifest = folder / MANIFEST
        settings = files.read_manifest(manifest, "settings") if manifest.is_file() else {"settings": {}}
        values = [_setting(settings, name) for name in CONSTANT_DELAY]
        by_delay.setdefault(json.dumps(values, sort_keys=True), []).append(folder)
    scenarios = [load(own) for own in by_delay.values()]
    for other in scenarios[1:]:
        _check_mergeable(scenarios[0].manifests[0], other.manifests[0], but=(*CONSTANT_DELAY, schedule.TRACE))
    return scenarios


def _read_cells(folder: pathlib.Path) -> list[tuple[results.Row, episodes.Episodes]]:
    rows = results.read(folder / "results.csv")
    cells = _read_episodes(folder, rows)
    for row in rows:
        if row.cell not in cells:
            raise errors.ConfigError(f"{folder}: {row.cell} lacks its episodes; run the same sweep again")
    return [(_matching(row, cells[row.cell]), cells[row.cell]) for row in rows]


def _matching(row: results.Row, own: episodes.Episodes) -> results.Row:
    """A kill between writing episodes and the table leaves a row about fewer."""
    return row if row.episodes == len(own["solved"]) else episodes.row(row, own, row.seconds)


def _read_episodes(folder: pathlib.Path, rows: Sequence[results.Row]) -> dict[results.Cell, episodes.Episodes]:
    files_by_task = {task: _episodes_file(folder, task) for task in dict.fromkeys(row.task for row in rows)}
    cells: dict[results.Cell, episodes.Episodes] = {}
    for task, path in files_by_task.items():
        cells |= episodes.read(path, [row for row in rows if row.task == task])
    return cells


def _episodes_file(folder: pathlib.Path, task: str) -> pathlib.Path:
    return folder / "episodes" / f"{task}.parquet"


def _pool(
    row: results.Row, own: episodes.Episodes, other_row: results.Row, other: episodes.Episodes
) -> tuple[results.Row, episodes.Episodes]:
    """The episodes of a cell that either has, and the row about them."""
    pooled = episodes.pool(own, other)
    for whole_row, whole in ((row, own), (other_row, other)):
        if len(whole["solved"]) == len(pooled["solved"]):
            return whole_row, pooled
    return episodes.row(row, pooled, row.seconds + other_row.seconds), pooled


def _seeds(manifest: Mapping[str, Any]) -> tuple[int, ...]:
    return schema.whole_numbers("seed", manifest["settings"].get("seed", 0))


def _check_mergeable(one: Mapping[str, Any], other: Mapping[str, Any], but: Collection[str] = ()) -> None:
    """Raise ConfigError unless what two manifests have in common is alike, ``but`` for these names."""
    values = {name: (_setting(one, name), _setting(other, name)) for name in MUST_AGREE}
    digests = {*one["identity"]} & {*other["identity"]}
    values |= {name: (one["identity"][name], other["identity"][name]) for name in digests}
    options = [manifest["settings"].get("options") or {} for manifest in (one, other)]
    common = _strategy_names(one) & _strategy_names(other)
    values |= {f"options.{name}": (options[0].get(name), options[1].get(name)) for name in common}
    for name, (left, right) in sorted(values.items()):
        if left != right and name not in but:
            raise errors.ConfigError(
                f"{one['folder']} has {name}={left}, {other['folder']} has {name}={right}; "
                "only runs that agree in it can be merged"
            )


def _setting(manifest: Mapping[str, Any], name: str) -> Any:
    return manifest["settings"].get(name, CONSTANT_DELAY.get(name))


def _strategy_names(manifest: Mapping[str, Any]) -> set[str]:
    return {registry.name_of(spec) for spec in schema.as_tuple(manifest["settings"]["strategy"])}


class RunFolder:
    """A run folder that is being filled; opening it again continues, and with more episodes or other seeds it grows."""

    def __init__(
        self,
        folder: pathlib.Path | str,
        settings: Mapping[str, Any],
        identity: Mapping[str, Any],
        *,
        read_only: bool = False,
    ):
        """``identity``: digests of policies and foreign strategies. Raises ConfigError for the folder of another run.

        ``read_only``: to see what is missing; nothing is written, now or later.
        """
        self.folder, self.read_only = pathlib.Path(folder), read_only
        self.seeds, self.episodes_a_seed = _seeds({"settings": settings}), settings.get("episodes", 0)
        self.order: dict[results.Cell, int] = {}
        self.rows: dict[results.Cell, results.Row] = {}
        self.episodes: dict[results.Cell, episodes.Episodes] = {}
        self.sessions: list[Mapping[str, Any]] = []  # recorded in the manifest by this one
        self.manifest = manifest = json.loads(json.dumps({"settings": settings, "identity": identity}))
        if self.manifest_file.exists():
            old = files.read_manifest(self.manifest_file, *manifest, "versions")
            self._check_same_run(old, manifest)
            if self.results_file.exists():
                rows = results.read(self.results_file)
                self.episodes = _read_episodes(self.folder, rows)
                whole = [row for row in rows if row.cell in self.episodes]
                self.rows = {row.cell: _matching(row, self.episodes[row.cell]) for row in whole}
            self._grow(old, identity)
        elif not read_only:
            files.write_whole(self.folder / "config.yaml", _yaml(manifest["settings"]).encode())
            files.write_manifest(self.manifest_file, {**manifest, "versions": []})

    @property
    def results_file(self) -> pathlib.Path:
        """results.csv"""
        return self.folder / "results.csv"

    @property
    def manifest_file(self) -> pathlib.Path:
        """manifest.json: settings, digests, and the versions and device of each session that ran cells."""
        return self.folder / MANIFEST

    def _check_same_run(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """What only one of them identifies belongs to a task that only one of them has a policy for."""
        names_by_part = {"settings": {*old["settings"], *new["settings"]} - {*NOT_DECIDING, *GROWING}}
        names_by_part["identity"] = {*old["identity"]} & {*new["identity"]}
        for part, names in names_by_part.items():
            for name in sorted(names):
                before, now = (manifest[part].get(name, CONSTANT_DELAY.get(name)) for manifest in (old, new))
                if before != now:
                    raise errors.ConfigError(
                        f"{self.folder} holds a run with {name}={before}, this one has {name}={now}; "
                        f"give another out=, or delete that folder"
                    )

    def _grow(self, manifest: dict[str, Any], identity: Mapping[str, Any]) -> None:
        """Say in config.yaml and the manifest what the folder will hold, if that is more than it was made for."""
        old = manifest["settings"]
        seeds = sorted({*_seeds(manifest), *self.seeds})
        grown = {"seed": seeds if len(seeds) > 1 else seeds[0]}
        grown |= {"episodes": max(old.get("episodes", 0), self.episodes_a_seed)}
        identity = {**identity, **manifest["identity"]}
        grows = identity != manifest["identity"] or any(old.get(name) != value for name, value in grown.items())
        if grows and not self.read_only:
            manifest = {**manifest, "settings": {**old, **grown}, "identity": identity}
            files.write_whole(self.folder / "config.yaml", _yaml(manifest["settings"]).encode())
            files.write_manifest(self.manifest_file, manifest)

    def missing(self, cells: Iterable[results.Cell]) -> list[tuple[results.Cell, Span]]:
        """Fix the order of the table; returns what is still to run."""
        self.order = {cell: number for number, cell in enumerate(cells)}
        missing = []
        for cell in self.order:
            done = self.episodes[cell]["seed"] if cell in self.rows else np.zeros(0)
            counts = {seed: int((done == seed).sum()) for seed in self.seeds}
            missing += [
                (cell, Span(seed, count, self.episodes_a_seed - count))
                for seed, count in counts.items()
                if count < self.episodes_a_seed
            ]
        return missing

    def record_session(self, session: Mapping[str, Any]) -> None:
        """Name what runs cells, see ``versions.collect``, in the manifest."""
        if session not in self.sessions:
            self._record_sessions([session])
            self.sessions.append(session)

    def _record_sessions(self, sessions: Sequence[Mapping[str, Any]]) -> None:
        """Name the sessions that ran cells in the manifest."""
        if self.read_only:
            return
        manifest = files.read_manifest(self.manifest_file, "versions")
        if new := [session for session in sessions if session not in manifest["versions"]]:
            files.write_manifest(self.manifest_file, {**manifest, "versions": [*manifest["versions"], *new]})

    def borrow(self, cells: Iterable[results.Cell], folders: Iterable[pathlib.Path]) -> None:
        """Take over cells, and what made them, from other run folders that agree in all that decides a number."""
        missing = set(cells) - self.rows.keys()
        for folder in folders:
            if not missing:
                break  # nothing need be read
            try:
                lender = load([folder])
                _check_mergeable({**self.manifest, "folder": self.folder}, lender.manifests[0])
            except errors.ConfigError:
                continue  # another run, or one that is not whole
            rows = [row for row in lender.rows if row.cell in missing]
            if rows:
                self._record_sessions(lender.manifests[0]["versions"])
            for row in rows:
                own = episodes.first_of(lender.episodes[row.cell], self.seeds, self.episodes_a_seed)
                if len(own["solved"]):
                    self._add(_matching(row, own), own)
                    missing.discard(row.cell)

    def add(self, row: results.Row, outcomes: Any, first: int = 0) -> None:
        """Add finished episodes (``evaluator.Outcomes``) of a cell and a seed; ``row`` is about these, ``first`` their number.

        Files are whole, and in the planned order.
        """
        self._add(row, episodes.of_seed(outcomes, int(row.seed), first))

    def _add(self, row: results.Row, own: episodes.Episodes) -> None:
        if row.cell in self.rows:
            row, own = _pool(self.rows[row.cell], self.episodes[row.cell], row, own)
        self.rows[row.cell], self.episodes[row.cell] = row, own
        if self.read_only:
            return
        cells = sorted((cell for cell in self.episodes if cell[0] == row.task), key=self._position)
        episodes.write(_episodes_file(self.folder, row.task), {cell: self.episodes[cell] for cell in cells})
        files.write_whole(self.results_file, results.csv_text(self.sorted_rows()).encode())

    def sorted_rows(self) -> list[results.Row]:
        """Rows in the planned order."""
        return sorted(self.rows.values(), key=lambda row: self._position(row.cell))

    def _position(self, cell: results.Cell) -> int:
        return self.order.get(cell, len(self.order))


def _yaml(settings: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(settings), sort_keys=False)
