"""One episode of a task as film strips or an animation, under one strategy or several beside each other."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rtc_bench import envs, policies
from rtc_bench.common import devices, progress
from rtc_bench.envs import scene_pictures, task_env
from rtc_bench.evaluation import evaluator, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.policies import flow, foreign
from rtc_bench.reporting import settings as reporting_settings
from rtc_bench.strategies import base

Films = dict[str, list[scene_pictures.Frame]]  # title -> the moving bodies at every control step


@dataclasses.dataclass(frozen=True)
class _Unplanned(base.Strategy):
    """Uniform actions, each held for a chunk, or zeros; for looking at a task without a policy."""

    random: bool = True

    def prepare(self, policy):
        """There is nothing to compute."""
        return policy

    def first(self, policy, obs, noise):
        """Never executed."""
        return jnp.zeros_like(noise)

    def plan(self, policy, request, memory):
        """One action a chunk."""
        shape = request.previous.shape
        draws = jax.vmap(lambda key: jax.random.uniform(key, shape[2:], minval=-1.0))(request.key)
        return jnp.broadcast_to(self.random * draws[:, None], shape), memory


def side_by_side(
    env: task_env.TaskEnv, policy: flow.FlowPolicy, strategies: Mapping[str, base.Strategy], **episode: Any
) -> Films:
    """The same episode under each strategy, titled with its end; ``episode`` as ``Evaluator.replay`` takes it."""
    films: Films = {}
    evaluate = evaluator.Evaluator(env, policy, *strategies.values())
    with progress.bar(f"{env.name}: film", len(strategies), "episodes") as advance:
        advance.wait(f"compiling {env.name}")
        for strategy_index, name in enumerate(strategies):
            replay = functools.partial(evaluate.replay, **episode, strategy_index=strategy_index)
            frames, solved = foreign.calling(policy, replay)
            films[f"{name}: {'solved' if solved else 'not solved'}"] = frames
            advance(strategy_index + 1)
    return films


def save(env: task_env.TaskEnv, films: Films, path: pathlib.Path, *, count: int = 6, every: int = 1) -> None:
    """An animation (.gif), or film strips of ``count`` stills."""
    if path.suffix == ".gif":
        scene_pictures.animate(env.scene, films, env.control_dt, path, every=every)
    else:
        scene_pictures.strip(env.scene, films, env.control_dt, path, count=count)


def render(config: reporting_settings.RenderConfig) -> pathlib.Path:
    """Simulate one episode and save its picture. Raises UnknownTask, ConfigError, CheckpointError."""
    envs.tasks.check_name(config.task)
    devices.setup()
    strategies: dict[str, base.Strategy]
    if config.policy in ("none", "random"):
        env = envs.make(config.task)
        zeros = jnp.zeros(env.obs_size)
        policy = flow.FlowPolicy({}, flow.FlowConfig(env.obs_size, env.action_size), zeros, zeros + 1)
        strategies = {config.policy: _Unplanned(random=config.policy == "random")}
        delay, horizon = 0, policies.PREDICTION_HORIZON
    else:
        sweep_config = evaluation_settings.SweepConfig(
            task=config.task, policy=config.policy, strategy=config.strategies, interface=config.interface
        )
        strategies, path = (
            sweep_inputs.build_strategies(sweep_config),
            sweep_inputs.policy_sources(sweep_config)[config.task],
        )
        task_policy = sweep_inputs.load_task_policy(sweep_config, config.task, path, strategies)
        env, policy = task_policy.env, task_policy.policy
        whole_chunk = all(strategy.timing != base.DELAYED for strategy in strategies.values())
        ((delay, horizon),) = evaluation_settings.delay_horizon_pairs(
            config.delay, "auto", policy.config.horizon, whole_chunk=whole_chunk
        )
        sweep_inputs.check_strategies(strategies, policy)
    episode = {"seed": config.seed, "episode": config.episode, "delay": delay, "horizon": horizon}
    films = side_by_side(env, policy, strategies, **episode)
    out = pathlib.Path(config.out or f"results/{config.task}.png")
    save(env, films, out, count=config.frames)
    for title, frames in films.items():
        print(f"{config.task}, {title} after {len(frames) - 1} control steps")
    print(f"-> {out}")
    return out
