"""One episode of a task as a film strip or an animation."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import envs
import envs.render
from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import execution, strategies
from rtc_bench.strategies import base


def _random_actions(env, seed: int) -> np.ndarray:
    """[T, A]: uniform, held for 8 control steps."""
    rng = np.random.default_rng(seed)
    held = rng.uniform(env.action_low, env.action_high, (-(-env.max_steps // 8), env.action_size))
    return np.repeat(held, 8, axis=0)[: env.max_steps].astype(np.float32)


class _Controller:
    """Chooses actions for one episode, in plain Python: this is for looking, not for measuring."""

    def __init__(self, config: configs.RenderConfig, env):
        self.config, self.env, self.policy = config, env, None
        self.random = _random_actions(env, config.seed) * (config.policy == "random")
        if config.policy in ("none", "random"):
            return
        files = checkpoint.zoo()
        if config.policy == "zoo" and env.name not in files:
            raise configs.ConfigError(
                f"the zoo has no policy for {env.name}; it has: {', '.join(files)}; give policy=<file>"
            )
        path = files[env.name] if config.policy == "zoo" else config.policy
        self.policy, _ = checkpoint.load_flow(path, **env.signature)
        self.strategy = strategies.get(config.strategy)
        self.strategy.check(self.policy)
        self.plan = jax.jit(self.strategy.plan)
        self.horizon = max(config.delay, 1)
        self.memory = self.strategy.init(self.policy, 1)
        self.chunk = jnp.zeros((1, self.policy.config.horizon, env.action_size))

    def __call__(self, time: int, obs: jax.Array) -> jax.Array:
        if self.policy is None:
            return self.random[time][None]
        if time % self.horizon == 0:
            key = jax.random.split(jax.random.fold_in(jax.random.key(self.config.seed), time), 2)
            noise = jax.random.normal(key[0], (1, self.policy.config.horizon, self.env.action_size))
            old = (
                self.strategy.first(self.policy, obs, noise) if time == 0 else execution.shift(self.chunk, self.horizon)
            )
            delay, horizon = np.int32(self.config.delay), np.int32(self.horizon)
            request = base.Request(obs, old, delay, horizon, noise, key[1:])
            new, self.memory = self.plan(self.policy, request, self.memory)
            self.chunk = execution.merge(old, new, delay)
        index = time % self.horizon
        return self.strategy.correct(self.policy, obs, self.chunk[:, index], np.int32(index), self.memory)


def make(config: configs.RenderConfig) -> pathlib.Path:
    """Simulate one episode and save its picture. Raises UnknownTask, ConfigError, CheckpointError."""
    env = envs.make(config.task)
    configs.cells(config.delay, "auto", configs.HORIZON)
    control = _Controller(config, env)
    step, bodies = jax.jit(env.step), jax.jit(lambda state: env.engine.bodies(state.sim)[:3])
    key = jax.random.key(config.seed)
    obs, state = env.reset(key, 1)
    frames, ending = [], "time limit"
    for time in range(min(config.steps, env.max_steps)):
        frames.append(tuple(np.asarray(column)[:, 0] for column in bodies(state)))
        obs, state, _, terminated, _, info = step(jax.random.fold_in(key, time), state, control(time, obs))
        if terminated[0]:
            ending = "solved" if info["solved"][0] else "failed"
            break
    frames.append(tuple(np.asarray(column)[:, 0] for column in bodies(state)))
    path = pathlib.Path(config.out or f"results/{config.task}.png")
    if path.suffix == ".gif":
        envs.render.animate(env.scene, frames, env.control_dt, path)
    else:
        shown = np.unique(np.linspace(0, len(frames) - 1, config.frames).round().astype(int))
        envs.render.strip(env.scene, [frames[i] for i in shown], [i * env.control_dt for i in shown], path)
    print(f"{config.task}: {len(frames) - 1} control steps, {ending} -> {path}")
    return path
