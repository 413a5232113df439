"""Training stages of several strategies, over several tasks."""

import functools
import pathlib
import time
from collections.abc import Mapping

from rtc_bench import envs
from rtc_bench.common import costs, devices, errors
from rtc_bench.evaluation import plan, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.method_training import settings, stage
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import base, contract, registry


class Unfinished(RuntimeError):
    """Some strategies or tasks failed; the others are done."""


def train_methods(config: settings.TrainMethodConfig, *, dry_run: bool = False) -> None:
    """Train what is missing, task by task; ``dry_run``: only say what that is.

    Raises ConfigError, UnknownTask, UnknownStrategy and CheckpointError before anything runs, and Unfinished after all tasks.
    """
    sweep_config = _sweep_config(config)
    strategies = _strategies(config, sweep_config)
    paths = sweep_inputs.policy_sources(sweep_config)
    devices.setup()
    task_policies = {task: sweep_inputs.load_task_policy(sweep_config, task, path) for task, path in paths.items()}
    for task_policy in task_policies.values():
        for strategy in filter(contract.is_foreign, strategies.values()):
            contract.check_training(strategy, task_policy.policy)
    parts = [
        _part(config, stage.Sources(config, task_policy), name, strategy)
        for task_policy in task_policies.values()
        for name, strategy in strategies.items()
    ]
    costs.show("stage", parts, config.out, each=dry_run)
    failed = [f"{part.name}: {part.refusal}" for part in parts if part.refusal and dry_run]
    for task, task_policy in task_policies.items() if not dry_run else ():
        sources = stage.Sources(config, task_policy)
        for name, strategy in strategies.items():
            began = time.monotonic()
            try:
                train = functools.partial(stage.train, config, name, strategy, sources)
                file = contract.calling([strategy], train)
            except (checkpoint.CheckpointError, errors.ConfigError) as error:
                if len(paths) * len(strategies) == 1:
                    raise
                failed.append(f"{task}, {name}: {error}")
                continue
            print(f"{task}, {name}: {_size(file)}, {time.monotonic() - began:.0f} s -> {file}", flush=True)
    if failed:
        raise Unfinished(f"{len(failed)} of {len(paths) * len(strategies)} failed. " + " | ".join(failed))


def _part(config: settings.TrainMethodConfig, sources: stage.Sources, name: str, strategy: base.Strategy) -> costs.Part:
    """What a strategy's stage is for a task; seconds where the policy and the batches are such as were measured."""
    title = f"{sources.task}, {name}"
    try:
        share, own = stage.share_left(config, strategy, sources), stage.build_stage(strategy, config)
        amount = own.epochs * sources.steps(own.source) / 1e5 * share
    except (checkpoint.CheckpointError, errors.ConfigError) as error:
        return costs.Part(title, 1, 1, None, str(error))
    is_measured = plan.has_shipped_size(sources.task_policy) and config.batch is None
    value = costs.value("method", name) if is_measured and not contract.is_foreign(strategy) else None
    return costs.Part(title, 1, int(share > 0), None if value is None else costs.scaled(value * amount))


def _size(file: pathlib.Path) -> str:
    return f"{file.stat().st_size / 1000:.0f} kB"


def _sweep_config(config: settings.TrainMethodConfig) -> evaluation_settings.SweepConfig:
    """What the strategies will be played by."""
    if config.task != "all":
        envs.tasks.resolve(config.task)
    names = registry.trained_names() if config.strategy == "all" else config.strategies
    return evaluation_settings.SweepConfig(
        task=config.task, strategy=names, policy=config.policy, noise_std=config.noise_std, options=config.options
    )


def _strategies(
    config: settings.TrainMethodConfig, sweep_config: evaluation_settings.SweepConfig
) -> Mapping[str, base.Strategy]:
    for spec in sweep_config.strategies:
        registry.check_spec(spec)
    strategies = sweep_inputs.build_strategies(sweep_config)
    owners: dict[str, str] = {}
    for spec, (name, strategy) in zip(sweep_config.strategies, strategies.items(), strict=True):
        if strategy.training is None:
            learners = ", ".join(registry.trained_names())
            raise errors.ConfigError(
                f"strategy={spec} has no training stage, there is nothing to train; those that learn: {learners}, or "
                "your own that sets `training`, see rtc_bench/strategies/base.py"
            )
        stage_name = stage.build_stage(strategy, config).name
        owner = owners.setdefault(stage_name, name)
        if owner != name:
            raise errors.ConfigError(
                f"{owner} and {name} both name their weights {stage_name!r}; give one's TrainingStage another name"
            )
    return strategies
