"""What a task's program costs before its first cell: CPU seconds of tracing and compiling, and of cells, by compiler options.

Shipped policies, the four strategies of `make benchmark`. Variants are compiled, and then play the same cells in turns.
Writes compile.csv into --out: one compilation each, cells' medians over rounds; the ratios are to the variant "default",
what XLA does by itself.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import _bench
import jax

from rtc_bench import envs
from rtc_bench.common import devices, progress
from rtc_bench.evaluation import evaluator
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import registry

DEFAULT_TASKS = ("cartpole_thrust", "catapult", "grasp_easy")
STRATEGIES = ("naive", "temporal_ensembling", "bid_no_weak", "rtc")
CELLS = ((1, 1), (4, 4))  # (d, s)
VARIANTS: dict[str, dict[str, object]] = {
    "default": {"xla_backend_optimization_level": 3},
    "level 2": {"xla_backend_optimization_level": 2},
    "level 1": {"xla_backend_optimization_level": 1},
    "no expensive passes": {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": True},
    "level 1, in one piece": {"xla_backend_optimization_level": 1, "xla_cpu_parallel_codegen_split_count": 1},
}


def timed(action: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What an action returns, its CPU and its wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = jax.block_until_ready(action(*arguments))
    return result, time.process_time() - cpu, time.perf_counter() - wall


def measure(task: str, *, rounds: int, episodes: int) -> list[_bench.Measurement]:
    """The rows of a task."""
    env = envs.make(task)
    policy, _ = checkpoint.load_flow(checkpoint.zoo_files()[task], **env.signature)
    evaluate = evaluator.Evaluator(env, policy, *map(registry.build, STRATEGIES))
    lowered, lower_cpu, _ = timed(evaluate.lower, episodes)
    lowered.compile()  # the first compilation of a process takes longer
    compiled = {name: timed(lowered.compile, options) for name, options in VARIANTS.items()}
    cells = [
        evaluate.program_arguments(episodes, seed=0, strategy_index=index, delay=delay, horizon=horizon)
        for index in range(len(STRATEGIES))
        for delay, horizon in CELLS
    ]
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    solved: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for number in range(rounds + 1):  # the first warms up
        for name, (program, *_) in compiled.items():
            played = [timed(program, *arguments) for arguments in cells]
            solved[name] = [float(outcome.solved.mean()) for outcome, *_ in played]
            seconds[name] += [sum(cpu for _, cpu, _ in played)] if number else []
    return [
        {
            "task": task,
            "variant": name,
            "trace_cpu_s": f"{lower_cpu:.1f}",
            "compile_cpu_s": f"{compiled[name][1]:.1f}",
            "compile_wall_s": f"{compiled[name][2]:.1f}",
            "compile_ratio": f"{compiled[name][1] / compiled['default'][1]:.2f}",
            "cells_cpu_s": f"{statistics.median(seconds[name]):.2f}",
            "cells_ratio": f"{statistics.median(seconds[name]) / statistics.median(seconds['default']):.2f}",
            "same_rates": solved[name] == solved["default"],
        }
        for name in VARIANTS
    ]


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__, DEFAULT_TASKS)
    parser.add_argument("--rounds", type=int, default=3, help="timings of every variant; default 3")
    parser.add_argument("--episodes", type=int, default=64, help="of a cell; default 64, as in make benchmark")
    args = _bench.parse(parser)
    jax.config.update("jax_enable_compilation_cache", False)
    devices.setup()
    rows: list[_bench.Measurement] = []
    for task in progress.each("bench_compile", args.tasks, "tasks"):
        for row in measure(task, rounds=args.rounds, episodes=args.episodes):
            rows.append(row)
            _bench.record(args.out / "compile.csv", rows)
        jax.clear_caches()


if __name__ == "__main__":
    main()
