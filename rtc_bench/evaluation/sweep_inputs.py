"""From a sweep's settings to what it plays: each task's environment and policy, and the strategies."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from rtc_bench import envs, policies
from rtc_bench.common import devices, errors, files, foreign_code, schema
from rtc_bench.envs import task_env
from rtc_bench.evaluation import settings
from rtc_bench.policies import checkpoint, flow, foreign
from rtc_bench.realtime.serving import client
from rtc_bench.strategies import base, contract, registry

Source = pathlib.Path | foreign.Source  # of a policy: a checkpoint, or what was made elsewhere


@dataclasses.dataclass(frozen=True)
class TaskPolicy:
    """A task's environment, and the policy that acts in it."""

    env: task_env.TaskEnv
    policy: flow.FlowPolicy | foreign.ForeignPolicy
    digest: str  # of the checkpoint file, or of what was made elsewhere
    label: str  # goes into the policy column
    weights: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)  # what strategies learned: name -> file


def policy_sources(config: settings.SweepConfig) -> dict[str, Source]:
    """Task -> where its policy comes from, for the tasks that the settings name.

    Raises ConfigError, UnknownTask, CheckpointError, BrokenPolicy and ServerError.
    """
    is_server = client.is_url(config.policy)
    if not is_server and not foreign.is_spec(config.policy):
        return dict(checkpoint_files(config))
    tasks = envs.TASKS if config.task == "all" else tuple(map(envs.tasks.check_name, config.tasks))
    devices.setup()  # before a user's file may use JAX
    if not is_server:
        return _loaded(config, tasks)
    source = client.connect(config.policy)
    if config.task == "all" and source.task is None:
        raise errors.ConfigError(f"policy={config.policy} does not say which task it is for; name it by task=")
    served = (source.task or tasks[0],)
    if config.task != "all" and tasks != served:
        raise errors.ConfigError(
            f"policy={config.policy} serves task {served[0]!r}, not {', '.join(tasks)}; give task={served[0]}, "
            "or serve another: python scripts/serve.py task=..."
        )
    return {served[0]: source}


def _loaded(config: settings.SweepConfig, tasks: tuple[str, ...]) -> dict[str, Source]:
    """What the user's function returns for each task; of all tasks those that it does not refuse."""
    sources: dict[str, Source] = {}
    refusals = []
    for task in tasks:
        try:
            sources[task] = foreign.load(config.policy, task)
        except foreign.NoPolicyForTask as error:
            if config.task != "all":
                raise
            refusals.append(error)
    if not sources:
        raise refusals[0]
    for error in refusals:
        print(f"{error}; it is left out", flush=True)
    return sources


def chunk_length(source: Source) -> int:
    """H of a source's policy. Raises CheckpointError."""
    if isinstance(source, foreign.Source):
        return source.horizon
    return checkpoint.read_header(source).get("config", {}).get("horizon", policies.PREDICTION_HORIZON)


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
        if not available.keys() & set(envs.TASKS):
            names = ", ".join(available)
            raise errors.ConfigError(f"policy={config.policy} is for {names}: no task of ours; give one that is")
        return {task: available[task] for task in envs.TASKS if task in available}
    for task in config.tasks:
        if envs.tasks.check_name(task) not in available:
            raise errors.ConfigError(
                f"task {task!r} has no policy in policy={config.policy} (it has: {', '.join(available)}); "
                f"train one with `make policy TASK={task}` and give policy=<file>"
            )
    return {task: available[task] for task in config.tasks}


