"""Sweep delay and execution horizon over tasks and strategies; the product's main entry."""

import dataclasses
import hashlib
import json
import pathlib
import time
from typing import Any

from policies import checkpoint
from rtc_bench import assemble, evaluator, parallel, progress, report, results, strategies, summary, tracking
from rtc_bench import config as configs


def folder_of(settings: configs.SweepConfig) -> pathlib.Path:
    """The run folder: ``out``, or one named after the settings, so that the same command finds its run again."""
    if settings.out:
        return pathlib.Path(settings.out)
    told = {name: value for name, value in dataclasses.asdict(settings).items() if name not in results.FREE}
    return (
        pathlib.Path("results") / f"sweep-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]}"
    )


def run(settings: configs.SweepConfig) -> pathlib.Path:
    """Run what is missing of a sweep, report it, and return the run folder.

    Raises ConfigError, UnknownTask, UnknownStrategy and CheckpointError before anything runs.
    """
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
    record = results.Run(folder_of(settings), dataclasses.asdict(settings), assemble.identity(entries, built))
    todo = record.plan(cells)
    print(f"{len(cells)} cells, {len(cells) - len(todo)} of them done before -> {record.folder}", flush=True)
    _fill(settings, record, entries, built, todo)
    loaded = results.load([record.folder])
    report.write(loaded, record.folder)
    summary.show(loaded.rows)
    print(
        f"results.csv, README.md and curves.png are in {record.folder}; more: scripts/report.py {record.folder}",
        flush=True,
    )
    if todo or not tracking.logged(record.folder):
        tracking.log(loaded.rows, record.folder, dataclasses.asdict(settings), settings.wandb)
    return record.folder


def _fill(
    settings: configs.SweepConfig,
    record: results.Run,
    entries: dict[str, assemble.Entry],
    built: dict[str, Any],
    todo: list,
):
    names, running = list(built), ("", None)
    with progress.bar("sweep", len(todo)) as advance:
        for done, (task, name, delay, horizon) in enumerate(todo):
            advance(done, len(todo), f"{task} {name} d={delay} s={horizon}")
            if running[0] != task:
                entry = entries[task]
                running = (task, evaluator.Evaluator(entry.env, entry.policy, *built.values(), batch=settings.batch))
            began, place = time.perf_counter(), {"delay": delay, "horizon": horizon, "which": names.index(name)}
            outcomes = running[1](seed=settings.seed, episodes=settings.episodes, **place)
            seconds = time.perf_counter() - began
            cell = {"task": task, "strategy": name, "delay": delay, "horizon": horizon}
            told = {"seed": settings.seed, "policy": entries[task].label, "seconds": seconds}
            record.add(results.summarise(outcomes, **cell, **told), outcomes)
        advance(len(todo), len(todo))
