"""Train what a strategy needs for a policy: jitted scans of some hundred updates, resumable after each."""

import dataclasses
import functools
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rtc_bench.common import errors, progress, versions
from rtc_bench.evaluation import sweep_inputs
from rtc_bench.method_training import moments, settings
from rtc_bench.policies import checkpoint, flow
from rtc_bench.strategies import base, contract
from rtc_bench.training import expert_data, experts, flow_training
from rtc_bench.training import settings as training_settings

RESUME = ".resume"  # how the files end that training goes on from
ROUND = 500  # updates between resumable saves, at most
LAST_SHARE = 0.01  # of a training whose rounds are done, and whose weights are not written yet


class MethodTrainingState(NamedTuple):
    """What is carried from update to update."""

    weights: base.Weights
    average: base.Weights  # of the weights over updates; the weights themselves where the stage keeps none
    optimiser: Any


class MethodTrainer:
    """Updates by a strategy's own loss."""

    def __init__(
        self,
        strategy: base.Strategy,
        stage: base.TrainingStage,
        policy: flow.FlowPolicy,
        source: moments.Moments,
        own: np.ndarray,
        seed: int,
    ):
        self.strategy, self.stage, self.policy, self.source = strategy, stage, policy, source
        self.own, self.seed = jnp.asarray(own), seed
        self.updates = max(1, source.size // stage.batch)  # an epoch
        self.total = self.updates * stage.epochs
        names = ("learning_rate", "weight_decay", "gradient_clip")
        rates = {name: getattr(stage, name) for name in names} | {"warmup": min(stage.warmup, self.total // 2)}
        self.optimiser = flow_training.build_optimiser(self.total, anneal=0.01, **rates)
        self.rounds_an_epoch = -(-self.updates // ROUND)
        self._round = jax.jit(self._run_updates)

    def initial_state(self) -> MethodTrainingState:
        """The weights that the strategy begins with. Raises ConfigError for those that no file can hold."""
        weights = self.strategy.initial_weights(self.policy, jax.random.key(self.seed))
        if misfit := _misfit(weights):
            raise errors.ConfigError(
                f"{type(self.strategy).__name__}: initial_weights must return a dict of jax.numpy arrays or of such dicts, "
                f"under names without '/'; it holds {misfit}"
            )
        return MethodTrainingState(weights, weights, self.optimiser.init(weights))

    def round(self, state: MethodTrainingState, number: int) -> tuple[MethodTrainingState, float]:
        """Part of a pass, in an order that depends on seed and pass alone; returns the mean loss."""
        epoch, part = divmod(number, self.rounds_an_epoch)
        key = jax.random.fold_in(jax.random.key(self.seed + 1), epoch)
        count = min(self.updates * self.stage.batch, self.source.size)
        order = jax.random.permutation(key, self.source.size)[:count].reshape(self.updates, -1)
        keys = jax.random.split(key, self.updates)
        size = -(-self.updates // self.rounds_an_epoch)
        of_round = jnp.arange(part * size, (part + 1) * size)  # those past the end are left out
        own = jnp.minimum(of_round, self.updates - 1)
        items = (order[own], keys[own], epoch * self.updates + own, of_round < self.updates)
        state, loss = self._round(self.policy, self.source, state, items)
        return state, float(loss)

    def begins_finite(self, state: MethodTrainingState) -> bool:
        """True if the loss of some moments is a finite number before any update."""
        index = jnp.arange(min(self.stage.batch, self.source.size))
        horizon, progress = self.policy.config.horizon, jnp.float32(0.0)
        batch = self.source.batch(index, horizon=horizon, own=self.own, progress=progress)
        loss = jax.jit(self.strategy.loss)(self.policy, state.weights, batch, jax.random.key(self.seed))
        return bool(jnp.isfinite(loss))

    def _run_updates(
        self, policy: flow.FlowPolicy, source: moments.Moments, state: MethodTrainingState, items: tuple
    ) -> tuple[MethodTrainingState, Array]:
        def update(state: MethodTrainingState, index: Array, key: Array, number: Array) -> tuple:
            batch = source.batch(
                index, horizon=policy.config.horizon, own=self.own, progress=number.astype(jnp.float32) / self.total
            )
            value, gradient = jax.value_and_grad(self.strategy.loss, argnums=1)(policy, state.weights, batch, key)
            change, optimiser = self.optimiser.update(gradient, state.optimiser, state.weights)
            weights = optax.apply_updates(state.weights, change)
            decay = jnp.minimum(self.stage.average, (1.0 + number) / (10.0 + number))  # so that the start is forgotten
            average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average, weights)
            return MethodTrainingState(weights, average, optimiser), value

        def update_if_counted(state: MethodTrainingState, item: tuple) -> tuple[MethodTrainingState, Array]:
            *arguments, counted = item
            return jax.lax.cond(counted, update, lambda state, *_: (state, jnp.float32(0.0)), state, *arguments)

        state, losses = jax.lax.scan(update_if_counted, state, items)
        return state, losses.sum() / items[-1].sum()


def build_stage(strategy: base.Strategy, config: settings.TrainMethodConfig) -> base.TrainingStage:
    """The strategy's own stage, changed as the settings say. Raises ConfigError for a strategy that does not learn."""
    stage = strategy.training
    if stage is None:
        raise errors.ConfigError(
            f"{type(strategy).__name__} has no training stage; one that learns sets `training`, see rtc_bench/strategies/base.py"
        )
    contract.check_stage(strategy)
    changes = {name: getattr(config, name) for name in ("epochs", "batch", "learning_rate")}
    return dataclasses.replace(stage, **{name: value for name, value in changes.items() if value is not None})


class Sources:
    """What a task's stages learn from, made when it is first asked for."""

    def __init__(self, config: settings.TrainMethodConfig, task_policy: sweep_inputs.TaskPolicy):
        self.config, self.task_policy, self.task = config, task_policy, task_policy.env.name
        self.seconds: dict[str, float] = {}  # that a source took, once it is there

    def of(self, source: str) -> moments.Moments:
        """Of the data, or of roll-outs."""
        began = time.monotonic()
        own = self._data if source == base.DATA else self._rollouts
        self.seconds.setdefault(source, round(time.monotonic() - began, 2))
        return own

    def identity(self, source: str) -> dict[str, Any]:
        """What decides their content. Raises ConfigError and CheckpointError where something is missing."""
        if source == base.DATA:
            return {"data": [part["sha256"] for part in self._manifest["parts"]]}
        expert, header = self._expert
        record = {name: header[name] for name in ("seed", "steps", "solve_rate")}
        rollouts = {"steps": self.config.rollout_steps, "noise_std": self.config.noise_std, "seed": self.config.seed}
        return {"rollouts": rollouts, "expert": {**record, "digest": experts.digest(expert)}}

    def steps(self, source: str) -> int:
        """Control steps of them. Raises ConfigError."""
        return self._manifest["steps"] if source == base.DATA else self.config.rollout_steps

    @functools.cached_property
    def _manifest(self) -> dict[str, Any]:
        return expert_data.read_manifest(self.config.data, self.task)

    @functools.cached_property
    def _expert(self) -> tuple:
        return moments.best_expert(self.config.experts, self.task)

    @functools.cached_property
    def _data(self) -> moments.DataMoments:
        return moments.of_data(expert_data.load(self.config.data, self.task)[0])

    @functools.cached_property
    def _rollouts(self) -> moments.RolloutMoments:
        expert, header = self._expert
        expert_config = training_settings.TrainExpertConfig.from_mapping(header["config"])
        amount = {"steps": self.config.rollout_steps, "seed": self.config.seed}
        return moments.of_rollouts(self.task_policy.env, self.task_policy.policy, expert, expert_config, **amount)


def train(config: settings.TrainMethodConfig, name: str, strategy: base.Strategy, sources: Sources) -> pathlib.Path:
    """Train one strategy's weights for one task, or go on from the last save; returns their file.

    Raises ConfigError and CheckpointError.
    """
    stage, task_policy, task = build_stage(strategy, config), sources.task_policy, sources.task
    recipe = _recipe(config, strategy, stage, sources)
    path = checkpoint.weights_file(config.out, stage.name, task)
    resume_file = path.with_name(f"{task}{RESUME}")
    finished = _header_of(path)
    if _is_finished(path, finished, recipe, _initial(config, strategy, task_policy)):
        return path
    if "class" in recipe:
        checkpoint.check_class(path, finished, recipe["class"])
    trainer = MethodTrainer(
        strategy, stage, task_policy.policy, sources.of(stage.source), task_policy.env.own, config.seed
    )
    state, log = trainer.initial_state(), []
    if _header_of(resume_file).get("recipe") == recipe:
        arrays, header = checkpoint.load(resume_file, kind="method-resume")
        if _shapes(arrays) == _shapes(checkpoint.pack_leaves(state)):
            state, log = checkpoint.unpack_leaves(state, arrays), header["log"]
    rounds = stage.epochs * trainer.rounds_an_epoch
    with progress.bar(f"{task}: {name}", rounds, "rounds", done=len(log)) as advance:
        advance.wait(f"compiling {name} for {task}")
        for number in range(len(log), rounds):
            began, before = time.monotonic(), state
            state, loss = trainer.round(before, number)
            if not np.isfinite(loss):
                remedy = f"is {loss} in round {number + 1}; lower learning_rate="
                if number == 0 and not trainer.begins_finite(before):
                    remedy = "itself is not finite, before any update; look for a division by 0 or a logarithm of it"
                raise errors.ConfigError(f"{task}: the loss of {name} {remedy}")
            log.append({"round": number + 1, "loss": loss, "seconds": round(time.monotonic() - began, 2)})
            header = {"kind": "method-resume", "recipe": recipe, "log": log}
            checkpoint.save(resume_file, checkpoint.pack_leaves(state), header)
            advance(number + 1, note=f"loss {loss:.4f}")
    with np.errstate(over="ignore"):
        halves = [np.asarray(leaf, np.float16) for leaf in jax.tree.leaves(state.average)]
    if not all(np.isfinite(half).all() for half in halves):
        raise errors.ConfigError(
            f"{task}: {name} learned numbers that are inf or nan in half precision, in which they are kept; "
            "lower learning_rate="
        )
    card = {"task": task, "method": stage.name, "recipe": recipe, "log": log, "versions": versions.collect()}
    card["source_seconds"] = sources.seconds[stage.source]
    checkpoint.save_weights(path, state.average, card)
    resume_file.unlink(missing_ok=True)
    return path


def share_left(config: settings.TrainMethodConfig, strategy: base.Strategy, sources: Sources) -> float:
    """Of a strategy's training for a task, from 0 (finished) to 1. Raises ConfigError and CheckpointError."""
    stage = build_stage(strategy, config)
    recipe, initial = _recipe(config, strategy, stage, sources), _initial(config, strategy, sources.task_policy)
    path = checkpoint.weights_file(config.out, stage.name, sources.task)
    if _is_finished(path, _header_of(path), recipe, initial):
        return 0.0
    begun = _header_of(path.with_name(f"{sources.task}{RESUME}"))
    if begun.get("recipe") != recipe:
        return 1.0
    length = 1 if stage.source == base.DATA else sources.task_policy.policy.config.horizon  # of a moment, control steps
    updates = max(1, sources.steps(stage.source) // length // stage.batch)
    return max(LAST_SHARE, 1 - len(begun["log"]) / (stage.epochs * -(-updates // ROUND)))


def _recipe(
    config: settings.TrainMethodConfig, strategy: base.Strategy, stage: base.TrainingStage, sources: Sources
) -> dict[str, Any]:
    """What decides weights."""
    recipe = {
        "policy": sources.task_policy.digest,
        "options": sweep_inputs.training_options(strategy),
        "stage": dataclasses.asdict(stage),
        "seed": config.seed,
        **sources.identity(stage.source),
    }
    if code := sweep_inputs.code_digest(strategy):
        recipe |= {"code": code, "class": sweep_inputs.foreign_class(strategy)}
    return recipe


def _initial(
    config: settings.TrainMethodConfig, strategy: base.Strategy, task_policy: sweep_inputs.TaskPolicy
) -> base.Weights:
    """Shapes of what the strategy begins with."""
    return jax.eval_shape(strategy.initial_weights, task_policy.policy, jax.random.key(config.seed))


def _is_finished(path: pathlib.Path, header: dict[str, Any], recipe: dict[str, Any], initial: Any) -> bool:
    """Whether weights are by this recipe, and such as the strategy begins with now, whose sizes may be its code's."""
    if not header:
        return False
    arrays = checkpoint.load(path, kind="weights")[0]
    made_by = header["recipe"]
    if "expert" in made_by and "expert" in recipe:  # the first shipped weights do not name their expert's digest
        made_by["expert"].setdefault("digest", recipe["expert"]["digest"])
    return made_by == recipe and _shapes(arrays) == _shapes(initial)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def _header_of(path: pathlib.Path) -> dict[str, Any]:
    """Of a file that an earlier training left; empty where there is none, and for a damaged one, which will be replaced."""
    try:
        return checkpoint.load(path, kind={RESUME: "method-resume"}.get(path.suffix, "weights"))[1]
    except checkpoint.CheckpointError as error:
        if path.exists():
            print(f"{str(error).partition(';')[0]}; it is damaged, and will be replaced", flush=True)
        return {}


def _misfit(weights: Any, place: str = "") -> str:
    """What a checkpoint file cannot hold, which is a dict of arrays that may be nested; empty where there is nothing."""
    if not isinstance(weights, dict):
        return "" if isinstance(weights, jax.Array) else f"{type(weights).__name__} at {place or 'the top'}"
    for name, value in weights.items():
        if not isinstance(name, str) or "/" in name:
            return f"the name {name!r}"
        if misfit := _misfit(value, f"{place}/{name}" if place else name):
            return misfit
    return ""
