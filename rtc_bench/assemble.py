"""From a sweep's settings to what it runs: each task's environment and policy, and the strategies."""

import dataclasses
import pathlib
from typing import Any

import envs
import envs.env
from policies import checkpoint, flow
from rtc_bench import config as configs
from rtc_bench import manifests, strategies


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


def entry(settings: configs.SweepConfig, task: str, path: pathlib.Path) -> Entry:
    """A task's environment and policy. Raises CheckpointError for a policy made for something else."""
    env = envs.make(task, interface=settings.interface, engine=settings.engine, noise_std=settings.noise_std)
    policy, _ = checkpoint.load_flow(path, **env.signature)
    origin = "zoo" if settings.policy == "zoo" else path.parent.name
    digest = manifests.sha256(path)[:12]
    return Entry(policy, env, digest, f"{origin}/{path.stem}@{digest}")


def built(settings: configs.SweepConfig) -> dict[str, Any]:
    """Strategy name -> strategy. Raises ConfigError."""
    specs = {strategies.name_of(spec): spec for spec in settings.strategies}
    for name in settings.options:
        if name not in specs:
            near = configs.nearest(name, specs)
            raise configs.ConfigError(
                f"options.{name} is set, but strategy= does not list {name!r}{near}; add it or drop the option"
            )
    found = {}
    for name, spec in specs.items():
        try:
            found[name] = strategies.get(spec, **{"flow_steps": settings.flow_steps, **settings.options.get(name, {})})
        except configs.ConfigError:
            raise
        except (TypeError, ValueError) as error:  # a strategy's own check of its fields
            raise configs.ConfigError(f"options.{name}: {error}") from error
    if len(specs) < len(settings.strategies):
        raise configs.ConfigError(f"strategy={list(settings.strategies)} names one twice; list each once")
    return found


def identity(entries: dict[str, Entry], built: dict[str, Any]) -> dict[str, Any]:
    """Digests of what a result depends on besides settings: policies, and strategies from outside the package."""
    import inspect

    found = {f"policy {task}": entry.digest for task, entry in entries.items()}
    for name, strategy in built.items():
        if not type(strategy).__module__.startswith("rtc_bench."):
            found[f"strategy {name}"] = manifests.sha256(pathlib.Path(inspect.getfile(type(strategy))))[:12]
    return found
