"""The stages from nothing to a policy, over several tasks: experts, data, flow policies; and flow policies of foreign data."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from rtc_bench import envs
from rtc_bench.common import errors
from rtc_bench.common.lerobot import reader
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data, expert_training, flow_training, search, settings


class Unfinished(RuntimeError):
    """Some tasks failed; the others are done."""


def train_experts(config: settings.TrainExpertConfig) -> None:
    """Stage 1. Raises UnknownTask before anything runs, and Unfinished after all tasks."""
    _over_tasks(expert_training.train, config)


def generate_data(config: settings.GenerateDataConfig) -> None:
    """Stage 2. Raises as stage 1 does."""
    _over_tasks(expert_data.generate, config)


def train_flows(config: settings.TrainFlowConfig) -> None:
    """Stage 3, or a policy of the LeRobot data set that ``config.data`` is. Raises as stage 1 does, and ConfigError."""
    if config.data != settings.TrainFlowConfig.data and not pathlib.Path(config.data).is_dir():
        raise errors.ConfigError(
            f"data={config.data}: no such folder; make it with `{errors.command('generate-data')}`, or give a LeRobot data set"
        )
    if reader.is_data_set(config.data):
        flow_training.train_foreign(config)
    else:
        _over_tasks(flow_training.train, config)


def _over_tasks(stage: Callable[[Any], Any], config: Any) -> None:
    names, failed = envs.tasks.resolve(config.task), []
    for name in names:
        try:
            stage(dataclasses.replace(config, task=name))
        except (checkpoint.CheckpointError, errors.ConfigError, search.SearchFailed) as error:
            if len(names) == 1:
                raise
            failed.append(f"{name}: {error}")
    if failed:
        raise Unfinished(f"{len(failed)} of {len(names)} tasks failed. " + " | ".join(failed))
