"""Cells of a sweep against the sum of their parts: seconds, and the share of the bound that is reached.

The bound takes as many control steps and chunks as the cell, at the speed of the physics alone and of the strategy alone,
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

from rtc_bench import envs, policies
from rtc_bench.common import devices, progress
from rtc_bench.envs import task_env
from rtc_bench.evaluation import evaluator, settings
from rtc_bench.policies import checkpoint, flow
from rtc_bench.strategies import base, registry

STEPS, CHUNKS = 64, 2  # of a timing of the parts
SECONDS = 2.0  # short cells are measured more often
Part = Callable[[], object]


def _blocks(count: int) -> tuple[int, int]:
    """Blocks a device and their size, as the evaluator cuts them."""
    local = -(-count // jax.device_count())
    size = min(local, evaluator.BLOCK) if jax.default_backend() == "cpu" else local
    return -(-local // size), size


def physics(env: task_env.TaskEnv, trained: flow.FlowPolicy, blocks: int, size: int) -> Part:
    """``STEPS`` control steps of ``blocks`` x ``size`` episodes a device, on the way that the policy takes.

    How much there is to compute hangs on what touches; so the policy's actions are recorded, and played again.
    """

    def play(key, choose):
        obs, state = env.reset(key, size)

        def step(carry, step_input):
            obs, state = carry
            key, chosen = step_input
            action = choose(obs, key, chosen)
            obs, state, reward, *_ = env.step(jax.random.split(key, size), state, action)
            return (obs, state), (action, reward.sum())

        return lambda chosen: jax.lax.scan(step, (obs, state), (jax.random.split(key, STEPS), chosen))

    def planned(obs, key, _):
        noise = jax.random.normal(key, (size, trained.config.horizon, trained.config.action_size))
        return registry.build("naive").sample(trained, obs, noise)[:, 0]

    def record(key):
        return play(key, planned)(None)[1][0]

    def replay(block):
        key, actions = block
        (obs, state), (_, reward) = play(key, lambda obs, key, chosen: chosen)(actions)
        return obs, state, reward

    keys = _keys(blocks)
    actions = devices.ShardedFunction(lambda keys: jax.lax.map(record, keys))(keys)
    run = devices.ShardedFunction(lambda keys, actions: jax.lax.map(replay, (keys, actions)))
    return lambda: jax.block_until_ready(run(keys, actions))


def policy(trained: flow.FlowPolicy, strategy: base.Strategy, blocks: int, size: int) -> Part:
    """``CHUNKS`` requests of ``blocks`` x ``size`` episodes a device, with their flow noise, at d = s = 2."""
    trained = trained.with_time_modulations([strategy.flow_steps])
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

    run, keys = devices.ShardedFunction(lambda keys: jax.lax.map(block, keys)), _keys(blocks)
    return lambda: jax.block_until_ready(run(keys))


def _keys(blocks: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), (jax.device_count(), blocks))


def seconds(call: Part) -> float:
    """Wall time."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(
    task: str, strategies: Mapping[str, base.Strategy], cells, episodes: int, repeats: int
) -> list[_bench.Measurement]:
    """Rows of a task."""
    env = envs.make(task)
    trained, _ = checkpoint.load_flow(checkpoint.zoo_files()[task], **env.signature)
    evaluate = evaluator.Evaluator(env, trained, *strategies.values(), batch=episodes)
    blocks, size = _blocks(episodes)
    played = blocks * size * jax.device_count()
    bodies, rows = physics(env, trained, blocks, size), []
    asks = {name: policy(trained, strategy, blocks, size) for name, strategy in strategies.items()}
    first = seconds(lambda: evaluate(seed=0, episodes=episodes, delay=0, horizon=1))
    compile_s = first - seconds(lambda: evaluate(seed=0, episodes=episodes, delay=0, horizon=1))
    for part in (bodies, *asks.values()):
        part()  # compiles
    for strategy_index, (name, ask) in enumerate(asks.items()):
        for d, s in cells:
            cell = {"seed": 0, "episodes": episodes, "delay": d, "horizon": s, "strategy_index": strategy_index}
            timings: list[tuple[float, float, float]] = []
            while len(timings) < repeats or (sum(map(sum, timings)) < SECONDS and len(timings) < 5 * repeats):
                began = time.perf_counter()
                length = evaluate(**cell).length
                timings.append((time.perf_counter() - began, seconds(bodies), seconds(ask)))
            steps, chunks = int(length.sum()), int(np.ceil(length / s).sum())
            per_physics, per_ask = steps / (STEPS * played), chunks / (CHUNKS * played)
            timings = [(whole, body * per_physics, ask_s * per_ask) for whole, body, ask_s in timings]
            took, physics_s, policy_s = (statistics.median(column) for column in zip(*timings, strict=True))
            share = statistics.median((body + ask_s) / whole for whole, body, ask_s in timings)
            row = {"task": task, "strategy": name, "delay": d, "horizon": s, "episodes": episodes, "steps": steps}
            row |= {"chunks": chunks, "seconds": f"{took:.3f}", "physics_s": f"{physics_s:.3f}"}
            rows.append(
                {**row, "policy_s": f"{policy_s:.3f}", "share": f"{share:.2f}", "compile_s": f"{compile_s:.1f}"}
            )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__)
    parser.add_argument("--episodes", type=int, default=256, help="default 256")
    parser.add_argument("--repeats", type=int, default=3, help="default 3")
    args = _bench.parse(parser)
    devices.setup()
    jax.config.update("jax_enable_compilation_cache", False)
    strategies = {name: registry.build(name) for name in settings.STRATEGIES}
    rows: list[_bench.Measurement] = []
    for task in progress.each("bench_evaluator", args.tasks, "tasks"):
        for row in measure(
            task,
            strategies,
            settings.delay_horizon_pairs([1, 3], "auto", policies.PREDICTION_HORIZON),
            args.episodes,
            args.repeats,
        ):
            rows.append(row)
            _bench.record(args.out / "evaluator.csv", rows)


if __name__ == "__main__":
    main()
