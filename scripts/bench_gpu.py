"""What a GPU gives in some minutes: physics, training and cells of a sweep at paper size (shipped policies, 2,048 episodes).

The table is whole after every measurement, and none is begun that would not end in time: physics and training of the first two
tasks, then all cells of task after task; and a few with matrix products in full float32, which a GPU's default is not. Only what
was measured has a row, and an estimate is called so. compile_s is the time to a program's first answer, where several compile at
once. Writes <device>.csv into --out; runs on CPUs, too.
"""

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import _bench
import jax
import jax.numpy as jnp
import numpy as np

from rtc_bench import envs, policies
from rtc_bench.commands import command_line
from rtc_bench.common import devices, versions
from rtc_bench.evaluation import evaluator, settings
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import registry
from rtc_bench.training import expert_data, expert_training, flow_training, search

FIRST_TASKS = ("h17_unicycle", "mjc_walker")  # of few bodies and of many
TASKS = (*FIRST_TASKS, *(task for task in envs.TASKS if task not in FIRST_TASKS))
TASKS_AT_ONCE = 5  # whose programs compile at once, once the first tasks are measured
STEPS, UPDATES = 32, 100  # control steps, and updates of a flow policy, of a timing
CALLS, SECONDS = 20, 3.0  # timings of a rate: three, or more of them while they take no longer
GUESS = 10.0  # seconds that a measurement takes of which nothing is known yet


Seconds = dict[tuple[str, int], float]  # by strategy and delay


class Sizes(NamedTuple):
    """What is measured."""

    batches: tuple[int, ...] = (512, 1024, 2048, 4096, 8192, 16384)
    episodes: int = 2048
    strategies: tuple[str, ...] = ("naive", "temporal_ensembling", "bid", "rtc", "rtc_hard")
    delays: tuple[int, ...] = (0, 1, 2, 3, 4)
    exact_delays: tuple[int, ...] = (1, 3)  # with products in full float32, of the first task
    expert: tuple[str, ...] = ("preset=paper",)
    flow: tuple[str, ...] = ("preset=paper",)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(d, s)."""
        return settings.delay_horizon_pairs(list(self.delays), "auto", policies.PREDICTION_HORIZON)


SMALL = Sizes(
    batches=(16,),
    episodes=8,
    strategies=("naive", "rtc"),
    delays=(0, 4),
    exact_delays=(4,),
    expert=("envs=8", "rollout=4", "minibatches=1", "epochs=1", "width=8"),
    flow=("batch=16", "layers=1", "channels=8", "channel_hidden=8", "token_hidden=8"),
)


class Rate(NamedTuple):
    """Something that is done again and again."""

    labels: dict[str, Any]  # kind, task, what, batch, unit
    count: int  # units that a call does
    build: Callable[[], Callable[[], object]]  # what a call is


class Budget:
    """Minutes from now on."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        self._clock, self._end = clock, clock() + 60 * minutes
        self.refused = False

    def allows(self, seconds: float) -> bool:
        """True if so many seconds are left; once it was false it stays false, so that the order holds."""
        self.refused = self.refused or self._clock() + seconds > self._end
        return not self.refused


class Table:
    """The rows, on disk after each one."""

    def __init__(self, path: pathlib.Path):
        self.path, self._machine = path, machine()
        self.rows: list[_bench.Measurement] = []

    def add(self, **columns: Any) -> None:
        """One more row; what it does not name is empty."""
        row = dict.fromkeys(("kind", "task", "what", "batch", "value", "unit", "solve_rate", "compile_s"), "")
        self.rows.append({**row, **columns, **self._machine})
        _bench.record(self.path, self.rows, {name: value for name, value in columns.items() if value != ""})


def machine() -> dict[str, str]:
    """What the numbers are of; the driver is empty on a CPU."""
    session = versions.collect()
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = ""
    if session["platform"] != "cpu":
        try:
            driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            driver = "unknown"
    return {**{name: session[name] for name in ("device", "jax", "python", "commit")}, "driver": driver}


def file_name() -> str:
    """Such as nvidia-h200.csv; with -x8 for eight of them."""
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    slug = re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")
    return f"{slug}-x{count}.csv" if count > 1 and jax.default_backend() != "cpu" else f"{slug}.csv"


