"""The specialised engine against the stock one, in numbers: single steps, divergence, and solve rates of one policy.

Writes equivalence.csv into --out; `make bench` puts it into results/benchmarks. Columns:
  states, off          visited states, and how many are more than 1e-5 m or 1e-4 rad off after one control step, or
                       rewarded otherwise
  unexplained          of those, how many lie where the stock engine itself does not jump by a tenth as much
  apart_60, stock_60   median metres apart after 60 steps: both engines, and the stock engine from itself when its first
                       state changes in the last place
  start_std            m and rad by which the starts of those episodes differ
  episodes, solved, stock_solved, p   the shipped policy without delay on both engines, and the two-proportion test
  policy               the first digits of the policy file's SHA-256
"""

import pathlib

import _bench
import jax
import numpy as np

import envs
from envs import kinetix_engine, oracle
from envs.physics import engine as fast_engine
from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import evaluator, manifests, parallel, search, statistics, tables
from rtc_bench.strategies import naive

COLUMNS = ("task", "states", "off", "unexplained", "apart_60", "stock_60")
COLUMNS += ("start_std", "episodes", "solved", "stock_solved", "p", "policy")
BATCH, STEPS, HORIZON = 64, 120, 60
# Where the stock engine's own solve rate hangs on the last digits of the start, so that one start tells nothing.
START_STD = {"trampoline": 1e-6}


def single_steps(stock: kinetix_engine.KinetixEngine, step) -> tuple[int, int, int]:
    """States, those that are off, and those of them that the stock engine's own sensitivity does not explain.

    Half of the episodes start with the scene, half along ways to success that the search finds, where experts go.
    """
    env = envs.make(stock.scene)
    ways = search.find(env, configs.SearchConfig(), seed=0).states
    some = np.linspace(0, ways.time.shape[0] - 1, BATCH).astype(int)
    bodies = [part[:, some] for part in env.engine.bodies(ways.sim)]
    starts, choose = (None, oracle.to_stock(stock, bodies)), oracle.at_random(BATCH)
    seen = oracle.join(
        [oracle.visit(stock, step, choose, batch=BATCH, steps=STEPS // 2, start=start) for start in starts]
    )
    errors = oracle.errors(env.engine, stock, seen)
    unexplained = oracle.unexplained(stock, step, seen, errors, batch=BATCH)
    return len(errors.position), int(errors.off().sum()), unexplained


def divergence(stock: kinetix_engine.KinetixEngine, step) -> tuple[float, float]:
    """Median metres between the engines, and between the stock engine and itself nudged, after ``HORIZON`` steps."""
    fast = fast_engine.FastEngine(stock.scene)
    truth, ours = stock.initial(BATCH), fast.initial(BATCH)
    nudged, fast_step = oracle.nudged(truth, np.random.default_rng(0)), jax.jit(fast.step)
    choose = oracle.at_random(BATCH)
    for time in range(HORIZON):
        action = choose(time, truth)
        truth, nudged, ours = step(truth, *action)[0], step(nudged, *action)[0], fast_step(ours, *action)[0]
    own, other = (oracle.apart(bodies, stock.bodies(truth))[0] for bodies in (stock.bodies(nudged), fast.bodies(ours)))
    return float(np.median(other)), float(np.median(own))


def solve_rates(task: str, file: pathlib.Path, episodes: int) -> tuple:
    """Episodes solved on both engines, under the same noise, from the same starts."""
    solved, start_std = {}, START_STD.get(task, 0.0)
    for engine in ("fast", "kinetix"):
        env = envs.make(task, engine=engine, start_std=start_std)
        policy, _ = checkpoint.load_flow(file, **env.signature)
        run = evaluator.Evaluator(env, policy, naive.Naive())
        solved[engine] = int(run(seed=0, episodes=episodes, delay=0, horizon=1).solved.sum())
    p = statistics.two_proportion_p(tuple(solved.values()), (episodes, episodes))
    return start_std, episodes, *solved.values(), f"{p:.3f}", manifests.sha256(file)[:12]


def main() -> None:
    """Measure, print and write."""
    parser = _bench.parser(__doc__)
    parser.add_argument("--episodes", type=int, default=2048, help="default 2048")
    told = "measure solve rates of new policies alone; take everything else from the table in --out"
    parser.add_argument("--policies", action="store_true", help=told)
    given = _bench.parse(parser)
    before: dict[str, _bench.Row] = {row["task"]: row for row in tables.read(given.out / "equivalence.csv")}
    if given.policies and (missing := [task for task in given.tasks if task not in before]):
        parser.error(f"--policies: {given.out}/equivalence.csv has no row of {', '.join(missing)}; measure all once")
    parallel.setup()
    step = jax.jit(kinetix_engine.KinetixEngine(envs.tasks.scene("catapult")).step)  # a scene is data to it
    for task in given.tasks:
        policy, row = checkpoint.zoo().get(task), before.get(task, {})
        if not given.policies:
            stock = kinetix_engine.KinetixEngine(envs.tasks.scene(task))
            physics = (task, *single_steps(stock, step), *(f"{metres:.1e}" for metres in divergence(stock, step)))
            row = dict(zip(COLUMNS[:6], physics, strict=True))
        if not policy or row.get("policy") != manifests.sha256(policy)[:12] or "start_std" not in row:
            rates = solve_rates(task, policy, given.episodes) if policy else ("",) * 6
            row |= dict(zip(COLUMNS[6:], rates, strict=True))
        before[task] = row
        rows = [before[name] for name in envs.TASKS if name in before]
        _bench.record(given.out / "equivalence.csv", rows, newest=row)


if __name__ == "__main__":
    main()
