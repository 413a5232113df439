"""`make bench-gpu` at tiny sizes on a CPU; what it measures when time is short, and what it calls measured."""

import csv
import importlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return importlib.import_module("bench_gpu")


def test_everything_runs_and_has_a_row(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "bench_gpu.py", "--small", "--out", tmp_path, "cartpole_thrust"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "cpu.csv").open()))
    assert done.stdout.splitlines()[-1] == f"{len(rows)} rows in {tmp_path / 'cpu.csv'}"
    assert [row["kind"] for row in rows] == [
        *("physics", "expert training", "flow training"),
        *["sweep"] * 4,
        "sweep of a task",
        *["sweep in full float32"] * 2,
        *("sweep in full float32 of a task", "sweep of all"),
    ]
    assert [row["what"] for row in rows[3:7]] == [
        f"{name} d={d} s={max(d, 1)}" for name in ("naive", "rtc") for d in (0, 4)
    ]
    assert min(float(row["value"]) for row in rows) > 0
    assert {row["device"].split(" x ")[1] for row in rows} == {"cpu"}
    total = sum(float(row["value"]) for row in rows[3:7])
    assert float(rows[-1]["value"]) == pytest.approx(total, abs=0.11)


def test_nothing_is_begun_that_would_not_end_in_time_nor_anything_after_it(bench):
    now = [0.0]
    budget = bench.Budget(1.0, clock=lambda: now[0])
    assert budget.allows(60)
    now[0] = 30
    assert budget.allows(30)
    assert not budget.allows(31)
    assert not budget.allows(1), "less important things do not overtake"


def test_cells_that_the_budget_leaves_out_have_no_row_and_the_rest_is_an_estimate(bench, tmp_path):
    table = bench.Table(tmp_path / "cpu.csv")
    sizes = bench.SMALL._replace(delays=(0, 1))
    now = [0.0]

    def evaluate(**cell):
        now[0] += 10.0
        return bench.evaluator.Outcomes(*[bench.np.ones(2)] * 10)

    budget = bench.Budget(100 / 60, clock=lambda: now[0])
    for task in ("one", "two"):
        bench.Cells(task, sizes).measure(evaluate, 1.0, table, budget, {})
    assert [row["task"] for row in table.rows if row["kind"] == "sweep"] == ["one"] * 4 + ["two"] * 4
    for task in ("three", "four"):
        bench.Cells(task, sizes).measure(evaluate, 1.0, table, budget, {})
    assert [row["task"] for row in table.rows if row["kind"] == "sweep of a task"] == ["one", "two"]
    bench.conclude(["one", "two", "three", "four"], table)
    assert table.rows[-1]["kind"] == "estimate"
    assert "mean of 2 that were measured" in table.rows[-1]["what"]
    assert (
        len(list(csv.DictReader((tmp_path / "cpu.csv").open()))) == len(table.rows) == 12
    )  # a cell of three had time left
