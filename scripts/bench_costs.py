"""What commands take, for the line before they start: rtc_bench/common/costs/measured.csv, made from committed tables.

Measures nothing itself, and takes seconds: `make bench` on two cores first, then python scripts/bench_costs.py.
Cells and programs come from evaluator.csv in results/benchmarks, for tasks that it lacks by their physics (physics.csv);
strategies that it lacks from their cost beside naive's in results/methods/methods.csv; lengths of episodes from
results/laptop; training from results/zoo/zoo.csv, the shipped policies and weights.
"""

import argparse
import pathlib
import statistics

import _bench
import numpy as np
import scipy.optimize

from rtc_bench import envs
from rtc_bench.common import costs, tables
from rtc_bench.evaluation import results
from rtc_bench.policies import checkpoint
from rtc_bench.training import settings

Costs = dict[tuple[str, str], float]  # (kind, name) -> value
TABLES = _bench.ROOT / "results"
BENCHMARKS = TABLES / "benchmarks"
LIKE_RTC = ("rtc_linear", "rtc_ones")  # its other schedules, which compute the same


def physics() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of 1,000 control steps, and of compiling one, by task, at the smallest batch."""
    rows = {row["task"]: row for row in reversed(tables.read(BENCHMARKS / "physics.csv"))}
    steps = {task: 1000 / float(row["specialised"]) for task, row in rows.items()}
    return steps, {task: float(row["compile_s"]) for task, row in rows.items()}


def cells() -> Costs:
    """Seconds of a task's steps and of a strategy's chunks that explain those of cells best, and programs."""
    rows = tables.read(BENCHMARKS / "evaluator.csv")
    tasks, strategies = ([*dict.fromkeys(row[name] for row in rows)] for name in ("task", "strategy"))
    matrix = np.zeros((len(rows), len(tasks) + len(strategies)))
    for number, row in enumerate(rows):
        matrix[number, tasks.index(row["task"])] = int(row["steps"]) / 1000
        matrix[number, len(tasks) + strategies.index(row["strategy"])] = int(row["chunks"]) / 1000
    seconds = np.array([float(row["seconds"]) for row in rows])
    weights = 1 / np.sqrt(seconds)  # so that neither long nor short cells have all the say
    fitted, _ = scipy.optimize.nnls(matrix * weights[:, None], seconds * weights)
    steps, chunks = dict(zip(tasks, fitted, strict=False)), dict(zip(strategies, fitted[len(tasks) :], strict=True))
    programs = {row["task"]: float(row["compile_s"]) for row in rows}
    values: Costs = {}
    for kind, own, alone in zip(("step", "compile"), (steps, programs), physics(), strict=True):
        beyond = statistics.median(own[task] / alone[task] for task in own)
        values |= {(kind, task): own.get(task, beyond * alone[task]) for task in envs.TASKS}
    table = {
        row["strategy"]: float(row["milliseconds_of_many"]) for row in tables.read(TABLES / "methods" / "methods.csv")
    }
    chunks = {name: chunks["naive"] * table[name] / table["naive"] for name in table} | chunks
    chunks |= dict.fromkeys(LIKE_RTC, chunks["rtc"])
    return values | {("chunk", name): seconds for name, seconds in chunks.items()}


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
