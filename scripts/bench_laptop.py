"""Where `make benchmark` spends its time, on an empty cache of compiled programs and again: by task and by kind.

Each run is a process of its own. Kinds: import, prepare (settings, policies, devices), playing (by strategy), writing, summary
and wandb follow one another; waiting is for a program that is not there yet, while trace and compile go on in a thread beside.
physics, policy and rest are what playing consists of: the control steps and chunks that were played, at the speed of either
alone, which is measured afterwards in turns (as bench_evaluator.py does), and what is left.
Writes laptop.csv (commit, run, task, kind, seconds) into --out; rows of other commits stay.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import _bench

RUNS = ("fresh", "again")
Seconds = collections.Counter  # (task or "", kind) -> seconds


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__)
    parser.add_argument("--child", nargs=2, metavar=("FILE", "BEGAN"), help=argparse.SUPPRESS)
    args = _bench.parse(parser)
    if args.child:
        _play(pathlib.Path(args.child[0]), float(args.child[1]), args.tasks)
        return
    from rtc_bench.common import versions

    commit, rows = versions.collect()["commit"][:12], []
    file = args.out / "laptop.csv"
    if file.exists():
        with file.open(newline="") as old:
            rows = [row for row in csv.DictReader(old) if row["commit"] != commit]
    with tempfile.TemporaryDirectory() as folder:
        for run in RUNS:
            for (task, kind), seconds in _measured(run, pathlib.Path(folder), args.tasks):
                row = {"commit": commit, "run": run, "task": task, "kind": kind, "seconds": f"{seconds:.2f}"}
                rows.append(row)
                if not task:
                    _bench.show(row)
    _bench.record(file, rows)


def _measured(run: str, folder: pathlib.Path, tasks: list[str]) -> list[tuple[tuple[str, str], float]]:
    """Seconds of a run in a process of its own; with "" for the task, of all tasks together."""
    outcome = folder / f"{run}.json"
    command = [sys.executable, __file__, *tasks, "--out", str(folder), "--child", str(outcome), str(time.time())]
    subprocess.run(command, check=True, env={**os.environ, "RTC_BENCH_CACHE": str(folder / "programs")})
    seconds: Seconds = Seconds()
    for task, kind, value in json.loads(outcome.read_text()):
        seconds[task, kind] += value
        if task:
            seconds["", kind] += value
    return sorted(seconds.items())


def _play(outcome: pathlib.Path, began: float, tasks: list[str]) -> None:
    """In a process that began then: the sweep, its parts timed."""
    from rtc_bench.commands import command_line
    from rtc_bench.commands import sweep as sweep_command

    seconds: Seconds = Seconds()
    seconds["", "import"] = time.time() - began
    played: Seconds = Seconds()  # (task, strategy) -> control steps; with " chunks" added to the strategy: chunks
    _time(seconds, played)
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["preset=laptop", f"task=[{','.join(tasks)}]", f"out={folder}/benchmark"]
        sweep_command.sweep(command_line.compose("sweep", arguments))
    seconds["", "whole run"] = time.time() - began
    if outcome.stem == RUNS[-1]:
        _split(seconds, played)
    outcome.write_text(json.dumps([(*key, value) for key, value in seconds.items()]))


def _time(seconds: Seconds, played: Seconds) -> None:
    """Have the parts of a sweep add what they take to ``seconds``, and what they play to ``played``."""
    import numpy as np

    from rtc_bench.evaluation import evaluator, run_folder, sweep
    from rtc_bench.reporting import report, wandb_logging

    def timed(owner: object, name: str, kind: str, task_of: Callable = lambda *arguments: "") -> None:
        function = getattr(owner, name)

        def call(*arguments, **named):
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds[task_of(*arguments), kind] += time.perf_counter() - began

        setattr(owner, name, call)

    def of_evaluator(own: evaluator.Evaluator, *_: object) -> str:
        return own.env.name

    timed(sweep, "prepare", "prepare")
    timed(evaluator.Evaluator, "lower", "trace", of_evaluator)
    timed(evaluator.Evaluator, "compile", "trace and compile", of_evaluator)
    timed(run_folder.RunFolder, "add", "writing", lambda _, row, *rest: row.task)
    timed(report, "write_summary", "summary")
    timed(report, "film_episode", "summary")
    timed(wandb_logging, "log", "wandb")
    play, evaluators = evaluator.Evaluator.__call__, sweep._evaluators

    def timed_play(own: evaluator.Evaluator, **cell):
        began = time.perf_counter()
        outcomes = play(own, **cell)
        strategy = NAMES[cell["strategy_index"]]
        seconds[own.env.name, f"playing {strategy}"] += time.perf_counter() - began
        played[own.env.name, strategy] += int(outcomes.length.sum())
        played[own.env.name, f"{strategy} chunks"] += int(np.ceil(outcomes.length / cell["horizon"]).sum())
        return outcomes

    def timed_evaluators(*arguments) -> Iterator:
        waited, began = evaluators(*arguments), time.perf_counter()
        for item in waited:
            seconds[item[0], "waiting"] += time.perf_counter() - began
            yield item
            began = time.perf_counter()

    evaluator.Evaluator.__call__ = timed_play
    sweep._evaluators = timed_evaluators


NAMES = ("naive", "temporal_ensembling", "bid_no_weak", "rtc")  # of the preset, in its order


def _split(seconds: Seconds, played: Seconds) -> None:
    """Add what playing consists of."""
    sys.path.append(str(pathlib.Path(__file__).parent))
    import bench_evaluator

    from rtc_bench import envs
    from rtc_bench.policies import checkpoint
    from rtc_bench.strategies import registry

    for task in dict.fromkeys(task for task, _ in played):
        env = envs.make(task)
        trained, _ = checkpoint.load_flow(checkpoint.zoo_files()[task], **env.signature)
        blocks, size = bench_evaluator._blocks(64)
        parts = {"physics": (bench_evaluator.physics(env, trained, blocks, size), bench_evaluator.STEPS)}
        for name in NAMES:
            asked = bench_evaluator.policy(trained, registry.build(name), blocks, size)
            parts[name] = asked, bench_evaluator.CHUNKS
        rates = {}
        for name, (part, count) in parts.items():
            part()  # compiles
            took = min(bench_evaluator.seconds(part) for _ in range(3))
            rates[name] = took / (count * blocks * size * bench_evaluator.jax.device_count())
        seconds[task, "physics"] = rates["physics"] * sum(played[task, name] for name in NAMES)
        seconds[task, "policy"] = sum(rates[name] * played[task, f"{name} chunks"] for name in NAMES)
        whole = sum(seconds[task, f"playing {name}"] for name in NAMES)
        seconds[task, "rest"] = whole - seconds[task, "physics"] - seconds[task, "policy"]


if __name__ == "__main__":
    main()
