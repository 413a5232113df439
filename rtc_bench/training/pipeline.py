"""The stages from nothing to a policy, over several tasks: experts, data, flow policies; and flow policies of foreign data."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from rtc_bench import envs
from rtc_bench.common import costs, devices, errors
from rtc_bench.common.lerobot import reader
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data, expert_training, flow_training, plan, search, settings


class Unfinished(RuntimeError):
    """Some tasks failed; the others are done."""


def train_experts(config: settings.TrainExpertConfig, *, dry_run: bool = False) -> None:
    """Stage 1; ``dry_run``: only say what is missing. Raises UnknownTask before anything runs, and Unfinished after all tasks."""
    _over_tasks(expert_training.train, config, plan.experts, "expert", dry_run)


def generate_data(config: settings.GenerateDataConfig, *, dry_run: bool = False) -> None:
    """Stage 2, likewise."""
    _over_tasks(expert_data.generate, config, plan.data, "data set", dry_run)


def train_flows(config: settings.TrainFlowConfig, *, dry_run: bool = False) -> None:
    """Stage 3, or a policy of the LeRobot data set that ``config.data`` is; likewise. Raises ConfigError, too."""
    if config.data != settings.TrainFlowConfig.data and not pathlib.Path(config.data).is_dir():
        raise errors.ConfigError(
            f"data={config.data}: no such folder; make it with `{errors.command('generate-data')}`, or give a LeRobot data set"
        )
    if reader.is_data_set(config.data):
        flow_training.train_foreign(config, dry_run=dry_run)
    else:
        _over_tasks(flow_training.train, config, plan.flow, "flow policy", dry_run)


def _over_tasks(
    stage: Callable[[Any], Any], config: Any, planned: Callable[[Any], costs.Part], noun: str, dry_run: bool
) -> None:
    names, failed = envs.tasks.resolve(config.task), []
    devices.setup()
    parts = [_part(planned, dataclasses.replace(config, task=name)) for name in names]
    costs.show(noun, parts, config.out, each=dry_run)
    if dry_run:
        failed = [f"{part.name}: {part.refusal}" for part in parts if part.refusal]
    for name in names if not dry_run else ():
        try:
            stage(dataclasses.replace(config, task=name))
        except (checkpoint.CheckpointError, errors.ConfigError, search.SearchFailed) as error:
            if len(names) == 1:
                raise
            failed.append(f"{name}: {error}")
    if failed:
        raise Unfinished(f"{len(failed)} of {len(names)} tasks failed. " + " | ".join(failed))


def _part(planned: Callable[[Any], costs.Part], config: Any) -> costs.Part:
    try:
        return planned(config)
    except (checkpoint.CheckpointError, errors.ConfigError) as error:
        return costs.Part(config.task, 1, 1, None, str(error))
