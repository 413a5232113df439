"""The benchmark scripts: a wrong task is one line, and one small measurement runs through."""

import csv
import pathlib
import subprocess
import sys

import pytest

from rtc_bench import envs
from rtc_bench.common import files
from rtc_bench.evaluation import settings
from rtc_bench.policies import checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "scripts" / script, *arguments], capture_output=True, text=True)


SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("bench_*.py"))
SCRIPTS = [name for name in SCRIPTS if name not in ("bench_startup.py", "bench_costs.py")]  # which take no tasks


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_wrong_task_is_refused_in_one_line(script):
    done = run(script, "car_lunch")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{script}: error: unknown task 'car_lunch'; tasks: grasp_easy")


def test_the_physics_benchmark_writes_table_and_picture(tmp_path):
    done = run("bench_physics.py", "cartpole_thrust", "--batch", "4", "--repeats", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "physics.csv").open())
    assert list(row) == ["task", "batch", "stock", "specialised", "ratio", "compile_s", "peak_mb"]
    assert float(row["ratio"]) == pytest.approx(float(row["specialised"]) / float(row["stock"]), rel=0.01, abs=0.06)
    assert (tmp_path / "physics.png").stat().st_size > 1000


def test_the_committed_table_is_complete():
    rows = list(csv.DictReader((ROOT / "results" / "benchmarks" / "physics.csv").open()))
    assert [(row["task"], row["batch"]) for row in rows] == [(t, b) for t in envs.TASKS for b in ("64", "512", "4096")]
    for row in rows:
        assert min(float(value) for name, value in row.items() if name != "task") > 0


def test_the_shipped_policies_chunks_are_measured():
    rows = list(csv.DictReader((ROOT / "results" / "zoo" / "coherence.csv").open()))
    assert tuple(row["task"] for row in rows) == envs.TASKS
    for row in rows:
        assert files.sha256(checkpoint.zoo_files()[row["task"]]).startswith(row["policy"]), "measure again: make bench"


def test_the_evaluator_s_committed_table_is_complete():
    rows = list(csv.DictReader((ROOT / "results" / "benchmarks" / "evaluator.csv").open()))
    cells = {(row["strategy"], row["delay"], row["horizon"]) for row in rows}
    assert cells == {(name, d, d) for name in settings.STRATEGIES for d in ("1", "3")}
    assert len(rows) == len(cells) * len({row["task"] for row in rows}) >= 32
    for row in rows:
        assert int(row["episodes"]) == 256
        assert min(float(row[name]) for name in ("seconds", "physics_s", "policy_s", "share", "compile_s")) > 0
