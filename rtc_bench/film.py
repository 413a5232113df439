"""One episode of a task as film strips or an animation, under one strategy or several beside each other."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

import envs
import envs.env
import envs.render
from policies import flow
from rtc_bench import assemble, evaluator, parallel
from rtc_bench import config as configs
from rtc_bench.strategies import base

Films = dict[str, list[envs.render.Frame]]  # title -> the moving bodies at every control step


@dataclasses.dataclass(frozen=True)
class _Unplanned(base.Strategy):
    """Uniform actions, each held for a chunk, or zeros; for looking at a task without a policy."""

    random: bool = True

    def first(self, policy, obs, noise):
        """Never executed."""
        return jnp.zeros_like(noise)

    def plan(self, policy, request, memory):
        """One action a chunk."""
        shape = request.previous.shape
        draws = jax.vmap(lambda key: jax.random.uniform(key, shape[2:], minval=-1.0))(request.key)
        return jnp.broadcast_to(self.random * draws[:, None], shape), memory


def beside(env: envs.env.TaskEnv, policy: flow.FlowPolicy, built: Mapping[str, base.Strategy], **cell: int) -> Films:
    """The same episode under each strategy, titled with its end; ``cell`` as ``Evaluator.watch`` takes it."""
    films: Films = {}
    player = evaluator.Evaluator(env, policy, *built.values())
    for which, name in enumerate(built):
        frames, solved = player.watch(**cell, which=which)
        films[f"{name}: {'solved' if solved else 'not solved'}"] = frames
    return films


def save(env: envs.env.TaskEnv, films: Films, path: pathlib.Path, *, count: int = 6, every: int = 1) -> None:
    """An animation (.gif), or film strips of ``count`` moments."""
    if path.suffix == ".gif":
        envs.render.animate(env.scene, films, env.control_dt, path, every=every)
    else:
        envs.render.strip(env.scene, films, env.control_dt, path, count=count)


def make(config: configs.RenderConfig) -> pathlib.Path:
    """Simulate one episode and save its picture. Raises UnknownTask, ConfigError, CheckpointError."""
    envs.tasks.check(config.task)
    parallel.setup()
    delay, horizon = configs.cells(config.delay, "auto", configs.HORIZON)[0]
    built: dict[str, base.Strategy]
    if config.policy in ("none", "random"):
        env = envs.make(config.task)
        zeros = jnp.zeros(env.obs_size)
        policy = flow.FlowPolicy({}, flow.FlowConfig(env.obs_size, env.action_size), zeros, zeros + 1)
        built, delay, horizon = {config.policy: _Unplanned(random=config.policy == "random")}, 0, configs.HORIZON
    else:
        settings = configs.SweepConfig(task=config.task, policy=config.policy, strategy=config.strategies)
        built, path = assemble.built(settings), assemble.checkpoints(settings)[config.task]
        entry = assemble.entry(settings, config.task, path)
        env, policy = entry.env, entry.policy
        for strategy in built.values():
            strategy.check(policy)
    films = beside(env, policy, built, seed=config.seed, episode=config.episode, delay=delay, horizon=horizon)
    out = pathlib.Path(config.out or f"results/{config.task}.png")
    save(env, films, out, count=config.frames)
    for title, frames in films.items():
        print(f"{config.task}, {title} after {len(frames) - 1} control steps")
    print(f"-> {out}")
    return out