def load_task_policy(
    config: settings.SweepConfig, task: str, source: Source, strategies: Mapping[str, base.Strategy] | None = None
) -> TaskPolicy:
    """A task's environment and policy, with what the strategies learned for it.

    Raises CheckpointError for a policy or weights made for something else, BrokenPolicy and ServerError for one made
    elsewhere, and ConfigError for weights that are not there.
    """
    env = envs.make(task, interface=config.interface, engine=config.engine, noise_std=config.noise_std)
    if isinstance(source, foreign.Source):
        policy, digest = foreign.adapt(source, obs_size=env.obs_size, action_size=env.action_size), source.digest
        task_policy = TaskPolicy(env, policy, digest, f"{source.label}@{digest}")
    else:
        policy, _ = checkpoint.load_flow(source, **env.signature)
        origin = "zoo" if config.policy == "zoo" else source.parent.name
        digest = files.sha256(source)[:12]
        task_policy = TaskPolicy(env, policy, digest, f"{origin}/{source.stem}@{digest}")
    weights, weights_files = {}, {}
    for name, strategy in (strategies or {}).items():
        stage = strategy.training
        if stage is not None:
            _check_velocity(name, strategy, policy)  # before weights are asked for that could not be trained
            trained_for = {"policy": digest, "options": training_options(strategy), "code": code_digest(strategy)}
            file = _weights_file(config, name, stage.name, source, task, trained_for)
            expected = contract.calling(
                [strategy],
                lambda strategy=strategy: jax.eval_shape(strategy.initial_weights, policy, jax.random.key(0)),
            )
            told = {"class_name": foreign_class(strategy), "command": _training_command(config, name, task)}
            weights[stage.name] = checkpoint.load_weights(file, expected, **trained_for, **told)
            weights_files[stage.name] = file
    return dataclasses.replace(task_policy, policy=dataclasses.replace(policy, weights=weights), weights=weights_files)


METHODS = "methods"  # the folder beside policies that holds what strategies learned for them


def training_options(strategy: base.Strategy) -> dict[str, Any]:
    """The strategy's settings that its training depends on: all of its own, and flow steps where its loss may sample."""
    options = dataclasses.asdict(strategy)
    if not contract.is_foreign(strategy):  # none of ours does; they act by any number of steps
        del options["flow_steps"]
    return json.loads(json.dumps(options))


def _weights_file(
    config: settings.SweepConfig,
    strategy_name: str,
    stage: str,
    source: Source,
    task: str,
    trained_for: Mapping[str, Any],
) -> pathlib.Path:
    """The first that was ``trained_for`` just this, or else the one that is nearest to it.

    Raises ConfigError where there is none, and CheckpointError.
    """
    parents = [] if isinstance(source, foreign.Source) else [source.parent, source.parent.parent]
    beside = [folder / METHODS for folder in parents]
    folders = [pathlib.Path(config.weights), *beside]
    present = [file for folder in folders if (file := checkpoint.weights_file(folder, stage, task)).exists()]
    if not present:
        raise errors.ConfigError(
            f"{strategy_name} needs weights that it learns for the policy of {task}, and there are none in "
            f"{' or '.join(str(folder.absolute()) for folder in folders[:2])}; "
            f"train them: {_training_command(config, strategy_name, task)}"
        )

    def fit(file: pathlib.Path) -> list[bool]:
        recipe = checkpoint.read_header(file).get("recipe", {})
        return [recipe.get(name) == value for name, value in trained_for.items()]

    nearest = max(present, key=fit)
    if nearest.parent.parent not in beside:
        print(f"{task}: {strategy_name} acts by {nearest}", flush=True)
    return nearest


def _training_command(config: settings.SweepConfig, strategy_name: str, task: str) -> str:
    (spec,) = (spec for spec in config.strategies if registry.name_of(spec) == strategy_name)
    settings_apart = {"policy": (config.policy, "zoo"), "out": (config.weights, settings.SweepConfig.weights)}
    arguments = [f" {name}={value}" for name, (value, default) in settings_apart.items() if value != default]
    options = {} if config.flow_steps == settings.SweepConfig.flow_steps else {"flow_steps": config.flow_steps}
    options |= config.options.get(strategy_name, {})
    arguments += [f" options.{strategy_name}.{name}={value}" for name, value in options.items()]
    return f"python scripts/train_method.py task={task} strategy={spec}" + "".join(arguments)