def physics(task: str, batch: int) -> Rate:
    """Control steps on the specialised engine under random actions that are held for a call."""
    count = jax.device_count()
    local = batch // count

    def build() -> Callable[[], object]:
        engine = envs.make(task).engine

        def roll(sim, motors, thrusters):
            return jax.lax.scan(lambda sim, _: (engine.step(sim, motors, thrusters)[0], None), sim, length=STEPS)[0]

        start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (count, *leaf.shape)), engine.initial(local))
        run, state = devices.ShardedFunction(roll), {"sim": start, "number": 0}

        def call() -> None:
            keys = jax.random.split(jax.random.key(state["number"]))
            motors = jax.random.uniform(keys[0], (count, 4, local), minval=-1.0)
            thrusters = jax.random.uniform(keys[1], (count, 2, local))
            state["sim"] = jax.block_until_ready(run(state["sim"], motors, thrusters))
            state["number"] += 1

        return call

    labels = {"kind": "physics", "task": task, "what": "random actions", "batch": batch, "unit": "control steps/s"}
    return Rate(labels, local * count * STEPS, build)


def expert_rate(task: str, sizes: Sizes) -> Rate:
    """Iterations of expert training, roll-out and updates, of one seed on each device."""
    seeds = jax.device_count()
    arguments = [f"task={task}", *sizes.expert, f"seeds={seeds}"]
    config: Any = command_line.compose("train-expert", arguments)

    def build() -> Callable[[], object]:
        trainer = expert_training.ExpertTrainer(config)
        states = [trainer.initial_state(seed, search.no_paths(trainer.env)) for seed in range(seeds)]
        return lambda: trainer.advance(states, 1)

    what = f"{seeds} seed{'s' * (seeds > 1)} at once, {' '.join(sizes.expert)}"
    labels = {"kind": "expert training", "task": task, "what": what, "batch": config.envs, "unit": "control steps/s"}
    return Rate(labels, config.envs * config.rollout * seeds, build)


def flow_rate(task: str, sizes: Sizes) -> Rate:
    """Updates of flow training on made-up data of the task's sizes."""
    config: Any = command_line.compose("train-flow", [f"task={task}", *sizes.flow])

    def build() -> Callable[[], object]:
        env, count = envs.make(task), UPDATES * config.batch
        draws = np.random.default_rng(0)
        obs, action = (draws.normal(size=(count, n)).astype(np.float32) for n in (env.obs_size, env.action_size))
        steps = expert_data.ExpertSteps(obs, action, np.arange(count) // env.max_steps, np.zeros(count, bool))
        trainer = flow_training.FlowTrainer(config, steps)
        state = trainer.initial_state()
        return lambda: trainer.epoch(state, 0)

    labels = {"kind": "flow training", "task": task, "what": " ".join(sizes.flow), "batch": config.batch}
    return Rate({**labels, "unit": "updates/s"}, UPDATES, build)


def measure_rates(rates: Sequence[Rate], calls: Sequence[tuple[Callable, float]], table: Table, budget: Budget) -> None:
    """A row for each, until the budget ends."""
    for rate, (call, compile_s) in zip(rates, calls, strict=True):
        timings: list[float] = []
        if not budget.allows(GUESS):
            return
        while len(timings) < 3 or (sum(timings) < SECONDS and len(timings) < CALLS):
            began = time.perf_counter()
            call()
            timings.append(time.perf_counter() - began)
        value = rate.count / statistics.median(timings)
        table.add(**rate.labels, value=f"{value:.4g}", compile_s=f"{compile_s:.1f}")


class Cells:
    """All cells of a task, in one program; ``exact``: with matrix products in full float32."""

    def __init__(self, task: str, sizes: Sizes, *, exact: bool = False):
        self.task, self.sizes = task, sizes
        self.kind = "sweep in full float32" if exact else "sweep"
        self._precision = jax.default_matmul_precision if exact else contextlib.nullcontext

    def build(self) -> Callable[..., evaluator.Outcomes]:
        """The program, compiled and called once."""
        env = envs.make(self.task)
        policy, _ = checkpoint.load_flow(checkpoint.zoo_files()[self.task], **env.signature)
        strategies = [registry.build(name) for name in self.sizes.strategies]
        program = evaluator.Evaluator(env, policy, *strategies)

        def evaluate(**cell: Any) -> evaluator.Outcomes:
            with self._precision("highest"):
                return program(episodes=self.sizes.episodes, **cell)

        with self._precision("highest"):
            program.compile(self.sizes.episodes)  # says how much memory they take
        evaluate(seed=1, delay=0, horizon=1)
        return evaluate

    def measure(self, evaluate: Callable, compile_s: float, table: Table, budget: Budget, seen: Seconds) -> None:
        """A row for each cell, and one for all of them, until the budget ends. ``seen``: seconds of cells of tasks before."""
        total, count = 0.0, 0
        labels = {"task": self.task, "batch": self.sizes.episodes, "unit": "seconds", "compile_s": f"{compile_s:.1f}"}
        for (index, name), (d, s) in itertools.product(enumerate(self.sizes.strategies), self.sizes.pairs):
            if not budget.allows(2 * seen.get((name, d), GUESS)):
                return
            began = time.perf_counter()
            outcomes = evaluate(seed=0, delay=d, horizon=s, strategy_index=index)
            seconds = seen[name, d] = time.perf_counter() - began
            total, count = total + seconds, count + 1
            row = {"kind": self.kind, "what": f"{name} d={d} s={s}", "value": f"{seconds:.3f}"}
            table.add(**row, **labels, solve_rate=f"{outcomes.solved.mean():.4f}")
        table.add(kind=f"{self.kind} of a task", what=f"{count} cells", value=f"{total:.1f}", **labels)


def compiled(builds: Sequence[Callable[[], Callable]], *, first_call: bool) -> list[tuple[Callable, float]]:
    """What each builds, and the seconds to its first answer; all at once."""

    def timed(build: Callable[[], Callable]) -> tuple[Callable, float]:
        began = time.perf_counter()
        call = build()
        if first_call:
            call()
        return call, time.perf_counter() - began

    with concurrent.futures.ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(timed, builds))


