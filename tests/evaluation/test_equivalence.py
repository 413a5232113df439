"""Whole episodes of both engines: the shipped policies solve as often, by a two-proportion test.

The stock engine takes minutes a task, so its episodes are counted by scripts/bench_equivalence.py, whose table is
committed; the specialised engine's are run here, with another seed.
"""

import csv
import pathlib

import pytest

from rtc_bench import envs
from rtc_bench.common import files, statistics
from rtc_bench.evaluation import evaluator
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import naive

TABLE = pathlib.Path(__file__).resolve().parents[2] / "results" / "benchmarks" / "equivalence.csv"
ROWS = {row["task"]: row for row in csv.DictReader(TABLE.open())}
POLICIES = checkpoint.zoo_files()
EPISODES = 2048


def test_the_table_is_complete():
    assert tuple(ROWS) == envs.TASKS
    for task, row in ROWS.items():
        assert int(row["off"]) <= 0.001 * int(row["states"]), task
        assert int(row["unexplained"]) == 0, task
        if task in POLICIES:
            assert int(row["episodes"]) >= 2000, task
            assert float(row["p"]) > 0.01, task


@pytest.mark.parametrize("task", POLICIES)
def test_the_policy_solves_as_often_as_on_the_stock_engine(task):
    row = ROWS[task]
    assert files.sha256(POLICIES[task]).startswith(row["policy"]), "the policy is a new one: run `make bench` again"
    env = envs.make(task)
    assert env.start_std == float(row["start_std"])
    policy, _ = checkpoint.load_flow(POLICIES[task], **env.signature)
    outcomes = evaluator.Evaluator(env, policy, naive.Naive())(seed=1, episodes=EPISODES, delay=0, horizon=1)
    solved = int(outcomes.solved.sum()), int(row["stock_solved"])
    assert statistics.two_proportion_p(solved, (EPISODES, int(row["episodes"]))) > 0.01
