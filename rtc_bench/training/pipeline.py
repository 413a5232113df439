"""The stages from nothing to a policy, over several tasks: experts, data, flow policies; and flow policies of foreign data.

With launcher=ray every task, and of experts every seed, is the work of a worker of its own.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from rtc_bench import envs
from rtc_bench.common import devices, errors
from rtc_bench.common.lerobot import reader
from rtc_bench.launching import cluster, folders
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data, expert_training, flow_training, search, settings

Failures = list[tuple[str, Exception]]  # what failed, and by what


class Unfinished(RuntimeError):
    """Some tasks failed; the others are done."""


def train_experts(config: settings.TrainExpertConfig) -> None:
    """Stage 1. Raises UnknownTask before anything runs, and Unfinished after all tasks."""
    if not config.launcher.is_ray:
        _over_tasks(expert_training.train, config)
        return

    def stages(own: settings.TrainExpertConfig) -> list[folders.Stage]:
        return [_of_seed(own, seed) for seed in expert_training.unfinished_seeds(own)]

    _over_cluster("experts", stages, config, after=expert_training.draw_curves)


def _of_seed(config: settings.TrainExpertConfig, seed: int) -> folders.Stage:
    own = dataclasses.replace(config, seeds=1, seed=seed)
    inputs = {"out": [f"{own.task}/seed{seed}.*", f"{own.task}/checkpoints/seed{seed}-*"]}
    return folders.Stage(f"{own.task}, seed {seed}", expert_training.train_seeds, own, inputs)


def generate_data(config: settings.GenerateDataConfig) -> None:
    """Stage 2. Raises as stage 1 does."""
    if not config.launcher.is_ray:
        _over_tasks(expert_data.generate, config)
        return

    def stages(own: settings.GenerateDataConfig) -> list[folders.Stage]:
        if expert_data.is_recorded(own):
            expert_data.generate(own)  # adds what LeRobot lacks, if anything
            return []
        expert_data.clear(pathlib.Path(own.out) / own.task)
        inputs = {"experts": [f"{own.task}/seed*.safetensors", f"{own.task}/checkpoints/seed*.safetensors"]}
        return [folders.Stage(own.task, expert_data.generate, own, inputs)]

    _over_cluster("data", stages, config)


def train_flows(config: settings.TrainFlowConfig) -> None:
    """Stage 3, or a policy of the LeRobot data set that ``config.data`` is. Raises as stage 1 does, and ConfigError."""
    if config.data != settings.TrainFlowConfig.data and not pathlib.Path(config.data).is_dir():
        raise errors.ConfigError(
            f"data={config.data}: no such folder; make it with `python scripts/generate_data.py`, or give a LeRobot data set"
        )
    foreign = reader.is_data_set(config.data)
    if config.launcher.is_ray:
        _over_cluster("flow policies", _foreign_stages if foreign else _flow_stages, config, foreign=foreign)
    elif foreign:
        flow_training.train_foreign(config)
    else:
        _over_tasks(flow_training.train, config)


def _flow_stages(own: settings.TrainFlowConfig) -> list[folders.Stage]:
    if flow_training.is_trained(own):
        return []
    data = [f"{own.task}/manifest.json", f"{own.task}/**/*.parquet"]
    inputs = {"data": data, "out": [f"{own.task}/*.safetensors"]}
    return [folders.Stage(own.task, flow_training.train, own, inputs)]


def _foreign_stages(own: settings.TrainFlowConfig) -> list[folders.Stage]:
    inputs = {"data": ["meta/**/*", "data/**/*"], "out": [f"{own.task}/*.safetensors"]}
    return [folders.Stage(own.task, flow_training.train_foreign, own, inputs)]


MENDABLE = (checkpoint.CheckpointError, errors.ConfigError, search.SearchFailed)


def _over_tasks(stage: Callable[[Any], Any], config: Any) -> None:
    names, failures = envs.tasks.resolve(config.task), []
    for name in names:
        try:
            stage(dataclasses.replace(config, task=name))
        except MENDABLE as error:
            failures.append((name, error))
    _tell(failures, f"{len(names)} tasks" if len(names) > 1 else "")


def _over_cluster(
    title: str,
    stages_of: Callable[[Any], Sequence[folders.Stage]],
    config: Any,
    *,
    after: Callable[[Any], None] = lambda config: None,
    foreign: bool = False,
) -> None:
    """What is left to do of each task, on the cluster; ``after`` that, here, what a task's stages leave to do.

    ``foreign``: the task is none of ours.
    """
    names = [config.task] if foreign else envs.tasks.resolve(config.task)
    cluster.prepare(config.launcher)
    devices.setup()
    stages: list[folders.Stage] = []
    failures: Failures = []
    for name in names:
        try:
            stages += stages_of(dataclasses.replace(config, task=name))
        except MENDABLE as error:
            failures.append((name, error))
    count = len(failures) + len(stages)
    for stage, ended in folders.run(title, stages, config.launcher):
        if ended.error is not None:
            failures.append((stage.name, ended.error))
    for name in dict.fromkeys(stage.config.task for stage in stages):
        after(dataclasses.replace(config, task=name))
    _tell(failures, f"{count} pieces" if count > 1 else "")


def _tell(failures: Failures, of: str) -> None:
    """Raise what failed: Unfinished where there was more to do."""
    if failures and not of:
        raise failures[0][1]
    if failures:
        told = " | ".join(f"{name}: {error}" for name, error in failures)
        raise Unfinished(f"{len(failures)} of {of} failed. {told}")