def measure(tasks: Sequence[str], sizes: Sizes, table: Table, budget: Budget) -> None:
    """All of it, or as much as the budget allows."""
    first = tasks[: len(FIRST_TASKS)]
    seen: Seconds = {}
    rates = [physics(task, batch) for task in first for batch in sizes.batches]
    rates += [build(first[-1], sizes) for build in (expert_rate, flow_rate)]
    group = [Cells(task, sizes) for task in first]
    group.append(Cells(first[0], sizes._replace(delays=sizes.exact_delays), exact=True))
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        programs = beside.submit(compiled, [cells.build for cells in group], first_call=False)
        calls = compiled([rate.build for rate in rates], first_call=True)
    evaluators = programs.result()
    measure_rates(rates, calls, table, budget)
    for number in itertools.count(len(first), TASKS_AT_ONCE):
        for cells, (evaluate, compile_s) in zip(group, evaluators, strict=True):
            cells.measure(evaluate, compile_s, table, budget, seen)
        group = [Cells(task, sizes) for task in tasks[number : number + TASKS_AT_ONCE]]
        if not group or not budget.allows(1.5 * max(compile_s for _, compile_s in evaluators)):
            return
        evaluators = compiled([cells.build for cells in group], first_call=False)


def conclude(tasks: Sequence[str], table: Table) -> None:
    """What all the tasks took, or would take."""
    totals = [float(str(row["value"])) for row in table.rows if row["kind"] == "sweep of a task"]
    if len(totals) == len(tasks):
        table.add(kind="sweep of all", what=f"{len(tasks)} tasks", value=f"{sum(totals):.1f}", unit="seconds")
    elif totals:
        what = f"sweep of {len(tasks)} tasks at the mean of {len(totals)} that were measured"
        table.add(kind="estimate", what=what, value=f"{statistics.mean(totals) * len(tasks):.0f}", unit="seconds")


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__, TASKS)
    parser.add_argument("--minutes", type=float, default=9.0, help="all together; default 9")
    parser.add_argument("--small", action="store_true", help="everything at tiny sizes, to see that it runs")
    args = _bench.parse(parser)
    budget = Budget(args.minutes)
    devices.setup()
    sizes = SMALL if args.small else Sizes()
    if min(sizes.batches) < jax.device_count():
        parser.error(f"{jax.device_count()} devices are too many for a batch of {min(sizes.batches)}")
    if not args.small:
        jax.config.update("jax_enable_compilation_cache", False)  # compile times are cold ones
    table = Table(args.out / file_name())
    with _bench.refusals(parser):
        measure(args.tasks, sizes, table, budget)
        conclude(args.tasks, table)
    if budget.refused:
        print(f"{args.minutes:g} minutes were not enough for all of it; --minutes gives it more")
    print(f"{len(table.rows)} rows in {table.path}")


if __name__ == "__main__":
    main()
