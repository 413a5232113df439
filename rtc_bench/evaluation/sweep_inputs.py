"""From a sweep's settings to what it plays: each task's environment and policy, and the strategies."""

import dataclasses
import inspect
import pathlib
from collections.abc import Mapping

from rtc_bench import envs
from rtc_bench.common import errors, files
from rtc_bench.envs import task_env
from rtc_bench.evaluation import settings
from rtc_bench.policies import checkpoint, flow
from rtc_bench.strategies import base, contract, registry


@dataclasses.dataclass(frozen=True)
class TaskPolicy:
    """A task's environment, and the policy that acts in it."""

    env: task_env.TaskEnv
    policy: flow.FlowPolicy
    digest: str  # of the checkpoint file
    label: str  # goes into the policy column


def checkpoint_files(config: settings.SweepConfig) -> dict[str, pathlib.Path]:
    """Task -> checkpoint, for the tasks that the settings name. Raises ConfigError, UnknownTask, CheckpointError."""
    if config.policy == "zoo":
        available = checkpoint.zoo_files()
    elif pathlib.Path(config.policy).is_dir():
        folder = pathlib.Path(config.policy)
        # It holds <task>.safetensors, or <task>/<task>.safetensors as training leaves them.
        nested = {path.stem: path for path in sorted(folder.glob("*/*.safetensors")) if path.stem == path.parent.name}
        available = {**nested, **{path.stem: path for path in sorted(folder.glob("*.safetensors"))}}
    else:
        path = pathlib.Path(config.policy)
        header = checkpoint.read_header(path)
        available = {str(header.get("task")): path}
        if config.task != "all":
            available = {envs.tasks.check_name(task): path for task in config.tasks}
    if not available:
        raise errors.ConfigError(
            f"policy={config.policy} holds no <task>.safetensors; give a folder with some, or a file"
        )
    if config.task == "all":
        return {task: available[task] for task in envs.TASKS if task in available}
    for task in config.tasks:
        if envs.tasks.check_name(task) not in available:
            raise errors.ConfigError(
                f"task {task!r} has no policy in policy={config.policy} (it has: {', '.join(available)}); "
                f"train one with `make policy TASK={task}` and give policy=<file>"
            )
    return {task: available[task] for task in config.tasks}


def load_task_policy(config: settings.SweepConfig, task: str, path: pathlib.Path) -> TaskPolicy:
    """A task's environment and policy. Raises CheckpointError for a policy made for something else."""
    env = envs.make(task, interface=config.interface, engine=config.engine, noise_std=config.noise_std)
    policy, _ = checkpoint.load_flow(path, **env.signature)
    origin = "zoo" if config.policy == "zoo" else path.parent.name
    digest = files.sha256(path)[:12]
    return TaskPolicy(env, policy, digest, f"{origin}/{path.stem}@{digest}")


def build_strategies(config: settings.SweepConfig) -> dict[str, base.Strategy]:
    """Strategy name -> strategy. Raises ConfigError."""
    specs = {registry.name_of(spec): spec for spec in config.strategies}
    for name in config.options:
        if name not in specs:
            near = errors.did_you_mean(name, specs)
            raise errors.ConfigError(
                f"options.{name} is set, but strategy= does not list {name!r}{near}; add it or drop the option"
            )
    strategies = {}
    for name, spec in specs.items():
        options = {"flow_steps": config.flow_steps, **config.options.get(name, {})}
        strategies[name] = registry.build(spec, **options)
    if len(specs) < len(config.strategies):
        raise errors.ConfigError(f"strategy={list(config.strategies)} names one twice; list each once")
    return strategies


def check_strategies(strategies: Mapping[str, base.Strategy], policy: flow.FlowPolicy) -> None:
    """Raise ConfigError for a strategy that the policy lacks something for, or a foreign one that breaks a rule."""
    for strategy in strategies.values():
        if contract.is_foreign(strategy):
            contract.check(strategy, policy)
        else:
            strategy.check(policy)


def digests(task_policies: Mapping[str, TaskPolicy], strategies: Mapping[str, base.Strategy]) -> dict[str, str]:
    """Digests of what a result depends on besides settings: policies, and strategies from outside the package."""
    identity = {f"policy {task}": task_policy.digest for task, task_policy in task_policies.items()}
    for name, strategy in strategies.items():
        if contract.is_foreign(strategy):
            identity[f"strategy {name}"] = files.sha256(pathlib.Path(inspect.getfile(type(strategy))))[:12]
    return identity
