"""Rows and run folders with known numbers, for tests of what is made of them."""

import itertools

import numpy as np

from rtc_bench.common import statistics, versions
from rtc_bench.evaluation import results, run_folder


def row(task, strategy, delay, horizon=None, rate=0.5, episodes=100):
    low, high = statistics.wilson_interval(round(rate * episodes), episodes)
    measured = {"solve_rate": rate, "ci_low": low, "ci_high": high, "mean_return": rate, "mean_length": 9.0}
    rest = {"action_change": 0.1, "boundary_change": 0.2, "seed": "0", "policy": "p", "seconds": 1.0}
    horizon = max(delay, 1) if horizon is None else horizon
    return results.Row(task, strategy, delay, horizon, episodes, **measured, **rest)


ROWS = [
    row(task, strategy, delay, rate=0.9 - 0.1 * delay - 0.2 * (strategy == "naive"))
    for task, strategy, delay in itertools.product(("a", "b"), ("naive", "rtc"), (0, 2, 4))
]


SETTINGS = {"seed": 0, "episodes": 100, "noise_std": 0.1, "strategy": ["naive", "rtc"], "task": "all"}
IDENTITY = {"policy a": "x", "policy b": "y"}


def write(folder, rows=ROWS, identity=IDENTITY, delays=b"", **settings):
    """A run folder with these rows, and episodes that fit them; ``delays``: what the requests of each met."""
    run = run_folder.RunFolder(folder, {**SETTINGS, **settings}, identity)
    run.missing([row.cell for row in rows])
    run.record_session(versions.collect())
    for row in rows:
        solved = np.arange(row.episodes) < round(row.solve_rate * row.episodes)
        ends = {"solved": solved, "total_reward": 2 * solved - 1, "length": np.full(row.episodes, 9)}
        ends |= {name: np.full(row.episodes, getattr(row, name)) for name in ("action_change", "boundary_change")}
        ends |= {name: np.zeros(row.episodes) for name in ("boundary_jerk", "underruns", "misestimates")}
        ends["delays"] = np.full(row.episodes, delays, object)
        run.add(row, type("Outcomes", (), ends))
    return folder