def check_weights_folder(config: settings.SweepConfig, strategies: Mapping[str, base.Strategy]) -> None:
    """Raise ConfigError for a ``weights`` that was given and cannot be meant."""
    folder = pathlib.Path(config.weights)
    names = [strategy.training.name for strategy in strategies.values() if strategy.training is not None]
    if not names or config.weights == settings.SweepConfig.weights:
        return  # as long as nothing was trained, the default is not there
    if not folder.is_dir():
        raise errors.ConfigError(
            f"weights={config.weights}: {folder.absolute()} is no folder; give one that train_method.py filled"
        )
    inner = folder / METHODS
    if any((inner / name).is_dir() for name in names) and not any((folder / name).is_dir() for name in names):
        raise errors.ConfigError(f"weights={config.weights} holds none of {', '.join(names)}; give weights={inner}")


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
        contract.check_stage(strategies[name])
    if len(specs) < len(config.strategies):
        raise errors.ConfigError(f"strategy={list(config.strategies)} names one twice; list each once")
    return strategies


def delay_horizon_pairs(
    config: settings.SweepConfig, chunk: int, strategies: Mapping[str, base.Strategy]
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Strategy name -> the (d, s) pairs that it plays. Raises ConfigError for a delay that suits none of the strategies."""
    pairs: dict[str, tuple[tuple[int, int], ...]] = dict.fromkeys(strategies, ())
    for delay in schema.whole_numbers("delay", config.delay):
        refusals = []
        for name, strategy in strategies.items():
            try:
                whole_chunk = strategy.timing != base.DELAYED
                pairs[name] += settings.delay_horizon_pairs([delay], config.horizon, chunk, whole_chunk=whole_chunk)
            except errors.ConfigError as error:
                refusals.append(error)
        if len(refusals) == len(strategies):
            raise refusals[0]
    return pairs


def check_strategies(strategies: Mapping[str, base.Strategy], policy: flow.FlowPolicy | foreign.ForeignPolicy) -> None:
    """Raise ConfigError for a strategy that the policy lacks something for, or a foreign one that breaks a rule.

    Under a policy made elsewhere all strategies are traced, so that its errors are told before anything is compiled.
    """
    for name, strategy in strategies.items():
        _check_velocity(name, strategy, policy)
        if contract.is_foreign(strategy) or isinstance(policy, foreign.ForeignPolicy):
            foreign.calling(policy, lambda strategy=strategy: contract.check(strategy, policy))
        else:
            strategy.check(policy)


def calling(
    strategies: Sequence[base.Strategy], policy: flow.FlowPolicy | foreign.ForeignPolicy, call: Callable[[], Any]
) -> Any:
    """What a call returns that runs their code. Raises BrokenStrategy, BrokenPolicy, and what a policy failed by."""
    return foreign.calling(policy, lambda: contract.calling(strategies, call))


def _check_velocity(name: str, strategy: base.Strategy, policy: flow.FlowPolicy | foreign.ForeignPolicy) -> None:
    if not strategy.takes_velocity or not isinstance(policy, foreign.ForeignPolicy) or policy.gives_velocity:
        return
    fitting = [spec for spec in registry.NAMES if _fits(registry.build(spec), policy)]
    raise errors.ConfigError(
        f"{name} needs a velocity, and {policy.source.name} gives chunks alone; these need none: {', '.join(fitting)}"
    )


def _fits(strategy: base.Strategy, policy: foreign.ForeignPolicy) -> bool:
    """The policy has what the strategy needs; weights may have to be trained."""
    try:
        strategy.check(policy)
    except errors.ConfigError:
        return False
    return policy.gives_velocity or not strategy.takes_velocity


def digests(task_policies: Mapping[str, TaskPolicy], strategies: Mapping[str, base.Strategy]) -> dict[str, str]:
    """Digests of what a result depends on besides settings: policies, and strategies from outside the package."""
    identity = {f"policy {task}": task_policy.digest for task, task_policy in task_policies.items()}
    for task, task_policy in task_policies.items():
        identity |= {f"weights {name} {task}": files.sha256(file)[:12] for name, file in task_policy.weights.items()}
    for name, strategy in strategies.items():
        if code := code_digest(strategy):
            identity[f"strategy {name}"] = code
    return identity


def foreign_class(strategy: base.Strategy) -> str | None:
    """The name of a class from outside the package."""
    return type(strategy).__qualname__ if contract.is_foreign(strategy) else None


def code_digest(strategy: base.Strategy) -> str | None:
    """Of the file of a strategy from outside the package."""
    if not contract.is_foreign(strategy):
        return None
    return foreign_code.sha256(type(strategy))[:12]
