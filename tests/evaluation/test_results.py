"""results.csv: its columns, what a row sums up, and what is refused."""

import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.evaluation import evaluator, results, run_folder

COLUMNS = (
    "task,strategy,delay,horizon,episodes,solve_rate,ci_low,ci_high,mean_return,mean_length,"
    "action_change,boundary_change,seed,policy,seconds"
)
CELLS = [("a", "rtc", 0, 1), ("a", "rtc", 1, 1), ("b", "rtc", 0, 1)]


def row(cell, rate=0.5):
    task, strategy, delay, horizon = cell
    measured = {"solve_rate": rate, "ci_low": 0.0, "ci_high": 1.0, "mean_return": rate, "mean_length": 3.0}
    change = {"action_change": 0.1, "boundary_change": 0.2}
    cell_columns = {"task": task, "strategy": strategy, "delay": delay, "horizon": horizon, "episodes": 4}
    return results.Row(**cell_columns, **measured, **change, seed=0, policy="zoo/a", seconds=1.5)


def outcomes():
    return evaluator.Outcomes(
        solved=np.array([True, False, False, False]),
        total_reward=np.array([1.0, -1.0, 0.0, 0.0]),
        length=np.array([10, 20, 256, 256]),
        action_change=np.array([0.1, 0.1, 0.3, 0.3]),
        boundary_change=np.array([0.0, 0.2, 0.2, 0.4]),
    )


def test_a_row_summarises_its_episodes():
    summary = results.summarise(
        outcomes(), task="a", strategy="rtc", delay=1, horizon=2, seed=3, policy="zoo/a", seconds=0.5
    )
    assert (summary.episodes, summary.solve_rate, summary.mean_return) == (4, 0.25, 0.0)
    assert summary.mean_length == (10 + 20 + 256 + 256) / 4
    assert summary.action_change == pytest.approx(0.2)
    assert summary.boundary_change == pytest.approx(0.2)
    assert summary.ci_low < 0.25 < summary.ci_high


def test_the_columns_are_the_contract():
    assert results.csv_text([]) == COLUMNS + "\n"


@pytest.mark.parametrize("strategy", ["rtc", 'mine,"odd"'])
def test_a_row_comes_back_as_it_was_written(tmp_path, strategy):
    written = row(("a", strategy, 0, 1))
    (tmp_path / "results.csv").write_text(results.csv_text([written]))
    assert results.read(tmp_path / "results.csv") == [written]


def test_another_csv_is_refused(tmp_path):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(errors.ConfigError, match=r"not a results\.csv"):
        results.read(tmp_path / "results.csv")


def test_a_damaged_table_is_refused_kindly(tmp_path):
    run = run_folder.RunFolder(tmp_path, {}, {})
    run.missing(CELLS)
    run.add(row(CELLS[0]), outcomes())
    run.table.write_text(run.table.read_text().replace("0.500000", "half"))
    with pytest.raises(errors.ConfigError, match=r"results\.csv: line 2 is damaged"):
        results.read(run.table)
