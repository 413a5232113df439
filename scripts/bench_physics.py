"""Control steps a second, stock and specialised engine side by side in one run: python scripts/bench_physics.py [task ...]

Writes results/benchmarks/physics.csv (task, batch, stock, fast, ratio; medians of repeats, all cores).
"""

import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp

import envs
from rtc_bench import parallel

TABLE = pathlib.Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "physics.csv"
BATCH, REPEATS, FAST_STEPS, STOCK_STEPS = 512, 5, 32, 4


def rate(task: str, engine: str, steps: int, shared: dict) -> float:
    """Median control steps a second over both cores, under random actions held for the whole run."""
    env = envs.make(task, engine=engine, interface="kinetix", noise_std=0.0)
    devices = jax.device_count()
    local = BATCH // devices

    def roll(sim, motors, thrusters):
        def step(sim, _):
            return env.engine.step(sim, motors, thrusters)[0], None

        return jax.lax.scan(step, sim, length=steps)[0]

    # To the stock engine a scene is data: all tasks share one compilation.
    run = shared.setdefault("run", parallel.spread(roll)) if engine == "kinetix" else parallel.spread(roll)
    sim = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (devices, *leaf.shape)), env.engine.initial(local))
    motors = jax.random.uniform(jax.random.key(0), (devices, 4, local), minval=-1.0)
    thrusters = jax.random.uniform(jax.random.key(1), (devices, 2, local))
    sim = jax.block_until_ready(run(sim, motors, thrusters))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        sim = jax.block_until_ready(run(sim, motors, thrusters))
        times.append(time.perf_counter() - began)
    return local * devices * steps / statistics.median(times)


def main() -> None:
    """Measure and write the table."""
    parallel.setup()
    lines: list[str] = ["task,batch,stock,fast,ratio"]
    shared: dict = {}
    for task in sys.argv[1:] or envs.TASKS:
        fast, stock = rate(task, "fast", FAST_STEPS, shared), rate(task, "kinetix", STOCK_STEPS, shared)
        lines.append(f"{task},{BATCH},{stock:.0f},{fast:.0f},{fast / stock:.1f}")
        print(lines[-1], flush=True)
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
