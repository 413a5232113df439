"""The stages from nothing to a policy, over several tasks: experts, data, flow policies; and flow policies of foreign data.

With launcher=ray every task, and of experts every seed, is the work of a worker of its own.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rtc_bench import envs
from rtc_bench.common import costs, devices, errors
from rtc_bench.common.lerobot import reader
from rtc_bench.launching import cluster, folders
from rtc_bench.launching import settings as launching
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data, expert_training, flow_training, plan, search, settings

MENDABLE = (checkpoint.CheckpointError, errors.ConfigError, search.SearchFailed)
Failures = list[tuple[str, Exception]]  # what failed, and by what


class Unfinished(RuntimeError):
    """Some tasks failed; the others are done."""


class Work(NamedTuple):
    """What is done for a task."""

    noun: str  # of what comes of it
    title: str
    plan: Callable[[Any], costs.Part]
    here: Callable[[Any], Any]
    pieces: Callable[[Any], Sequence[folders.Stage]]  # what is left to do, for a cluster
    after: Callable[[Any], None] = lambda config: None  # what is done here when a cluster has done these


def train_experts(config: settings.TrainExpertConfig, *, dry_run: bool = False) -> None:
    """Stage 1; ``dry_run``: only say what is missing. Raises UnknownTask before anything runs, and Unfinished after all tasks."""
    work = Work("expert", "experts", plan.experts, expert_training.train, _seeds, expert_training.draw_curves)
    _over_tasks(work, config, dry_run)


def _seeds(own: settings.TrainExpertConfig) -> list[folders.Stage]:
    return [_of_seed(own, seed) for seed in expert_training.unfinished_seeds(own)]


def _of_seed(config: settings.TrainExpertConfig, seed: int) -> folders.Stage:
    own = dataclasses.replace(config, seeds=1, seed=seed)
    inputs = {"out": [f"{own.task}/seed{seed}.*", f"{own.task}/checkpoints/seed{seed}-*"]}
    return folders.Stage(f"{own.task}, seed {seed}", expert_training.train_seeds, own, inputs)


def generate_data(config: settings.GenerateDataConfig, *, dry_run: bool = False) -> None:
    """Stage 2, likewise."""
    _over_tasks(Work("data set", "data", plan.data, expert_data.generate, _data), config, dry_run)


def _data(own: settings.GenerateDataConfig) -> list[folders.Stage]:
    if expert_data.recipe(own).is_recorded:
        expert_data.generate(own)  # adds what LeRobot lacks, if anything
        return []
    expert_data.clear(pathlib.Path(own.out) / own.task)
    inputs = {"experts": [f"{own.task}/seed*.safetensors", f"{own.task}/checkpoints/seed*.safetensors"]}
    return [folders.Stage(own.task, expert_data.generate, own, inputs)]


def train_flows(config: settings.TrainFlowConfig, *, dry_run: bool = False) -> None:
    """Stage 3, or a policy of the LeRobot data set that ``config.data`` is; likewise. Raises ConfigError, too."""
    if config.data != settings.TrainFlowConfig.data and not pathlib.Path(config.data).is_dir():
        raise errors.ConfigError(
            f"data={config.data}: no such folder; make it with `{errors.command('generate-data')}`, or give a LeRobot data set"
        )
    if reader.is_data_set(config.data):
        _train_foreign(config, dry_run)
    else:
        _over_tasks(Work("flow policy", "flow policies", plan.flow, flow_training.train, _flow), config, dry_run)


def _flow(own: settings.TrainFlowConfig) -> list[folders.Stage]:
    if flow_training.stand(own).is_finished:
        return []
    data = [f"{own.task}/manifest.json", f"{own.task}/**/*.parquet"]
    inputs = {"data": data, "out": [f"{own.task}/*.safetensors"]}
    return [folders.Stage(own.task, flow_training.train, own, inputs)]


def _train_foreign(config: settings.TrainFlowConfig, dry_run: bool) -> None:
    cluster.prepare(config.launcher)
    own = flow_training.read_foreign(config)
    part = costs.Part(config.task, 1, int(not own.is_finished), None)
    costs.show("flow policy", [part], config.out, each=dry_run)
    if dry_run or own.is_finished:
        return
    if config.launcher.is_ray:
        inputs = {"data": ["meta/**/*", "data/**/*"], "out": [f"{config.task}/*.safetensors"]}
        stage = folders.Stage(config.task, flow_training.train_foreign, config, inputs)
        _tell(_on_cluster("flow policies", [stage], config.launcher), 1, "pieces")
    else:
        flow_training.train_foreign(config, own)


def _over_tasks(work: Work, config: Any, dry_run: bool) -> None:
    """What is missing of every task, here or on a cluster."""
    configs = [dataclasses.replace(config, task=name) for name in envs.tasks.resolve(config.task)]
    cluster.prepare(config.launcher)
    devices.setup()
    parts = [_part(work.plan, own) for own in configs]
    costs.show(work.noun, parts, config.out, each=dry_run)
    if dry_run:
        refused: Failures = [(part.name, errors.ConfigError(part.refusal)) for part in parts if part.refusal]
        _tell(refused, len(configs), "tasks")
    elif config.launcher.is_ray:
        _each_on_cluster(work, configs)
    else:
        _tell(_failures(work.here, configs), len(configs), "tasks")


def _each_on_cluster(work: Work, configs: Sequence[Any]) -> None:
    stages: list[folders.Stage] = []
    failures = _failures(lambda own: stages.extend(work.pieces(own)), configs)
    count = len(failures) + len(stages)
    failures += _on_cluster(work.title, stages, configs[0].launcher)
    for own in configs:
        if own.task in {stage.config.task for stage in stages}:
            work.after(own)
    _tell(failures, count, "pieces")


def _failures(function: Callable[[Any], Any], configs: Sequence[Any]) -> Failures:
    """Of calling it with each of these."""
    failures: Failures = []
    for own in configs:
        try:
            function(own)
        except MENDABLE as error:
            failures.append((own.task, error))
    return failures


def _part(planned: Callable[[Any], costs.Part], config: Any) -> costs.Part:
    try:
        return planned(config)
    except (checkpoint.CheckpointError, errors.ConfigError) as error:
        return costs.Part(config.task, 1, 1, None, str(error))


def _on_cluster(title: str, stages: Sequence[folders.Stage], launcher: launching.LauncherConfig) -> Failures:
    ends = folders.run(title, stages, launcher)
    return [(stage.name, ended.error) for stage, ended in ends if ended.error is not None]


def _tell(failures: Failures, count: int, noun: str) -> None:
    """Raise what failed of so many: Unfinished where there was more than one."""
    if failures and count == 1:
        raise failures[0][1]
    if failures:
        told = " | ".join(f"{name}: {error}" for name, error in failures)
        raise Unfinished(f"{len(failures)} of {count} {noun} failed. {told}")
