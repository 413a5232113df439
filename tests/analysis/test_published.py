"""A run beside published solve rates: what is compared with what, and when a finding holds."""

import csv
import subprocess
import sys
from pathlib import Path

import example_runs
import numpy as np
import pytest

from rtc_bench.analysis import published
from rtc_bench.common import errors
from rtc_bench.evaluation import run_folder
from rtc_bench.reporting import published as reporting
from rtc_bench.reporting import settings as reporting_settings

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("a", "b", "c")
RATES = {  # by strategy, d, s: of task a; the others have 0.1 less each
    ("naive", 0, 1): 0.9,
    ("naive", 1, 1): 0.5,
    ("naive", 1, 2): 0.7,
    ("naive", 2, 2): 0.5,
    ("rtc", 0, 1): 0.9,
    ("rtc", 1, 1): 0.8,
    ("rtc", 2, 2): 0.5,
    ("rtc_hard", 1, 1): 0.9,
    ("temporal_ensembling", 0, 1): 0.4,
}


@pytest.fixture
def folder(tmp_path):
    rows = [
        example_runs.row(task, *cell, rate=rate - 0.1 * number)
        for number, task in enumerate(TASKS)
        for cell, rate in RATES.items()
    ]
    return example_runs.write(tmp_path / "run", rows)


@pytest.fixture
def table(tmp_path):
    """Published rates of naive alone: the tasks' order is turned round, and the mean is 0.1 higher."""
    path = tmp_path / "rates.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "task", "delay", "horizon", "episodes", "solve_rate"])
        for number, task in enumerate(reversed(TASKS)):
            writer.writerow(["naive", task, 1, 1, 2048, 0.6 - 0.1 * number])
            writer.writerow(["rtc", task, 1, 1, 2048, 0.65 - 0.1 * number])
    return path


def test_means_and_ranks(folder, table):
    cells = published.compare_cells(run_folder.load([folder]).rows, published.read(table))
    assert [(cell.strategy, cell.task) for cell in cells] == [(n, t) for t in TASKS for n in ("naive", "rtc")]
    assert cells[0].difference == pytest.approx(0.5 - 0.4)
    naive, rtc = published.compare_means(cells)
    assert (naive.strategy, naive.delay, naive.tasks) == ("naive", 1, 3)
    assert (naive.solve_rate, naive.published) == (pytest.approx(0.4), pytest.approx(0.5))
    assert naive.low < 0.4 < naive.high
    assert naive.apart == pytest.approx((0.1 + 0.1 + 0.3) / 3)
    assert rtc.rank_correlation == pytest.approx(-1.0)


def test_findings_are_judged_by_their_intervals(folder, table):
    runs, rates = run_folder.load([folder]), published.read(table)
    means = published.compare_means(published.compare_cells(runs.rows, rates))
    found = {item.text: item for item in published.findings(runs, rates, means)}

    def finding(start):
        (item,) = (item for text, item in found.items() if text.startswith(start))
        return item

    lead = finding("at (1, 1) rtc less naive is 0.08")
    assert (lead.verdict, lead.value) == ("holds", pytest.approx(0.3))
    assert lead.low < 0.3 < lead.high
    assert lead.published == pytest.approx(0.05)
    assert finding("asking anew").verdict == "holds"
    assert np.isnan(finding("asking anew").published)  # the table has no (1, 2)
    assert finding("at (1, 1) soft masking").verdict == "does not hold"  # 0.8 against 0.9
    assert finding("temporal_ensembling is behind").verdict == "holds"
    near = finding("at d = 1 tasks lie within")
    assert (near.verdict, near.value) == ("does not hold", pytest.approx((0.35 + 0.15 + 0.05) / 3))
    assert not any("bid" in text or "d = 4" in text for text in found)  # nothing is said of what was not run


def test_what_is_no_table_of_rates_is_refused(tmp_path):
    for text in ("", "a,b\n1,2\n"):
        (tmp_path / "rates.csv").write_text(text)
        with pytest.raises(
            errors.ConfigError, match=r"rates\.csv: no table of solve rates there; its columns are method"
        ):
            published.read(tmp_path / "rates.csv")


def test_the_script_writes_tables_and_picture(folder, table, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "compare_published.py", f"rates={table}", f"out={tmp_path / 'out'}"]
    done = subprocess.run([*command, f"run={folder}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| at (1, 1) rtc less naive is 0.08 or more | holds | +0.300" in text
    rows = list(csv.DictReader((tmp_path / "out" / "cells.csv").open()))
    assert len(rows) == 6
    assert rows[0]["difference"] == "0.1000"
    missing = subprocess.run([*command, f"run={tmp_path / 'nothing'}"], capture_output=True, text=True)
    assert missing.returncode == 2
    assert "no results.csv there" in missing.stderr.splitlines()[-1]


def test_a_run_that_no_finding_is_about_has_tables_all_the_same(tmp_path):
    folder = example_runs.write(tmp_path / "run", [example_runs.row("a", "rtc", 3, 3, rate=0.5)])
    rates = tmp_path / "rates.csv"
    rates.write_text("method,task,delay,horizon,solve_rate\nrtc,a,3,3,0.6\nrtc,a,3,4,0.9\n")
    reporting.compare(reporting_settings.ComparePublishedConfig(str(folder), str(rates), str(tmp_path / "out")))
    (row,) = csv.DictReader((tmp_path / "out" / "means.csv").open())
    assert (row["tasks"], row["published"]) == ("1", "0.6000")
    assert not (tmp_path / "out" / "findings.csv").exists()
