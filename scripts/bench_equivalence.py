"""The specialised engine against the stock one, in numbers: single steps, divergence, and solve rates of one policy.

Writes equivalence.csv into --out; `make bench` puts it into results/benchmarks. Columns:
  states, off          visited states, and how many are more than 1e-5 m or 1e-4 rad off after one control step, or
                       rewarded otherwise
  unexplained          of those, how many lie where the stock engine itself does not jump by a tenth as much
  apart_60, stock_60   median metres apart after 60 steps: both engines, and the stock engine from itself when its first
                       state changes in the last place
  start_std            m and rad by which the task's starts differ
  episodes, solved, stock_solved, p   the shipped policy without delay on both engines, and the two-proportion test
  policy               the first digits of the policy file's SHA-256
"""

import pathlib

import _bench
import jax
import numpy as np

from rtc_bench import envs
from rtc_bench.common import devices, files, progress, statistics, tables
from rtc_bench.envs import equivalence, kinetix_engine
from rtc_bench.envs.physics import engine as fast_engine
from rtc_bench.evaluation import evaluator
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import naive
from rtc_bench.training import search, settings

COLUMNS = ("task", "states", "off", "unexplained", "apart_60", "stock_60")
COLUMNS += ("start_std", "episodes", "solved", "stock_solved", "p", "policy")
BATCH, STEPS, HORIZON = 64, 120, 60


def single_steps(stock: kinetix_engine.KinetixEngine, step) -> tuple[int, int, int]:
    """States, those that are off, and those of them that the stock engine's own sensitivity does not explain.

    Half of the episodes start with the scene, half along ways to success that the search finds, where experts go.
    """
    env = envs.make(stock.scene)
    on_paths = search.find_solutions(env, settings.SearchConfig(), seed=0).states
    index = np.linspace(0, on_paths.time.shape[0] - 1, BATCH).astype(int)
    bodies = [part[:, index] for part in env.engine.bodies(on_paths.sim)]
    starts, choose = (None, equivalence.to_stock(stock, bodies)), equivalence.random_actions(BATCH)
    visited = equivalence.concatenate(
        [equivalence.visit(stock, step, choose, batch=BATCH, steps=STEPS // 2, start=start) for start in starts]
    )
    errors = equivalence.step_errors(env.engine, stock, visited)
    unexplained = equivalence.count_unexplained(stock, step, visited, errors, batch=BATCH)
    return len(errors.position), int(errors.out_of_tolerance().sum()), unexplained


def divergence(stock: kinetix_engine.KinetixEngine, step) -> tuple[float, float]:
    """Median metres between the engines, and between the stock engine and itself nudged, after ``HORIZON`` steps."""
    fast = fast_engine.FastEngine(stock.scene)
    truth, ours = stock.initial(BATCH), fast.initial(BATCH)
    nudged, fast_step = equivalence.nudge(truth, np.random.default_rng(0)), jax.jit(fast.step)
    choose = equivalence.random_actions(BATCH)
    for time in range(HORIZON):
        action = choose(time, truth)
        truth, nudged, ours = step(truth, *action)[0], step(nudged, *action)[0], fast_step(ours, *action)[0]
    own, other = (
        equivalence.largest_differences(bodies, stock.bodies(truth))[0]
        for bodies in (stock.bodies(nudged), fast.bodies(ours))
    )
    return float(np.median(other)), float(np.median(own))


def solve_rates(task: str, file: pathlib.Path, episodes: int) -> tuple:
    """Episodes solved on both engines, under the same noise, from the same starts."""
    solved = {}
    for engine in ("fast", "kinetix"):
        env = envs.make(task, engine=engine)
        policy, _ = checkpoint.load_flow(file, **env.signature)
        run = evaluator.Evaluator(env, policy, naive.Naive())
        solved[engine] = int(run(seed=0, episodes=episodes, delay=0, horizon=1).solved.sum())
    p = statistics.two_proportion_p(tuple(solved.values()), (episodes, episodes))
    return env.start_std, episodes, *solved.values(), f"{p:.3f}", files.sha256(file)[:12]


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__)
    parser.add_argument("--episodes", type=int, default=2048, help="default 2048")
    policies_help = "measure solve rates of new policies alone; take everything else from the table in --out"
    parser.add_argument("--policies", action="store_true", help=policies_help)
    args = _bench.parse(parser)
    rows_by_task: dict[str, _bench.Measurement] = {
        row["task"]: row for row in tables.read(args.out / "equivalence.csv")
    }
    if args.policies and (missing := [task for task in args.tasks if task not in rows_by_task]):
        parser.error(f"--policies: {args.out}/equivalence.csv has no row of {', '.join(missing)}; measure all once")
    devices.setup()
    step = jax.jit(kinetix_engine.KinetixEngine(envs.tasks.scene("catapult")).step)  # a scene is data to it
    for task in progress.each("bench_equivalence", args.tasks, "tasks"):
        policy, row = checkpoint.zoo_files().get(task), rows_by_task.get(task, {})
        if not args.policies:
            stock = kinetix_engine.KinetixEngine(envs.tasks.scene(task))
            physics = (task, *single_steps(stock, step), *(f"{metres:.1e}" for metres in divergence(stock, step)))
            row = dict(zip(COLUMNS[:6], physics, strict=True))
        if not policy or row.get("policy") != files.sha256(policy)[:12] or "start_std" not in row:
            rates = solve_rates(task, policy, args.episodes) if policy else ("",) * 6
            row |= dict(zip(COLUMNS[6:], rates, strict=True))
        rows_by_task[task] = row
        rows = [rows_by_task[name] for name in envs.TASKS if name in rows_by_task]
        _bench.record(args.out / "equivalence.csv", rows, newest=row)


if __name__ == "__main__":
    main()
