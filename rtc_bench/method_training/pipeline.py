"""Training stages of several strategies, over several tasks."""

import functools
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rtc_bench import envs
from rtc_bench.common import costs, devices, errors
from rtc_bench.evaluation import plan, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.launching import cluster, folders
from rtc_bench.method_training import settings, stage
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import base, contract, registry

MENDABLE = (checkpoint.CheckpointError, errors.ConfigError)


class Unfinished(RuntimeError):
    """Some strategies or tasks failed; the others are done."""


Key = tuple[str, str]  # task and strategy
Trained = float | Exception  # seconds, or why not
Strategies = Mapping[str, base.Strategy]
TaskPolicies = Mapping[str, sweep_inputs.TaskPolicy]


def train_methods(config: settings.TrainMethodConfig, *, dry_run: bool = False) -> None:
    """Train what is missing, task by task; with launcher=ray each by a worker of its own. ``dry_run``: only say what that is.

    Raises ConfigError, UnknownTask, UnknownStrategy and CheckpointError before anything runs, and Unfinished after all tasks.
    """
    sweep_config = _sweep_config(config)
    strategies = _strategies(config, sweep_config)
    cluster.prepare(config.launcher)
    paths = sweep_inputs.policy_sources(sweep_config)
    devices.setup()
    task_policies = {task: sweep_inputs.load_task_policy(sweep_config, task, path) for task, path in paths.items()}
    for task_policy in task_policies.values():
        for strategy in filter(contract.is_foreign, strategies.values()):
            contract.check_training(strategy, task_policy.policy)
    parts = {
        (task, name): _part(config, stage.Sources(config, task_policy), name, strategy)
        for task, task_policy in task_policies.items()
        for name, strategy in strategies.items()
    }
    costs.show("stage", parts.values(), config.out, each=dry_run)
    failures: dict[Key, Exception] = {}
    if dry_run:
        failures = {key: errors.ConfigError(part.refusal) for key, part in parts.items() if part.refusal}
    elif config.launcher.is_ray:
        failures = _told(config, strategies, _train_on_cluster(config, strategies, task_policies, parts))
    else:
        failures = _told(config, strategies, _train_here(config, strategies, task_policies))
    if failures and len(parts) == 1:
        raise next(iter(failures.values()))
    if failures:
        told = " | ".join(f"{task}, {name}: {error}" for (task, name), error in failures.items())
        raise Unfinished(f"{len(failures)} of {len(parts)} failed. {told}")


def _told(
    config: settings.TrainMethodConfig, strategies: Strategies, trainings: Iterable[tuple[Key, Trained]]
) -> dict[Key, Exception]:
    """Tell of each that is trained; those that are not."""
    failures = {}
    for (task, name), trained in trainings:
        if isinstance(trained, Exception):
            failures[task, name] = trained
        else:
            file = checkpoint.weights_file(config.out, stage.build_stage(strategies[name], config).name, task)
            print(f"{task}, {name}: {_size(file)}, {trained:.0f} s -> {file}", flush=True)
    return failures


def _train_here(
    config: settings.TrainMethodConfig, strategies: Strategies, task_policies: TaskPolicies
) -> Iterator[tuple[Key, Trained]]:
    for task, task_policy in task_policies.items():
        for name, trained in _train_task(strategies, task_policy, config):
            yield (task, name), trained


def _train_task(
    strategies: Strategies, task_policy: sweep_inputs.TaskPolicy, config: settings.TrainMethodConfig
) -> Iterator[tuple[str, Trained]]:
    sources = stage.Sources(config, task_policy)
    for name, strategy in strategies.items():
        began = time.monotonic()
        try:
            contract.calling([strategy], functools.partial(stage.train, config, name, strategy, sources))
            yield name, time.monotonic() - began
        except MENDABLE as error:
            yield name, error


def _train_on_cluster(
    config: settings.TrainMethodConfig,
    strategies: Strategies,
    task_policies: TaskPolicies,
    parts: Mapping[Key, costs.Part],
) -> Iterator[tuple[Key, Trained]]:
    stages = []
    for task, task_policy in task_policies.items():
        own = {name: parts[task, name] for name in strategies}
        yield from (((task, name), errors.ConfigError(part.refusal)) for name, part in own.items() if part.refusal)
        missing = {name: strategies[name] for name, part in own.items() if part.missing and not part.refusal}
        if missing:
            function = functools.partial(_train_whole_task, missing, task_policy)
            stages.append(folders.Stage(task, function, config, _inputs(config, task, missing)))
    for ended_stage, ended in folders.run("methods", stages, config.launcher):
        for name, trained in ended.value:
            yield (ended_stage.name, name), trained


def _train_whole_task(*arguments: Any) -> list[tuple[str, Trained]]:
    return list(_train_task(*arguments))


def _inputs(config: settings.TrainMethodConfig, task: str, strategies: Strategies) -> dict[str, list[str]]:
    """The files that training these strategies needs."""
    stages = [stage.build_stage(strategy, config) for strategy in strategies.values()]
    inputs = {"out": [f"{own.name}/{task}{ending}" for own in stages for ending in (".safetensors", stage.RESUME)]}
    if any(own.source == base.DATA for own in stages):
        inputs["data"] = [f"{task}/manifest.json", f"{task}/**/*.parquet"]
    if any(own.source == base.ROLLOUTS for own in stages):
        inputs["experts"] = [f"{task}/seed*.safetensors", f"{task}/checkpoints/seed*.safetensors"]
    return inputs


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


def _strategies(config: settings.TrainMethodConfig, sweep_config: evaluation_settings.SweepConfig) -> Strategies:
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
