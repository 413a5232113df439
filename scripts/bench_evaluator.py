"""Cells of a sweep against the sum of their parts: seconds, and the share of the bound that is reached.

The bound takes the same control steps and chunks as the cell, at the speed of the physics alone and of the strategy alone,
measured in turns with it: 1 / (1/physics-only + 1/policy-only). Shipped policies, all cores; medians of rounds.
Writes evaluator.csv into --out. One compilation serves all strategies of a task: compile_s is the same in its rows.
"""

import statistics
import time
from collections.abc import Callable, Mapping

import _bench
import jax
import jax.numpy as jnp
import numpy as np

import envs
from policies import checkpoint, flow
from rtc_bench import config as configs
from rtc_bench import evaluator, parallel, strategies
from rtc_bench.strategies import base

STEPS, CHUNKS = 64, 8  # of a timing of the parts
Part = Callable[[], object]


def _blocks(count: int) -> tuple[int, int]:
    """Blocks a device and their size, as the evaluator cuts them."""
    local = -(-count // jax.device_count())
    size = min(local, evaluator.BLOCK) if jax.default_backend() == "cpu" else local
    return -(-local // size), size


def physics(env: envs.env.TaskEnv, blocks: int, size: int) -> Part:
    """``STEPS`` control steps of ``blocks`` x ``size`` episodes a device, with their actuation noise."""

    def block(key):
        _, state = env.reset(key, size)
        action = jnp.zeros((size, env.action_size))

        def step(state, key):
            obs, after, reward, *_ = env.step(jax.random.split(key, size), state, action)
            return after, (obs.sum(), reward.sum())  # so that all of it is computed

        return jax.lax.scan(step, state, jax.random.split(key, STEPS))

    return _everywhere(lambda keys: jax.lax.map(block, keys), blocks)


def policy(trained: flow.FlowPolicy, strategy: base.Strategy, blocks: int, size: int) -> Part:
    """``CHUNKS`` requests of ``blocks`` x ``size`` episodes a device, with their flow noise, at d = s = 2."""
    trained = trained.ready([strategy.flow_steps])
    shape = (size, trained.config.horizon, trained.config.action_size)
    two = jnp.int32(2)

    def block(key):
        obs = trained.obs_mean + trained.obs_std * jax.random.normal(key, (size, trained.config.obs_size))

        def ask(carry, key):
            chunk, memory = carry
            keys = jax.random.split(key, size)
            noise = jax.vmap(lambda key: jax.random.normal(key, shape[1:]))(keys)
            return strategy.plan(trained, base.Request(obs, chunk, two, two, noise, keys), memory), None

        start = jnp.zeros(shape), strategy.init(trained, size)
        return jax.lax.scan(ask, start, jax.random.split(key, CHUNKS))[0]

    return _everywhere(lambda keys: jax.lax.map(block, keys), blocks)


def _everywhere(function: Callable, blocks: int) -> Part:
    keys = jax.random.split(jax.random.key(0), (jax.device_count(), blocks))
    run = parallel.Spread(function)
    return lambda: jax.block_until_ready(run(keys))


def seconds(call: Part) -> float:
    """Wall time."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(task: str, built: Mapping[str, base.Strategy], cells, episodes: int, repeats: int) -> list[_bench.Row]:
    """Rows of a task."""
    env = envs.make(task)
    trained, _ = checkpoint.load_flow(checkpoint.zoo()[task], **env.signature)
    player = evaluator.Evaluator(env, trained, *built.values(), batch=episodes)
    blocks, size = _blocks(episodes)
    played = blocks * size * jax.device_count()
    bodies, rows = physics(env, blocks, size), []
    asks = {name: policy(trained, strategy, blocks, size) for name, strategy in built.items()}
    first = seconds(lambda: player(seed=0, episodes=episodes, delay=0, horizon=1))
    compile_s = first - seconds(lambda: player(seed=0, episodes=episodes, delay=0, horizon=1))
    for part in (bodies, *asks.values()):
        part()  # compiles
    for which, (name, ask) in enumerate(asks.items()):
        for d, s in cells:
            cell = {"seed": 0, "episodes": episodes, "delay": d, "horizon": s, "which": which}
            length = player(**cell).length
            steps, chunks = int(length.sum()), int(np.ceil(length / s).sum())
            told = []
            for _ in range(repeats):
                took = seconds(lambda cell=cell: player(**cell))
                physics_s = seconds(bodies) * steps / (STEPS * played)
                told.append((took, physics_s, seconds(ask) * chunks / (CHUNKS * played)))
            took, physics_s, policy_s = (statistics.median(column) for column in zip(*told, strict=True))
            share = statistics.median((body + ask) / whole for whole, body, ask in told)
            row = {"task": task, "strategy": name, "delay": d, "horizon": s, "episodes": episodes, "steps": steps}
            row |= {"chunks": chunks, "seconds": f"{took:.3f}", "physics_s": f"{physics_s:.3f}"}
            rows.append(
                {**row, "policy_s": f"{policy_s:.3f}", "share": f"{share:.2f}", "compile_s": f"{compile_s:.1f}"}
            )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = _bench.parser(__doc__)
    parser.add_argument("--episodes", type=int, default=256, help="default 256")
    parser.add_argument("--repeats", type=int, default=3, help="default 3")
    given = _bench.parse(parser)
    parallel.setup()
    jax.config.update("jax_enable_compilation_cache", False)
    built = {name: strategies.get(name) for name in configs.STRATEGIES}
    rows: list[_bench.Row] = []
    for task in given.tasks:
        for row in measure(task, built, configs.cells([1, 3], "auto", configs.HORIZON), given.episodes, given.repeats):
            rows.append(row)
            _bench.record(given.out / "evaluator.csv", rows)


if __name__ == "__main__":
    main()
