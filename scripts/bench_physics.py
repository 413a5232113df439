"""Control steps a second, stock and specialised engine side by side in one run, on all cores or GPUs.

Every task at batch 64, 512 and 4096, medians of repeats, with compile time and peak memory of the specialised step.
Writes physics.csv and physics.png into --out; `make bench` puts them into results/benchmarks.
"""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import _bench
import jax
import jax.numpy as jnp

from rtc_bench import envs
from rtc_bench.common import devices, plotting, progress

ENGINE_BY_COLUMN = {"specialised": "fast", "stock": "kinetix"}
STEPS = {"specialised": 32, "stock": 2}  # control steps a run
PICTURE_BATCH = 512


class Run:
    """Episodes of one task on one engine under random actions that are held for a run, compiled for a batch size."""

    def __init__(self, task: str, name: str, batch: int, compiled: dict[Any, Callable]):
        device_count, engine = jax.device_count(), envs.make(task, engine=ENGINE_BY_COLUMN[name]).engine
        self.local, self.total = batch // device_count, batch // device_count * device_count * STEPS[name]

        def roll(sim, motors, thrusters):
            def step(sim, _):
                return engine.step(sim, motors, thrusters)[0], None

            return jax.lax.scan(step, sim, length=STEPS[name])[0]

        start = engine.initial(self.local)
        self.sim = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (device_count, *leaf.shape)), start)
        self.device_count, self.runs = device_count, 0
        if name == "specialised":
            alone = (part[0] for part in self.actions())
            began = time.perf_counter()
            step = jax.jit(engine.step).lower(start, *alone).compile()
            self.compile_s, self.peak_mb = time.perf_counter() - began, _peak(step) * device_count / 2**20
            self.run = devices.ShardedFunction(roll)
        else:  # to the stock engine a scene is data: all tasks share one compilation
            self.run = compiled.setdefault(batch, devices.ShardedFunction(roll))
        for _ in range(3 if name == "specialised" else 1):
            self()  # compiles, and takes the specialised engine away from the start, where nothing touches yet

    def actions(self) -> tuple[jax.Array, jax.Array]:
        """Random motors and thrusters, other ones for every run."""
        motors, thrusters = jax.random.split(jax.random.key(self.runs))
        return (
            jax.random.uniform(motors, (self.device_count, 4, self.local), minval=-1.0),
            jax.random.uniform(thrusters, (self.device_count, 2, self.local)),
        )

    def __call__(self) -> float:
        """One run; control steps a second."""
        actions, self.runs = jax.block_until_ready(self.actions()), self.runs + 1
        began = time.perf_counter()
        self.sim = jax.block_until_ready(self.run(self.sim, *actions))
        return self.total / (time.perf_counter() - began)


def _peak(step: jax.stages.Compiled) -> int:
    """Bytes that one device needs for one control step: its arguments, results and what lies between."""
    memory: Any = step.memory_analysis()
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def measure(tasks: list[str], batches: list[int], repeats: int, path: pathlib.Path) -> list[_bench.Measurement]:
    """One row for each task and batch size; the engines take turns."""
    rows: list[_bench.Measurement] = []
    compiled: dict[Any, Callable] = {}
    pairs = [(task, batch) for task in tasks for batch in batches]
    for task, batch in progress.each("bench_physics", pairs, "rows"):
        runs = {name: Run(task, name, batch, compiled) for name in ENGINE_BY_COLUMN}
        rates: dict[str, list[float]] = {name: [] for name in ENGINE_BY_COLUMN}
        for _ in range(repeats):
            for name, run in runs.items():
                rates[name].append(run())
        stock, fast = (statistics.median(rates[name]) for name in ("stock", "specialised"))
        specialised = runs["specialised"]
        rows.append(
            {
                "task": task,
                "batch": batch,
                "stock": round(stock),
                "specialised": round(fast),
                "ratio": round(fast / stock, 1),
                "compile_s": round(specialised.compile_s, 1),
                "peak_mb": round(specialised.peak_mb, 1),
            }
        )
        _bench.record(path, rows)
    return rows


def draw(rows: list[Any], path: pathlib.Path) -> None:
    """Both engines' speeds task by task, with their ratio."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    batches = sorted({row["batch"] for row in rows})
    batch = PICTURE_BATCH if PICTURE_BATCH in batches else batches[-1]
    batch_rows = [row for row in rows if row["batch"] == batch]
    figure, axis = pyplot.subplots(figsize=(9, 0.36 * len(batch_rows) + 1.5))
    heights = list(range(len(batch_rows)))[::-1]
    axis.hlines(
        heights,
        [row["stock"] for row in batch_rows],
        [row["specialised"] for row in batch_rows],
        color="#d8d8d8",
        lw=2,
        zorder=1,
    )
    for name, colour in (("stock", "#8c8c8c"), ("specialised", "#0b6e99")):
        axis.scatter([row[name] for row in batch_rows], heights, s=55, color=colour, label=name, zorder=2)
    for height, row in zip(heights, batch_rows, strict=True):
        axis.text(row["specialised"] * 1.12, height, f"{row['ratio']:.0f} x", va="center", fontsize=9)
    axis.set_xscale("log")
    axis.set_xlim(right=max(row["specialised"] for row in batch_rows) * 2)
    axis.set_yticks(heights, [row["task"] for row in batch_rows])
    axis.set_xlabel(f"control steps a second, batch {batch} on {_machine()} (logarithmic)")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    plotting.save(figure, path)


def _machine() -> str:
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    return f"{count} CPU core{'s' * (count > 1)}" if jax.default_backend() == "cpu" else f"{count} {kind}"


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 512, 4096], help="default 64 512 4096")
    parser.add_argument("--repeats", type=int, default=5, help="default 5")
    args = _bench.parse(parser)
    devices.setup()
    if min(args.batch) < jax.device_count():
        parser.error(f"a batch has at least one environment a device, {jax.device_count()} here")
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are cold ones
    rows: list[Any] = measure(args.tasks, args.batch, args.repeats, args.out / "physics.csv")
    draw(rows, args.out / "physics.png")
    for batch in args.batch:
        ratios = [row["ratio"] for row in rows if row["batch"] == batch]
        print(f"batch {batch}: median ratio {statistics.median(ratios):.1f}, lowest {min(ratios):.1f}")
    print(f"written to {args.out}: physics.csv, physics.png")


if __name__ == "__main__":
    main()
