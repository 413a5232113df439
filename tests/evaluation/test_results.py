"""results.csv: its columns, what a row sums up, and what is refused."""

import dataclasses
import pathlib
import re

import example_runs
import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.evaluation import evaluator, results, run_folder
from rtc_bench.evaluation.execution import cycle

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
COLUMNS = (  # other tools read these; new ones come after them
    "task,strategy,delay,horizon,episodes,solve_rate,ci_low,ci_high,mean_return,mean_length,"
    "action_change,boundary_change,seed,policy,seconds"
)
CELLS = [("a", "rtc", 0, 1), ("a", "rtc", 1, 1), ("b", "rtc", 0, 1)]


def row(cell, rate=0.5):
    return dataclasses.replace(example_runs.row(*cell, rate=rate, episodes=4), ci_low=0.0, ci_high=1.0, seconds=1.5)


def outcomes():
    return evaluator.Outcomes(
        solved=np.array([True, False, False, False]),
        total_reward=np.array([1.0, -1.0, 0.0, 0.0]),
        length=np.array([10, 20, 256, 256]),
        action_change=np.array([0.1, 0.1, 0.3, 0.3]),
        boundary_change=np.array([0.0, 0.2, 0.2, 0.4]),
        boundary_jerk=np.array([0.0, 0.1, 0.2, 0.5]),
        underruns=np.array([0, 1, 26, 0]),
        requests=np.array([2, 2, 3, 3]),
        misestimates=np.array([0, 1, 2, 1]),
        not_finite_at=np.full(4, cycle.NEVER),
        delays=np.array([b"\x01\x02", b"\x03\x04", b"\x01\x01\x09", b"\x02\x02\x02"], object),
    )


def test_a_row_summarises_its_episodes():
    summary = results.summarise(
        outcomes(), task="a", strategy="rtc", delay=1, horizon=2, seed="3", policy="zoo/a", seconds=0.5
    )
    assert (summary.episodes, summary.solve_rate, summary.mean_return) == (4, 0.25, 0.0)
    assert summary.mean_length == (10 + 20 + 256 + 256) / 4
    assert summary.action_change == pytest.approx(0.2)
    assert summary.boundary_change == pytest.approx(0.2)
    assert summary.ci_low < 0.25 < summary.ci_high
    assert summary.boundary_jerk == pytest.approx(0.2)
    assert (summary.delay_p50, summary.delay_p95, summary.delay_p99) == (2, 9, 9)
    assert summary.underrun_share == pytest.approx(27 / 542)
    assert summary.misestimate_share == pytest.approx(0.4)


def test_the_columns_are_the_contract():
    assert results.csv_text([]).rstrip("\n").startswith(COLUMNS)


def test_the_readme_lists_every_column():
    table = README.partition("| column | meaning |")[2].partition("\n\n")[0]
    listed = re.findall(r"^\| `([\w, ]+)` \|", table, re.MULTILINE)
    assert tuple(", ".join(listed).split(", ")) == results.COLUMNS


def test_a_column_that_older_runs_lack_has_its_default(tmp_path, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class WiderRow(results.Row):
        median_length: float = float("inf")

    (tmp_path / "results.csv").write_text(results.csv_text([row(CELLS[0])]))
    monkeypatch.setattr(results, "Row", WiderRow)
    monkeypatch.setattr(results, "COLUMNS", (*results.COLUMNS, "median_length"))
    (older,) = results.read(tmp_path / "results.csv")
    assert (older.task, older.median_length) == ("a", float("inf"))


@pytest.mark.parametrize("strategy", ["rtc", 'mine,"odd"'])
def test_a_row_comes_back_as_it_was_written(tmp_path, strategy):
    text = results.csv_text([row(("a", strategy, 0, 1))])
    (tmp_path / "results.csv").write_text(text)
    (again,) = results.read(tmp_path / "results.csv")
    assert (again.strategy, again.solve_rate) == (strategy, 0.5)
    assert results.csv_text([again]) == text


def test_another_csv_is_refused(tmp_path):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(errors.ConfigError, match=r"not a results\.csv"):
        results.read(tmp_path / "results.csv")


def test_a_damaged_table_is_refused_kindly(tmp_path):
    run = run_folder.RunFolder(tmp_path, {"episodes": 4}, {})
    run.missing(CELLS)
    run.add(row(CELLS[0]), outcomes())
    run.results_file.write_text(run.results_file.read_text().replace("0.500000", "half"))
    with pytest.raises(errors.ConfigError, match=r"results\.csv: line 2 is damaged"):
        results.read(run.results_file)
