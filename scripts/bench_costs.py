"""What commands take, for the line before they start: rtc_bench/common/costs/measured.csv, made from committed tables.

Measures nothing itself, and takes seconds: `make bench` on two cores first, then python scripts/bench_costs.py.
Cells and programs come from laptop.csv in results/benchmarks, strategies that it lacks from their cost beside naive's in
results/methods/methods.csv; lengths of episodes from results/laptop; training from results/zoo/zoo.csv, the shipped
policies and weights.
"""

import argparse
import collections
import pathlib
import statistics

import _bench
import numpy as np
import scipy.optimize

from rtc_bench import envs, policies
from rtc_bench.common import costs, tables
from rtc_bench.evaluation import results
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.policies import checkpoint
from rtc_bench.training import settings

Costs = dict[tuple[str, str], float]  # (kind, name) -> value
TABLES = _bench.ROOT / "results"
BENCHMARKS = TABLES / "benchmarks"
EPISODES = 64  # a cell of `make benchmark`
LIKE = {"rtc_linear": ("rtc", 1), "rtc_ones": ("rtc", 1), "bid": ("bid_no_weak", 4)}  # its cost, so many times


def cells() -> Costs:
    """Seconds of a task's steps and of naive's chunks that explain best what `make benchmark` took; and programs."""
    table = {
        row["strategy"]: float(row["milliseconds_of_many"]) for row in tables.read(TABLES / "methods" / "methods.csv")
    }
    beside_naive = {name: milliseconds / table["naive"] for name, milliseconds in table.items()}
    beside_naive |= {name: beside_naive[like] * factor for name, (like, factor) in LIKE.items()}
    rows = [row for row in tables.read(BENCHMARKS / "laptop.csv") if row["task"]]
    playing = [row for row in rows if row["run"] == "again" and row["kind"].startswith("playing ")]
    matrix = np.zeros((len(playing), len(envs.TASKS) + 1))
    for number, row in enumerate(playing):
        name = row["kind"].removeprefix("playing ")
        steps, chunks = played(row["task"], name)
        matrix[number, envs.TASKS.index(row["task"])] = steps / 1000
        matrix[number, -1] = beside_naive[name] * chunks / 1000
    seconds = np.array([float(row["seconds"]) for row in playing])
    weights = 1 / np.sqrt(seconds)  # so that neither long nor short cells have all the say
    *fitted, chunk = scipy.optimize.nnls(matrix * weights[:, None], seconds * weights)[0]
    values: Costs = {("step", task): value for task, value in zip(envs.TASKS, fitted, strict=True)}
    values |= {("chunk", name): chunk * factor for name, factor in beside_naive.items()}
    programs: Costs = collections.Counter()  # what compiling takes beyond loading what was compiled
    for row in (row for row in rows if row["kind"] == "trace and compile"):
        programs["compile", row["task"]] += float(row["seconds"]) * (1 if row["run"] == "fresh" else -1)
    return values | programs


def played(task: str, strategy: str) -> tuple[float, float]:
    """Control steps and chunks of `make benchmark`, by the lengths of episodes in results/laptop."""
    pairs = evaluation_settings.delay_horizon_pairs("0..4", "auto", policies.PREDICTION_HORIZON)
    rows = [row for row in results.read(TABLES / "laptop" / "results.csv") if row.cell[:2] == (task, strategy)]
    steps = [(EPISODES * row.mean_length, row.horizon) for row in rows if (row.delay, row.horizon) in pairs]
    return sum(count for count, _ in steps), sum(count / horizon for count, horizon in steps)


def lengths() -> Costs:
    """Mean control steps of an episode, over strategies, delays and execution horizons."""
    rows = results.read(TABLES / "laptop" / "results.csv")
    return {
        ("length", task): statistics.mean(row.mean_length for row in rows if row.task == task) for task in envs.TASKS
    }


def training() -> Costs:
    """Stages from the zoo's table and cards, methods from the cards of their weights."""
    zoo = tables.read(TABLES / "zoo" / "zoo.csv")
    millions = settings.TrainExpertConfig.seeds * settings.TrainExpertConfig.steps / 1e6
    stages = {("expert", row["task"]): 60 * float(row["experts_minutes"]) / millions for row in zoo}
    stages |= {("record", row["task"]): 6e6 * float(row["data_minutes"]) / int(row["data_steps"]) for row in zoo}
    cards = [checkpoint.read_header(path) for path in checkpoint.zoo_files().values()]
    epochs = [1e5 * entry["seconds"] / card["data"]["steps"] for card in cards for entry in card["log"]]
    stages["epoch", ""] = statistics.median(epochs)
    by_method: dict[str, list[float]] = {}
    steps = {row["task"]: int(row["data_steps"]) for row in zoo}
    for path in sorted((checkpoint.ZOO_FOLDER / "methods").glob("*/*.safetensors")):
        card = checkpoint.read_header(path)
        rollouts = card["recipe"].get("rollouts")
        amount = rollouts["steps"] if rollouts else steps[card["task"]]
        seconds = sum(entry["seconds"] for entry in card["log"]) / card["recipe"]["stage"]["epochs"]
        by_method.setdefault(path.parent.name, []).append(1e5 * seconds / amount)
    return stages | {("method", name): statistics.median(seconds) for name, seconds in by_method.items()}


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=costs.MEASURED, help="default: the table that is shipped")
    args = parser.parse_args()
    rows = [
        {"kind": kind, "name": name, "value": f"{value:.4g}"}
        for (kind, name), value in {**lengths(), **cells(), **training()}.items()
    ]
    tables.write(rows, args.out)
    print(f"{len(rows)} costs -> {args.out}")


if __name__ == "__main__":
    main()
