"""Delay as it is: scenarios beside each other, the timeline of an episode, and the section of a report."""

import dataclasses

import example_runs
import numpy as np
import pytest

from rtc_bench.analysis import delay_scenarios
from rtc_bench.common import tables
from rtc_bench.evaluation import run_folder
from rtc_bench.reporting import delays, report, settings

JITTER = {"delay_model": "uniform", "delay_options": {"spread": 2}}
LATE = {"delay_estimate": "offset", "delay_options": {"by": -1}}
METRICS = {"delay_p50": 2.0, "delay_p95": 4.0, "delay_p99": 4.0, "underrun_share": 0.25, "misestimate_share": 0.0}


def rows(rate, **columns):
    plain = [example_runs.row(task, name, 2, rate=rate) for task in ("a", "b") for name in ("naive", "rtc")]
    return [dataclasses.replace(row, boundary_jerk=0.0, **{**METRICS, **columns}) for row in plain]


@pytest.fixture
def folders(tmp_path):
    constant = {"delay_p95": 2.0, "delay_p99": 2.0, "underrun_share": 0.0}
    return [
        example_runs.write(tmp_path / "constant", rows(0.8, **constant)),
        example_runs.write(tmp_path / "jitter", rows(0.6), delays=bytes([2, 4, 0, 1]), **JITTER),
        example_runs.write(tmp_path / "late", rows(0.7, **constant, misestimate_share=1.0), delays=b"\x02", **LATE),
    ]


def test_folders_with_other_delays_stand_beside_each_other_and_are_not_pooled(folders):
    scenarios = run_folder.load_scenarios([*folders, folders[0]])
    assert [len(runs.rows) for runs in scenarios] == [4, 4, 4]
    with pytest.raises(ValueError, match=r"delay_model=constant, .* has delay_model=uniform"):
        run_folder.load(folders[:2])


def test_summaries_and_curves(folders):
    summaries = delay_scenarios.summarise(run_folder.load_scenarios(folders))
    by_scenario = {item.scenario: item for item in summaries if item.strategy == "rtc"}
    assert list(by_scenario) == ["constant", "uniform spread=2", "constant, told offset by=-1"]
    assert [round(item.solve_rate, 6) for item in by_scenario.values()] == [0.8, 0.6, 0.7]
    assert [item.misestimate for item in by_scenario.values()] == [0, 0, -1]
    assert by_scenario["uniform spread=2"].underrun_share == 0.25
    curve = delay_scenarios.over_p95(summaries)["rtc"]
    assert [(x, round(rate, 6)) for x, rate, *_ in curve] == [(2.0, 0.8), (4.0, 0.6)]  # none that is misled on purpose
    misled = delay_scenarios.over_misestimate(summaries)
    assert list(misled) == [("constant", 2)]
    assert [(x, round(rate, 6)) for x, rate, *_ in misled["constant", 2]["rtc"]] == [(-1, 0.7), (0, 0.8)]


def test_a_report_has_the_section_and_its_pictures(folders, tmp_path):
    out = tmp_path / "out"
    report.report(settings.ReportConfig(run=tuple(map(str, folders)), out=str(out)))
    page = (out / "index.html").read_text()
    assert "Delay as it is" in page
    assert "uniform spread=2" in page
    assert {"delays.csv", "delays_1.png", "delays_2.png"} <= {path.name for path in out.iterdir()}
    written = tables.read(out / "delays.csv")
    assert {row["scenario"] for row in written} == {"constant", "uniform spread=2", "constant, told offset by=-1"}
    assert "Delay as it is" in (out / "results.md").read_text()


def test_a_report_of_constant_delay_has_none(folders, tmp_path):
    report.report(settings.ReportConfig(run=str(folders[0]), out=str(tmp_path / "out")))
    assert "Delay as it is" not in (tmp_path / "out" / "index.html").read_text()


def test_a_timeline_says_who_executed_which_chunk_when():
    # H = 6, s = 2; asked at 0 (comes at 1), 2 (at 7), 7 (at 8)
    timeline = delays.timeline_of([1, 5, 1], horizon=2, prediction_horizon=6, length=9)
    spans = [(chunk.asked, chunk.arrival, chunk.executed) for chunk in timeline.chunks]
    assert spans == [(0, 0, [0]), (0, 1, [1, 2, 3, 4, 5]), (2, 7, [7]), (7, 8, [8])]
    assert timeline.underruns == [6]


def test_a_timeline_is_drawn(tmp_path):
    timeline = delays.timeline_of([1, 5, 1], horizon=2, prediction_horizon=6, length=9)
    delays.save_timelines({"one": timeline, "two": timeline}, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert np.sum([len(chunk.executed) for chunk in timeline.chunks]) + len(timeline.underruns) == 9
