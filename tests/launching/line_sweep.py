"""A sweep of the line under two names, and ways of playing it, for drivers and workers of test_ray.py."""

import os
import pathlib
import signal
import sys
import time
import types

import line_task

from rtc_bench.evaluation import plan, settings, sweep, sweep_inputs
from rtc_bench.evaluation.latency import schedule
from rtc_bench.launching import settings as launching
from rtc_bench.strategies import contract, naive, registry

TASKS = ("catapult", "trampoline")
MINE = """
import dataclasses

import helper_of_mine
from rtc_bench.strategies import base

@dataclasses.dataclass(frozen=True)
class Mine(base.Strategy):
    def plan(self, policy, request, memory):
        import helper_of_mine as again
        return again.SCALE * self.sample(policy, request.obs, request.noise), memory
"""


def prepared(folder: pathlib.Path, **launcher) -> sweep.PreparedSweep:
    """16 cells; one strategy is from a file, which imports another that lies beside it."""
    (folder.parent / "mine.py").write_text(MINE)
    (folder.parent / "helper_of_mine.py").write_text("SCALE = 0.5\n")
    sys.path.append(str(folder.parent))
    strategies = {"naive": naive.Naive(), "Mine": registry.build(f"{folder.parent}/mine.py:Mine")}
    sys.path.remove(str(folder.parent))
    env = line_task.Line(goal=3.5, noise_std=0.3, max_steps=40)
    env.scene = types.SimpleNamespace(moving=[0])
    task_policy = sweep_inputs.TaskPolicy(env, line_task.policy(), "digest", "line@digest")
    config = settings.SweepConfig(TASKS, episodes=8, out=str(folder), launcher=launching.LauncherConfig(**launcher))
    cells = [(task, name, d, max(d, 1)) for task in TASKS for name in strategies for d in range(4)]
    latency = schedule.build("constant", "exact", {})
    return sweep.PreparedSweep(config, dict.fromkeys(TASKS, task_policy), strategies, cells, {}, latency)


def play_and_die(own: sweep.PreparedSweep, missing: list[plan.Missing], *tell):
    """Of the first worker that has played two cells nothing more is heard."""
    dead = pathlib.Path(own.config.out) / "dead"
    for number, played in enumerate(sweep.play(own, missing)):
        if number == 2 and not dead.exists():
            dead.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield played


def play_slowly(own: sweep.PreparedSweep, missing: list[plan.Missing], *tell):
    for played in sweep.play(own, missing):
        yield played
        time.sleep(0.4)


def play_and_fail(own: sweep.PreparedSweep, missing: list[plan.Missing], *tell):
    for number, played in enumerate(sweep.play(own, missing)):
        if number == 2:
            raise contract.BrokenStrategy("mine.py:9, Mine: a mistake that shows on a worker alone")
        yield played


def main(folder: str, address: str) -> None:
    """A driver of its own."""
    own = prepared(pathlib.Path(folder), address=address)
    sweep.play = play_slowly
    sweep.fill_run_folder(own, pathlib.Path(folder))
