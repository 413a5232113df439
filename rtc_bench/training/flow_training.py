"""Train a flow policy on a task's expert data, or on a LeRobot data set: AdamW, one jitted scan an epoch, resumable."""

import dataclasses
import functools
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rtc_bench import envs
from rtc_bench.common import devices, errors, progress, schema, versions
from rtc_bench.common.lerobot import reader
from rtc_bench.evaluation import evaluator
from rtc_bench.policies import checkpoint, flow, normalised
from rtc_bench.strategies import naive
from rtc_bench.training import expert_data, settings


class TrainingData(NamedTuple):
    """Training data on the device."""

    obs: Array  # [N, O], normalised
    action: Array  # [N, A]
    end: Array  # [N] int32, index after the step's episode


class FlowTrainingState(NamedTuple):
    """What training carries from epoch to epoch."""

    params: flow.Params
    optimiser: Any


class FlowTrainer:
    """Epochs of flow matching, one jitted scan each.

    ``foreign`` data are in units that are not ours: a state of small numbers is scaled up as well, past an episode's end the
    last action is held, since 0 need not be rest there, and there may be too few for the whole warm-up.
    """

    def __init__(self, config: settings.TrainFlowConfig, data: expert_data.ExpertSteps, *, foreign: bool = False):
        self.config, self.foreign = config, foreign
        self.mean = data.obs.mean(0)
        # What hardly varies is not blown up.
        self.std = deviation(data.obs) if foreign else np.maximum(data.obs.std(0), 1e-2)
        end = expert_data.episode_ends(data.episode).astype(np.int32)
        self.data = TrainingData(
            jnp.asarray((data.obs - self.mean) / self.std), jnp.asarray(data.action), jnp.asarray(end)
        )
        sizes = {name: getattr(config, name) for name in _SIZES}
        self.flow_config = flow.FlowConfig(data.obs.shape[1], data.action.shape[1], **sizes)
        self.updates = max(1, len(end) // config.batch)  # an epoch
        rates = {name: getattr(config, name) for name in _RATES}
        total = self.updates * config.epochs
        if foreign:
            rates["warmup"] = min(config.warmup, total // 10)
        self.optimiser = build_optimiser(total, **rates)
        self._epoch = jax.jit(self._run_updates)

    def initial_state(self) -> FlowTrainingState:
        """Fresh weights."""
        params = flow.init(jax.random.key(self.config.seed), self.flow_config)
        return FlowTrainingState(params, self.optimiser.init(params))

    def epoch(self, state: FlowTrainingState, number: int) -> tuple[FlowTrainingState, float]:
        """One pass over the data in an order that depends on seed and epoch alone; returns the mean loss."""
        key = jax.random.fold_in(jax.random.key(self.config.seed + 1), number)
        order = jax.random.permutation(key, self.data.end.shape[0])[: self.updates * self.config.batch]
        state, loss = self._epoch(self.data, state, order.reshape(self.updates, -1), key)
        return state, float(loss)

    def _run_updates(
        self, data: TrainingData, state: FlowTrainingState, order: Array, key: Array
    ) -> tuple[FlowTrainingState, Array]:
        def update(state: FlowTrainingState, batch) -> tuple[FlowTrainingState, Array]:
            index, key = batch
            time_key, noise_key = jax.random.split(key)
            shape = {"horizon": self.flow_config.horizon, "holds_last": self.foreign}
            action = expert_data.action_chunks(data.action, data.end, index, **shape)
            draws = {
                "time": jax.random.uniform(time_key, index.shape),
                "noise": jax.random.normal(noise_key, action.shape),
            }
            objective = functools.partial(flow.loss, obs=data.obs[index], action=action, **draws)
            value, gradient = jax.value_and_grad(objective)(state.params)
            change, optimiser = self.optimiser.update(gradient, state.optimiser, state.params)
            return FlowTrainingState(optax.apply_updates(state.params, change), optimiser), value

        state, losses = jax.lax.scan(update, state, (order, jax.random.split(key, order.shape[0])))
        return state, losses.mean()

    def policy(self, state: FlowTrainingState, weak: flow.Params | None) -> flow.FlowPolicy:
        """The policy of the current weights."""
        return flow.FlowPolicy(state.params, self.flow_config, jnp.asarray(self.mean), jnp.asarray(self.std), weak)


def build_optimiser(
    updates: int, *, learning_rate: float, warmup: int, anneal: float, gradient_clip: float, weight_decay: float
) -> optax.GradientTransformation:
    """AdamW with clipped gradients; the learning rate rises linearly, then falls along a cosine to a share ``anneal``."""
    warm = optax.linear_schedule(0.0, learning_rate, warmup)
    cool = optax.cosine_decay_schedule(learning_rate, max(1, updates - warmup), anneal)
    schedule = optax.join_schedules([warm, cool], [warmup])
    return optax.chain(optax.clip_by_global_norm(gradient_clip), optax.adamw(schedule, weight_decay=weight_decay))


def deviation(values: np.ndarray) -> np.ndarray:
    """Standard deviation [D] of [N, D]; 1 where values differ by no more than roundings of float32 could."""
    std = values.std(0, dtype=np.float64)
    return np.where(std > 1e-6 * np.abs(values).max(0), std, 1.0).astype(np.float32)


_RATES = ("learning_rate", "warmup", "anneal", "gradient_clip", "weight_decay")
_SIZES = ("horizon", "layers", "channels", "channel_hidden", "token_hidden")


def solve_rate(config: settings.TrainFlowConfig, policy: flow.FlowPolicy) -> float:
    """Naive execution without delay, s = 1."""
    env = envs.make(config.task, noise_std=config.noise_std)
    evaluate = evaluator.Evaluator(env, policy, naive.Naive(flow_steps=config.flow_steps))
    return float(evaluate(seed=12345, episodes=config.eval_episodes, delay=0, horizon=1).solved.mean())


def train(config: settings.TrainFlowConfig) -> pathlib.Path:
    """Train, or go on from the last finished epoch; returns the policy's file. Raises UnknownTask and ConfigError."""
    task = envs.tasks.check_name(config.task)
    devices.setup()
    data, manifest = expert_data.load(config.data, task)
    recipe = _recipe(config, manifest)
    card = {"interface": manifest["interface"]}
    card["data"] = {name: manifest[name] for name in ("steps", "episodes", "solve_rate")}
    return _train(config, lambda: FlowTrainer(config, data), recipe, card, functools.partial(solve_rate, config))


def _recipe(config: settings.TrainFlowConfig, manifest: dict[str, Any]) -> dict[str, Any]:
    return {"settings": _settings(config, _KEYS), "data": [part["sha256"] for part in manifest["parts"]]}


class Stand(NamedTuple):
    """How far the training of a task's policy is."""

    is_finished: bool
    epochs: int  # that are done
    steps: int  # control steps of an epoch


def stand(config: settings.TrainFlowConfig) -> Stand:
    """Raises UnknownTask and ConfigError."""
    manifest = expert_data.read_manifest(config.data, envs.tasks.check_name(config.task))
    recipe, (_, resume_file) = _recipe(config, manifest), _files(config)
    if _is_finished(config, recipe):
        return Stand(True, config.epochs, manifest["steps"])
    header = checkpoint.read_header(resume_file) if resume_file.exists() else {}
    return Stand(False, len(header["log"]) if header.get("recipe") == recipe else 0, manifest["steps"])


def _files(config: settings.TrainFlowConfig) -> tuple[pathlib.Path, pathlib.Path]:
    """The policy, and what training goes on from."""
    folder = pathlib.Path(config.out) / config.task
    return folder / f"{config.task}.safetensors", folder / "resume.safetensors"


def _is_finished(config: settings.TrainFlowConfig, recipe: dict[str, Any]) -> bool:
    policy_file, _ = _files(config)
    return policy_file.exists() and checkpoint.read_header(policy_file)["recipe"] == recipe


class ForeignData(NamedTuple):
    """A LeRobot data set, as a policy learns from it."""

    data: expert_data.ExpertSteps
    recipe: dict[str, Any]
    card: dict[str, Any]
    is_finished: bool  # the policy is there


def read_foreign(config: settings.TrainFlowConfig) -> ForeignData:
    """The LeRobot data set in the folder ``config.data``, for a policy under any name.

    Actions are in the data's units, which may be pixels or radians. The policy learns them less their mean, over their
    standard deviation: as wide as the noise that flow matching begins with, and not at the mercy of the one wildest action,
    as a scaling by minimum and maximum is. The header holds both (``policies.normalised``); our own tasks' actions lie in
    [-1, 1] and are learned as they are. Raises ConfigError.
    """
    if not isinstance(config.task, str) or not re.fullmatch(r"\w[\w.-]*", config.task) or config.task == "all":
        raise errors.ConfigError(f"task={config.task!r} cannot name a policy; give one name of letters, digits and _")
    if config.task in envs.TASKS:
        raise errors.ConfigError(
            f"task={config.task} is a task of ours, and data={config.data} is itself a LeRobot data set; give data= the "
            "folder that it lies in, or another name"
        )
    devices.setup()
    keys = {"state_keys": schema.as_tuple(config.state_key), "action_key": config.action_key}
    frames = reader.load(config.data, **keys)
    mean, std = frames.action.mean(0, dtype=np.float64).astype(np.float32), deviation(frames.action)
    nobody_says = np.zeros(len(frames.episode), bool)
    data = expert_data.ExpertSteps(frames.state, (frames.action - mean) / std, frames.episode, nobody_says)
    described = {**keys, "state_keys": list(keys["state_keys"])}
    recipe = {"settings": _settings(config, _KEYS + _EVALUATION), "data": frames.digests, **described}
    sizes = {"steps": len(frames.episode), "episodes": len(np.unique(frames.episode)), "fps": frames.fps}
    card = {"interface": normalised.INTERFACE, "action": normalised.header(mean, std), "data": {**sizes, **described}}
    return ForeignData(data, recipe, card, _is_finished(config, recipe))


def train_foreign(config: settings.TrainFlowConfig, own: ForeignData | None = None) -> pathlib.Path:
    """Like ``train``, of a LeRobot data set; there is no simulator to measure the policy in. Raises ConfigError."""
    own = own or read_foreign(config)
    return _train(config, lambda: FlowTrainer(config, own.data, foreign=True), own.recipe, own.card, None)


# Settings that do not decide what is learned from the same data.
_KEYS = ("out", "data", "state_key", "action_key", "launcher")
_EVALUATION = ("flow_steps", "eval_every", "eval_episodes", "noise_std")


def _settings(config: settings.TrainFlowConfig, without: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in without}


def _train(
    config: settings.TrainFlowConfig,
    build_trainer: Callable[[], FlowTrainer],
    recipe: dict[str, Any],
    card: dict[str, Any],
    measure: Callable[[flow.FlowPolicy], float] | None,
) -> pathlib.Path:
    """The policy of a recipe, in ``<out>/<task>/<task>.safetensors``; ``measure`` is its solve rate, if any can be had."""
    task, (policy_file, resume_file) = config.task, _files(config)
    if _is_finished(config, recipe):
        return policy_file
    trainer = build_trainer()
    state, weak, log = trainer.initial_state(), None, []
    if resume_file.exists():
        arrays, header = checkpoint.load(resume_file, kind="flow-resume")
        if header["recipe"] == recipe:
            state = checkpoint.unpack_leaves(state, arrays["learner"])
            weak, log = arrays.get("weak"), header["log"]
    with progress.bar(f"{task}: flow policy", config.epochs, "epochs", done=len(log)) as advance:
        advance.wait(f"compiling {task}")
        for number in range(len(log), config.epochs):
            began = time.monotonic()
            state, loss = trainer.epoch(state, number)
            if not np.isfinite(loss):
                raise errors.ConfigError(f"{task}: the loss is {loss} in epoch {number + 1}; lower learning_rate=")
            log.append({"epoch": number + 1, "loss": loss, "seconds": round(time.monotonic() - began, 2)})
            if number + 1 == config.weak_epoch:
                # For contrast alone: half precision will do.
                weak = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), state.params)
            due = config.eval_every and (number + 1) % config.eval_every == 0 and number + 1 < config.epochs
            if measure and due:
                log[-1]["solve_rate"] = measure(trainer.policy(state, None))
            header = {"kind": "flow-resume", "recipe": recipe, "log": log}
            checkpoint.save(resume_file, {"learner": checkpoint.pack_leaves(state), "weak": weak}, header)
            rates = [entry["solve_rate"] for entry in log if "solve_rate" in entry]
            advance(number + 1, note=f"loss {loss:.4f}" + (f", solves {rates[-1]:.2f}" if rates else ""))
    policy = trainer.policy(state, weak)
    card = {"task": task, "recipe": recipe, **card, "epochs": config.epochs, "log": log, "versions": versions.collect()}
    if measure:
        card |= {"solve_rate": measure(policy), "episodes": config.eval_episodes}
    checkpoint.save_flow(policy_file, policy, card)
    resume_file.unlink(missing_ok=True)
    return policy_file
