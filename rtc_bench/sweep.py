"""Sweep delay and execution horizon over tasks and strategies; the product's main entry."""

import dataclasses
import hashlib
import json
import pathlib
import time
from typing import Any

import envs
import envs.env
from policies import checkpoint, flow
from rtc_bench import config as configs
from rtc_bench import evaluator, manifests, parallel, progress, report, results, strategies, tracking


@dataclasses.dataclass(frozen=True)
class Entry:
    """One task's policy."""

    policy: flow.FlowPolicy
    env: envs.env.TaskEnv
    digest: str  # of the checkpoint file
    label: str  # goes into the policy column


def checkpoints(settings: configs.SweepConfig) -> dict[str, pathlib.Path]:
    """Task -> checkpoint, for the tasks that the settings name. Raises ConfigError, UnknownTask, CheckpointError."""
    if settings.policy == "zoo":
        available = checkpoint.zoo()
    elif pathlib.Path(settings.policy).is_dir():
        folder = pathlib.Path(settings.policy)
        # It holds <task>.safetensors, or <task>/<task>.safetensors as training leaves them.
        nested = {path.stem: path for path in sorted(folder.glob("*/*.safetensors")) if path.stem == path.parent.name}
        available = {**nested, **{path.stem: path for path in sorted(folder.glob("*.safetensors"))}}
    else:
        path = pathlib.Path(settings.policy)
        head = checkpoint.header(path)
        available = {str(head.get("task")): path}
        if settings.task != "all":
            available = {envs.tasks.check(task): path for task in settings.tasks}
    if not available:
        raise configs.ConfigError(
            f"policy={settings.policy} holds no <task>.safetensors; give a folder with some, or a file"
        )
    if settings.task == "all":
        return {task: available[task] for task in envs.TASKS if task in available}
    for task in settings.tasks:
        if envs.tasks.check(task) not in available:
            raise configs.ConfigError(
                f"task {task!r} has no policy in policy={settings.policy} (it has: {', '.join(available)}); "
                f"train one with `make policy TASK={task}` and give policy=<file>"
            )
    return {task: available[task] for task in settings.tasks}


def _entry(settings: configs.SweepConfig, task: str, path: pathlib.Path) -> Entry:
    env = envs.make(task, interface=settings.interface, engine=settings.engine, noise_std=settings.noise_std)
    policy, _ = checkpoint.load_flow(path, **env.signature)
    origin = "zoo" if settings.policy == "zoo" else path.parent.name
    digest = manifests.sha256(path)[:12]
    return Entry(policy, env, digest, f"{origin}/{path.stem}@{digest}")


def _built(settings: configs.SweepConfig) -> dict[str, Any]:
    """Strategy name -> strategy. A foreign one is named by its class. Raises ConfigError."""
    specs = {spec.rpartition(":")[2] if ":" in spec else spec: spec for spec in settings.strategies}
    for name in settings.options:
        if name not in specs:
            near = configs.nearest(name, specs)
            raise configs.ConfigError(
                f"options.{name} is set, but strategy= does not list {name!r}{near}; add it or drop the option"
            )
    built = {}
    for name, spec in specs.items():
        try:
            built[name] = strategies.get(spec, **{"flow_steps": settings.flow_steps, **settings.options.get(name, {})})
        except configs.ConfigError:
            raise
        except (TypeError, ValueError) as error:  # a strategy's own check of its fields
            raise configs.ConfigError(f"options.{name}: {error}") from error
    if len(specs) < len(settings.strategies):
        raise configs.ConfigError(f"strategy={list(settings.strategies)} names one twice; list each once")
    return built


def _identity(entries: dict[str, Entry], built: dict[str, Any]) -> dict[str, Any]:
    """Digests of what a result depends on besides settings: policies, and strategies from outside the package."""
    import inspect

    found = {f"policy {task}": entry.digest for task, entry in entries.items()}
    for name, strategy in built.items():
        if not type(strategy).__module__.startswith("rtc_bench."):
            found[f"strategy {name}"] = manifests.sha256(pathlib.Path(inspect.getfile(type(strategy))))[:12]
    return found


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
    files = checkpoints(settings)
    pairs = {}
    for task, path in files.items():  # typos are told before JAX starts
        chunk = checkpoint.header(path).get("config", {}).get("horizon", configs.HORIZON)
        pairs[task] = configs.cells(settings.delay, settings.horizon, chunk)
    parallel.setup()
    built = _built(settings)
    entries = {task: _entry(settings, task, path) for task, path in files.items()}
    for entry in entries.values():
        for strategy in built.values():
            strategy.check(entry.policy)
    cells = [(task, name, d, s) for task in entries for name in built for d, s in pairs[task]]
    record = results.Run(folder_of(settings), dataclasses.asdict(settings), _identity(entries, built))
    todo = record.plan(cells)
    print(f"{len(cells)} cells, {len(cells) - len(todo)} of them done before -> {record.folder}", flush=True)
    _fill(settings, record, entries, built, todo)
    rows = record.sorted_rows()
    report.write(rows, record.folder, results.origin(record.folder))
    report.show(rows)
    print(f"results.csv, README.md and curves.png are in {record.folder}", flush=True)
    if todo or not tracking.logged(record.folder):
        tracking.log(rows, record.folder, dataclasses.asdict(settings), settings.wandb)
    return record.folder


def _fill(
    settings: configs.SweepConfig, record: results.Run, entries: dict[str, Entry], built: dict[str, Any], todo: list
):
    running: tuple[Any, ...] = (None, None, None)
    with progress.bar("sweep", len(todo)) as advance:
        for done, (task, name, delay, horizon) in enumerate(todo):
            advance(done, len(todo), f"{task} {name} d={delay} s={horizon}")
            if running[:2] != (task, name):
                entry = entries[task]
                running = (task, name, evaluator.Evaluator(entry.env, entry.policy, built[name], batch=settings.batch))
            began = time.perf_counter()
            outcomes = running[2](seed=settings.seed, episodes=settings.episodes, delay=delay, horizon=horizon)
            seconds = time.perf_counter() - began
            cell = {"task": task, "strategy": name, "delay": delay, "horizon": horizon}
            told = {"seed": settings.seed, "policy": entries[task].label, "seconds": seconds}
            record.add(results.summarise(outcomes, **cell, **told), outcomes)
        advance(len(todo), len(todo))
