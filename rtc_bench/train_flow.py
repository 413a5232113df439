"""Train a flow policy on a task's expert data: AdamW, one jitted scan an epoch, resumable after each epoch."""

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import envs
from policies import checkpoint, flow
from rtc_bench import config as configs
from rtc_bench import dataset, evaluator, parallel, progress, versions
from rtc_bench.strategies import naive


class Data(NamedTuple):
    """Training data on the device."""

    obs: Array  # [N, O], normalised
    action: Array  # [N, A]
    end: Array  # [N] int32, index after the step's episode


class Learner(NamedTuple):
    """What training carries from epoch to epoch."""

    params: flow.Params
    optimiser: Any


class Trainer:
    """Epochs of flow matching, one jitted scan each."""

    def __init__(self, config: configs.TrainFlowConfig, data: dataset.Episodes):
        self.config = config
        self.mean = data.obs.mean(0)
        self.std = np.maximum(data.obs.std(0), 1e-2)  # what hardly varies is not blown up
        end = dataset.ends(data.episode).astype(np.int32)
        self.data = Data(jnp.asarray((data.obs - self.mean) / self.std), jnp.asarray(data.action), jnp.asarray(end))
        sizes = {name: getattr(config, name) for name in _SIZES}
        self.flow = flow.FlowConfig(data.obs.shape[1], data.action.shape[1], **sizes)
        self.updates = max(1, len(end) // config.batch)  # an epoch
        total = self.updates * config.epochs
        warm = optax.linear_schedule(0.0, config.learning_rate, config.warmup)
        cool = optax.cosine_decay_schedule(config.learning_rate, max(1, total - config.warmup), config.anneal)
        schedule = optax.join_schedules([warm, cool], [config.warmup])
        self.optimiser = optax.chain(
            optax.clip_by_global_norm(config.gradient_clip),
            optax.adamw(schedule, weight_decay=config.weight_decay),
        )
        self._epoch = jax.jit(self._updates)

    def start(self) -> Learner:
        """Fresh weights."""
        params = flow.init(jax.random.key(self.config.seed), self.flow)
        return Learner(params, self.optimiser.init(params))

    def epoch(self, learner: Learner, number: int) -> tuple[Learner, float]:
        """One pass over the data in an order that depends on seed and epoch alone; returns the mean loss."""
        key = jax.random.fold_in(jax.random.key(self.config.seed + 1), number)
        order = jax.random.permutation(key, self.data.end.shape[0])[: self.updates * self.config.batch]
        learner, loss = self._epoch(self.data, learner, order.reshape(self.updates, -1), key)
        return learner, float(loss)

    def _updates(self, data: Data, learner: Learner, order: Array, key: Array) -> tuple[Learner, Array]:
        def update(learner: Learner, batch) -> tuple[Learner, Array]:
            index, key = batch
            time_key, noise_key = jax.random.split(key)
            action = dataset.chunks(data.action, data.end, index, horizon=self.flow.horizon)
            draw = {
                "time": jax.random.uniform(time_key, index.shape),
                "noise": jax.random.normal(noise_key, action.shape),
            }
            objective = functools.partial(flow.loss, obs=data.obs[index], action=action, **draw)
            value, gradient = jax.value_and_grad(objective)(learner.params)
            change, optimiser = self.optimiser.update(gradient, learner.optimiser, learner.params)
            return Learner(optax.apply_updates(learner.params, change), optimiser), value

        learner, losses = jax.lax.scan(update, learner, (order, jax.random.split(key, order.shape[0])))
        return learner, losses.mean()

    def policy(self, learner: Learner, weak: flow.Params | None) -> flow.FlowPolicy:
        """The policy of the current weights."""
        return flow.FlowPolicy(learner.params, self.flow, jnp.asarray(self.mean), jnp.asarray(self.std), weak)


_SIZES = ("horizon", "layers", "channels", "channel_hidden", "token_hidden")


def solve_rate(config: configs.TrainFlowConfig, policy: flow.FlowPolicy) -> float:
    """Naive execution without delay, s = 1."""
    env = envs.make(config.task, noise_std=config.noise_std)
    run = evaluator.Evaluator(env, policy, naive.Naive(flow_steps=config.flow_steps))
    return float(run(seed=12345, episodes=config.eval_episodes, delay=0, horizon=1).solved.mean())


def train(config: configs.TrainFlowConfig) -> pathlib.Path:
    """Train, or go on from the last finished epoch; returns the policy's file. Raises UnknownTask and ConfigError."""
    task = envs.tasks.check(config.task)
    parallel.setup()
    data, manifest = dataset.load(config.data, task)
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in ("out", "data")}
    recipe = {"settings": settings, "data": [part["sha256"] for part in manifest["parts"]]}
    folder = pathlib.Path(config.out) / task
    final, resume = folder / f"{task}.safetensors", folder / "resume.safetensors"
    if final.exists() and checkpoint.header(final)["recipe"] == recipe:
        return final
    trainer = Trainer(config, data)
    learner, weak, log = trainer.start(), None, []
    if resume.exists():
        arrays, head = checkpoint.load(resume, kind="flow-resume")
        if head["recipe"] == recipe:
            learner = checkpoint.unpacked(learner, arrays["learner"])
            weak, log = arrays.get("weak"), head["log"]
    with progress.bar(f"{task}: flow policy", config.epochs) as advance:
        for number in range(len(log), config.epochs):
            learner, loss = trainer.epoch(learner, number)
            log.append({"epoch": number + 1, "loss": loss})
            if number + 1 == config.weak_epoch:
                weak = jax.tree.map(np.asarray, learner.params)
            if config.eval_every and (number + 1) % config.eval_every == 0 and number + 1 < config.epochs:
                log[-1]["solve_rate"] = solve_rate(config, trainer.policy(learner, None))
            head = {"kind": "flow-resume", "recipe": recipe, "log": log}
            checkpoint.save(resume, {"learner": checkpoint.packed(learner), "weak": weak}, head)
            rates = [entry["solve_rate"] for entry in log if "solve_rate" in entry]
            advance(number + 1, config.epochs, f"loss {loss:.4f}" + (f", solves {rates[-1]:.2f}" if rates else ""))
    policy = trainer.policy(learner, weak)
    card = {
        "task": task,
        "interface": manifest["interface"],
        "recipe": recipe,
        "data": {name: manifest[name] for name in ("steps", "episodes", "solve_rate")},
        "epochs": config.epochs,
        "solve_rate": solve_rate(config, policy),
        "episodes": config.eval_episodes,
        "log": log,
        "versions": versions.collect(),
    }
    checkpoint.save_flow(final, policy, card)
    resume.unlink(missing_ok=True)
    return final
