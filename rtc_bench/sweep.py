"""Sweep delay and execution horizon over tasks and strategies; the product's main entry."""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from policies import checkpoint
from rtc_bench import assemble, evaluator, parallel, progress, report, results, strategies, summary, tracking
from rtc_bench import config as configs


def folder_of(settings: configs.SweepConfig) -> pathlib.Path:
    """The run folder: ``out``, or one named after the settings, so that the same command finds its run again."""
    if settings.out:
        return pathlib.Path(settings.out)
    return pathlib.Path("results") / f"sweep-{digest(deciding(settings))}"


def deciding(settings: configs.SweepConfig) -> dict[str, Any]:
    """The settings that decide a number."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in results.FREE}


def digest(told: Any) -> str:
    """Eight hexadecimal digits, for a folder's name."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


class Plan(NamedTuple):
    """A sweep that is ready to run."""

    settings: configs.SweepConfig
    entries: dict[str, assemble.Entry]  # by task
    built: dict[str, Any]  # strategies by name
    cells: list[tuple[str, str, int, int]]  # task, strategy, delay, horizon
    identity: dict[str, str]


def prepare(settings: configs.SweepConfig) -> Plan:
    """Everything that can be refused is refused here: ConfigError, UnknownTask, UnknownStrategy and CheckpointError."""
    for spec in settings.strategies:
        strategies.check(spec)
    files = assemble.checkpoints(settings)
    pairs = {}
    for task, path in files.items():  # typos are told before JAX starts
        chunk = checkpoint.header(path).get("config", {}).get("horizon", configs.HORIZON)
        pairs[task] = configs.cells(settings.delay, settings.horizon, chunk)
    parallel.setup()
    built = assemble.built(settings)
    entries = {task: assemble.entry(settings, task, path) for task, path in files.items()}
    for entry in entries.values():
        for strategy in built.values():
            strategy.check(entry.policy)
    cells = [(task, name, d, s) for task in entries for name in built for d, s in pairs[task]]
    return Plan(settings, entries, built, cells, assemble.identity(entries, built))


def fill(plan: Plan, folder: pathlib.Path, others: Iterable[pathlib.Path] = ()) -> bool:
    """Run what is missing in a run folder, and cannot be taken from the ``others``; true if something was.

    Raises ConfigError for the folder of another run.
    """
    record = results.Run(folder, dataclasses.asdict(plan.settings), plan.identity)
    record.borrow(plan.cells, others)
    todo = record.plan(plan.cells)
    print(f"{len(plan.cells)} cells, {len(plan.cells) - len(todo)} of them done before -> {folder}", flush=True)
    _fill(plan, record, todo)
    return bool(todo)


def run(settings: configs.SweepConfig) -> pathlib.Path:
    """Run what is missing of a sweep, report it, and return the run folder. Raises what ``prepare`` and ``fill`` do."""
    folder = folder_of(settings)
    ran = fill(prepare(settings), folder)
    loaded = results.load([folder])
    report.write(loaded, folder)
    summary.show(loaded.rows)
    print(f"results.csv, README.md and curves.png are in {folder}; a page: scripts/report.py {folder}", flush=True)
    if ran or not tracking.logged(folder):
        log(settings, loaded, folder)
    return folder


def log(settings: configs.SweepConfig, loaded: results.Loaded, folder: pathlib.Path) -> None:
    """Tell wandb of the cells, with a film of one episode."""
    film = folder / "episode.gif"
    if settings.wandb.film and settings.wandb.mode != "disabled":
        report.filmed(loaded, film)
    tracking.log(loaded.rows, folder, dataclasses.asdict(settings), settings.wandb, (folder / "curves.png", film))


def _fill(plan: Plan, record: results.Run, todo: list) -> None:
    settings, names = plan.settings, list(plan.built)
    coming = _players(plan, list(dict.fromkeys(cell[0] for cell in todo)))
    current, player = "", None
    with progress.bar("sweep", len(todo)) as advance:
        for done, (task, name, delay, horizon) in enumerate(todo):
            advance(done, len(todo), f"{task} {name} d={delay} s={horizon}")
            began, place = time.perf_counter(), {"delay": delay, "horizon": horizon, "which": names.index(name)}
            if current != task:
                current, player = next(coming)
            outcomes = player(seed=settings.seed, episodes=settings.episodes, **place)
            seconds = time.perf_counter() - began
            cell = {"task": task, "strategy": name, "delay": delay, "horizon": horizon}
            told = {"seed": settings.seed, "policy": plan.entries[task].label, "seconds": seconds}
            record.add(results.summarise(outcomes, **cell, **told), outcomes)
        advance(len(todo), len(todo))


def _players(plan: Plan, tasks: list[str]) -> Iterator[tuple[str, evaluator.Evaluator]]:
    """Each task's evaluator; the next one compiles while one is used, because compiling leaves a core idle."""

    def ready(task: str) -> evaluator.Evaluator:
        entry = plan.entries[task]
        player = evaluator.Evaluator(entry.env, entry.policy, *plan.built.values(), batch=plan.settings.batch)
        player.compile(plan.settings.episodes)
        return player

    pool = concurrent.futures.ThreadPoolExecutor(1)  # not waited for: whoever interrupts does not want to
    following = pool.submit(ready, tasks[0])
    for task, after in itertools.zip_longest(tasks, tasks[1:]):
        player = following.result()
        if after:
            following = pool.submit(ready, after)
        yield task, player
