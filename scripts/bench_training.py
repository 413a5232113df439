"""Expert training end to end (physics, networks, updates): control steps a second on all cores, default network.

Beside it what the parts would give alone: the physics, and roll-outs without updates. Writes training.csv into --out.
"""

import functools
import statistics
import time

import _bench
import jax
import jax.numpy as jnp

from rtc_bench.common import devices, progress
from rtc_bench.training import expert_training, search, settings

DEFAULT_TASKS = ("cartpole_thrust", "mjc_walker")


def rate(call, steps: int, repeats: int) -> tuple[float, float]:
    """Control steps a second (median), and the seconds of the first call beyond that."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    usual = statistics.median(seconds[1:])
    return steps / usual, seconds[0] - usual


def measure(task: str, repeats: int) -> _bench.Measurement:
    """A row of the table. One seed on each device, as training runs them."""
    config = settings.TrainExpertConfig(task=task, seeds=jax.device_count())
    trainer = expert_training.ExpertTrainer(config)
    env = trainer.env
    states = [trainer.initial_state(seed, search.no_paths(env)) for seed in range(config.seeds)]
    steps = trainer.samples * config.seeds
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def roll(training: expert_training.ExpertTrainingState):
        keys = jax.random.split(training.key, config.rollout)
        step = functools.partial(trainer._control_step, training.starts, training.expert, jnp.float32(1.0))
        return jax.lax.scan(step, training.rollout, (jnp.zeros((config.rollout, config.envs), int), keys))

    def simulate(training: expert_training.ExpertTrainingState):
        action = jax.random.uniform(training.key, (config.envs, env.action_size), minval=-1.0)

        def step(state, key):
            _, after, _, terminated, truncated, _ = env.step(key, state, action)
            return env.where(terminated | truncated, training.rollout.state, after), None

        return jax.lax.scan(step, training.rollout.state, jax.random.split(training.key, config.rollout))[0]

    training_rate, compile_s = rate(lambda: [training for training, _ in trainer.advance(states, 1)], steps, repeats)
    parts = [functools.partial(devices.ShardedFunction(part), stacked) for part in (roll, simulate)]
    rollouts, physics = (round(rate(part, steps, repeats)[0]) for part in parts)
    return {
        "task": task,
        "training": round(training_rate),
        "rollouts": rollouts,
        "physics": physics,
        "compile_s": round(compile_s, 1),
    }


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__, DEFAULT_TASKS)
    parser.add_argument("--repeats", type=int, default=7, help="default 7")
    args = _bench.parse(parser)
    devices.setup()
    jax.config.update("jax_enable_compilation_cache", False)
    rows: list[_bench.Measurement] = []
    for task in progress.each("bench_training", args.tasks, "tasks"):
        rows.append(measure(task, args.repeats))
        _bench.record(args.out / "training.csv", rows)


if __name__ == "__main__":
    main()
