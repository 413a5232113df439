"""Run folders: the tidy table, what is refused, and going on after a stop."""

import dataclasses
import json

import numpy as np
import pytest
import test_results

from rtc_bench.common import errors, versions
from rtc_bench.evaluation import episodes, results, run_folder, sweep
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.evaluation.latency import schedule

SETTINGS = {"seed": 0, "strategy": ["rtc"], "episodes": 4}


def cells_missing(run):
    return list(dict.fromkeys(cell for cell, _ in run.missing(test_results.CELLS)))


def test_a_run_that_stopped_goes_on_and_ends_alike(tmp_path):
    settings = {**SETTINGS, "out": "x"}
    whole = run_folder.RunFolder(tmp_path / "whole", settings, {})
    whole.missing(test_results.CELLS)
    for cell in test_results.CELLS:
        whole.add(test_results.row(cell), test_results.outcomes())
    stopped = run_folder.RunFolder(tmp_path / "stopped", settings, {})
    stopped.missing(test_results.CELLS)
    second = test_results.CELLS[1]  # nothing is promised about which came first
    stopped.add(test_results.row(second), test_results.outcomes())
    again = run_folder.RunFolder(tmp_path / "stopped", {**settings, "out": "y"}, {})
    todo = cells_missing(again)
    assert todo == [test_results.CELLS[0], test_results.CELLS[2]]
    for cell in todo:
        again.add(test_results.row(cell), test_results.outcomes())
    assert again.results_file.read_bytes() == whole.results_file.read_bytes()
    for task in ("a", "b"):
        name = f"episodes/{task}.parquet"
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_episodes_are_kept_in_their_order(tmp_path):
    run = run_folder.RunFolder(tmp_path, SETTINGS, {})
    run.missing(test_results.CELLS)
    for cell in test_results.CELLS:
        run.add(test_results.row(cell), test_results.outcomes())
    cells = episodes.read(
        tmp_path / "episodes" / "a.parquet", [test_results.row(cell) for cell in test_results.CELLS[:2]]
    )
    assert list(cells) == test_results.CELLS[:2]
    assert cells[test_results.CELLS[1]]["solved"].tolist() == [True, False, False, False]
    assert cells[test_results.CELLS[1]]["total_reward"].tolist() == [1, -1, 0, 0]
    assert cells[test_results.CELLS[1]]["length"].tolist() == [10, 20, 256, 256]
    assert episodes.read(tmp_path / "episodes" / "c.parquet", []) == {}


def test_a_cell_without_its_episodes_is_run_again(tmp_path):
    run = run_folder.RunFolder(tmp_path, SETTINGS, {})
    run.missing(test_results.CELLS)
    for cell in test_results.CELLS:
        run.add(test_results.row(cell), test_results.outcomes())
    (tmp_path / "episodes" / "b.parquet").unlink()
    assert cells_missing(run_folder.RunFolder(tmp_path, SETTINGS, {})) == [test_results.CELLS[2]]
    (tmp_path / "episodes" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(errors.ConfigError, match=r"a\.parquet: not a whole table .*run the sweep again"):
        run_folder.RunFolder(tmp_path, SETTINGS, {})


@pytest.mark.parametrize(
    ("settings", "identity", "answer"),
    [
        ({"noise_std": 0.2}, {"policy a": "x"}, "noise_std=None.*noise_std=0.2"),
        ({}, {"policy a": "y"}, "policy a=x.*policy a=y"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path, settings, identity, answer):
    run_folder.RunFolder(tmp_path, {"seed": 0}, {"policy a": "x"})
    with pytest.raises(errors.ConfigError, match=rf"{answer}.*out="):
        run_folder.RunFolder(tmp_path, settings, identity)


def test_a_task_whose_policy_came_later_is_added(tmp_path):
    for policies in ({"policy a": "x"}, {"policy a": "x", "policy b": "y"}, {"policy b": "y"}):
        run = run_folder.RunFolder(tmp_path, SETTINGS, policies)
    assert json.loads(run.manifest_file.read_text())["identity"] == {"policy a": "x", "policy b": "y"}
    with pytest.raises(errors.ConfigError, match=r"policy b=y.*policy b=z"):
        run_folder.RunFolder(tmp_path, SETTINGS, {"policy a": "x", "policy b": "z"})


def test_the_manifest_says_what_made_the_numbers(tmp_path):
    run = run_folder.RunFolder(tmp_path, {"seed": 0, "strategy": ("rtc",)}, {"policy a": "x"})
    run.record_session(versions.collect())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert {"commit", "python", "jax", "device"} <= manifest["versions"][0].keys()
    assert manifest["identity"] == {"policy a": "x"}
    assert (tmp_path / "config.yaml").read_text() == "seed: 0\nstrategy:\n- rtc\n"


def test_every_code_that_ran_cells_is_named(tmp_path):
    def session(commit, cells):
        run = run_folder.RunFolder(tmp_path, SETTINGS, {})
        for cell in cells_missing(run)[:cells]:
            run.record_session({"commit": commit})
            run.add(test_results.row(cell), test_results.outcomes())
        return [version["commit"] for version in json.loads(run.manifest_file.read_text())["versions"]]

    assert session("a", 1) == ["a"]
    assert session("a", 1) == ["a"]
    assert session("b", 1) == ["a", "b"]
    assert session("c", 0) == ["a", "b"]  # nothing was left to run


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}}'])
def test_a_manifest_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(errors.ConfigError, match=r"manifest\.json: damaged, or .*another folder"):
        run_folder.RunFolder(tmp_path, SETTINGS, {})


def test_nothing_half_written_stays(tmp_path):
    run = run_folder.RunFolder(tmp_path, SETTINGS, {})
    run.missing(test_results.CELLS)
    run.add(test_results.row(test_results.CELLS[0]), test_results.outcomes())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.yaml",
        "episodes",
        "manifest.json",
        "results.csv",
    ]


@pytest.mark.parametrize(
    ("settings", "identity", "borrowed_count"),
    [
        ({"delay": 7, "task": "b", "strategy": "rtc"}, {"policy b": "y"}, 2),
        ({"seed": 1}, {}, 0),
        ({"options": {"rtc": {"schedule": "hard"}}}, {}, 0),
        ({}, {"policy a": "other"}, 0),
    ],
)
def test_cells_are_taken_from_runs_that_agree(tmp_path, settings, identity, borrowed_count):
    other = run_folder.RunFolder(tmp_path / "other", {**SETTINGS, **settings}, {"policy a": "x", **identity})
    other.missing(test_results.CELLS[:2])
    for cell in test_results.CELLS[:2]:
        counted = {"episodes": settings.get("episodes", 4), "seed": str(settings.get("seed", 0))}
        other.add(dataclasses.replace(test_results.row(cell), **counted), test_results.outcomes())
    run_folder.RunFolder(tmp_path / "empty", SETTINGS, {"policy a": "x"})
    run = run_folder.RunFolder(tmp_path / "run", SETTINGS, {"policy a": "x"})
    run.borrow(test_results.CELLS, [tmp_path / name for name in ("empty", "other")])
    assert cells_missing(run) == test_results.CELLS[borrowed_count:]
    if borrowed_count:
        again = run_folder.load([tmp_path / "run"])
        rows = [test_results.row(cell) for cell in test_results.CELLS[:2]]
        assert results.csv_text(again.rows) == results.csv_text(rows)
        assert again.episodes[test_results.CELLS[0]]["solved"].tolist() == [True, False, False, False]


def add(run, cell, span):
    seed = dataclasses.replace(test_results.row(cell, rate=0.25), seed=str(span.seed))
    run.add(seed, test_results.outcomes(), span.first)


def test_a_folder_grows_by_episodes_and_seeds(tmp_path):
    cell = test_results.CELLS[0]
    for settings, expected in (
        ({}, [(0, 0, 4)]),
        ({"episodes": 8}, [(0, 4, 4)]),
        ({"episodes": 4, "seed": [0, 3]}, [(3, 0, 4)]),
        ({"episodes": 4}, []),
        ({"episodes": 8, "seed": "3..3"}, [(3, 4, 4)]),
    ):
        run = run_folder.RunFolder(tmp_path, {**SETTINGS, **settings}, {})
        missing = run.missing([cell])
        assert [tuple(span) for _, span in missing] == expected
        for _, span in missing:
            add(run, cell, span)
    settings = json.loads(run.manifest_file.read_text())["settings"]
    assert (settings["episodes"], settings["seed"]) == (8, [0, 3])
    (row,) = run_folder.load([tmp_path]).rows
    assert (row.episodes, row.seed, row.solve_rate, row.mean_length) == (16, "0 3", 0.25, 135.5)
    assert row.seconds == 4 * 1.5


def test_runs_of_other_seeds_are_pooled_and_paired_by_seed_and_episode(tmp_path):
    cell = test_results.CELLS[0]
    folders = []
    for number, seeds in enumerate(([2], [0, 1], [0])):
        folders.append(tmp_path / str(number))
        run = run_folder.RunFolder(folders[-1], {**SETTINGS, "seed": seeds}, {})
        for _, span in run.missing([cell]):
            add(run, cell, span)
    pooled = run_folder.load(folders)
    assert (pooled.rows[0].episodes, pooled.rows[0].seed) == (12, "0 1 2")
    one, other = episodes.align([pooled.episodes[cell], run_folder.load(folders[1:]).episodes[cell]])
    assert one["seed"].tolist() == other["seed"].tolist() == [0] * 4 + [1] * 4
    assert one["episode"].tolist() == other["episode"].tolist() == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_runs_that_share_some_episodes_count_each_once(tmp_path, order):
    cell = test_results.CELLS[0]
    for number, (seeds, episodes_a_seed) in enumerate((([0, 1], 4), ([1, 2], 4), ([1], 8))):
        run = run_folder.RunFolder(tmp_path / str(number), {**SETTINGS, "seed": seeds, "episodes": episodes_a_seed}, {})
        for _, span in run.missing([cell]):
            add(run, cell, span)
    runs = run_folder.load([tmp_path / str(number) for number in order])
    assert (runs.rows[0].episodes, runs.rows[0].seed) == (12, "0 1 2")
    assert runs.episodes[cell]["seed"].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_a_kill_between_episodes_and_table_is_mended(tmp_path):
    cell = test_results.CELLS[0]
    for episodes_a_seed in (4, 8):
        run = run_folder.RunFolder(tmp_path, {**SETTINGS, "episodes": episodes_a_seed}, {})
        table = run.results_file.read_bytes() if run.results_file.exists() else b""
        for _, span in run.missing([cell]):
            add(run, cell, span)
    whole = run.results_file.read_bytes()
    run.results_file.write_bytes(table)
    again = run_folder.RunFolder(tmp_path, {**SETTINGS, "episodes": 8}, {})
    assert again.missing([cell]) == []
    assert again.rows[cell].episodes == 8
    assert run_folder.load([tmp_path]).rows[0].episodes == 8
    assert len(table) < len(whole) + 1


def test_episodes_from_before_seeds_were_recorded_have_that_of_their_row(tmp_path):
    from pyarrow import parquet

    cell = test_results.CELLS[0]
    run = run_folder.RunFolder(tmp_path, {**SETTINGS, "seed": 3}, {})
    run.missing([cell])
    run.add(dataclasses.replace(test_results.row(cell, rate=0.25), seed="3"), test_results.outcomes())
    path = tmp_path / "episodes" / "a.parquet"
    parquet.write_table(parquet.read_table(path).drop_columns(["seed", "action_change", "boundary_change"]), path)
    grown = run_folder.RunFolder(tmp_path, {**SETTINGS, "seed": 1}, {})
    assert [tuple(span) for _, span in grown.missing([cell])] == [(1, 0, 4)]
    assert grown.episodes[cell]["seed"].tolist() == [3] * 4
    assert set(grown.episodes[cell]["action_change"].tolist()) == {np.float32(0.1)}


def test_settings_of_delay_leave_old_folders_what_they_were(tmp_path):
    """Their names, that they can go on, and that a run under another delay is refused there."""
    constant = evaluation_settings.SweepConfig()
    assert sweep.run_folder_path(constant).name == "sweep-c52db1d0"
    assert sweep.run_folder_path(dataclasses.replace(constant, delay_model="uniform")).name != "sweep-c52db1d0"
    old = {"noise_std": 0.1, "episodes": 4, "seed": 0}
    run_folder.RunFolder(tmp_path, old, {})
    run_folder.RunFolder(tmp_path, {**old, **run_folder.CONSTANT_DELAY}, {})
    with pytest.raises(
        errors.ConfigError, match="holds a run with delay_model=constant, this one has delay_model=bursts"
    ):
        run_folder.RunFolder(tmp_path, {**old, **run_folder.CONSTANT_DELAY, "delay_model": "bursts"}, {})


def test_another_trace_is_another_run(tmp_path):
    settings = {"noise_std": 0.1, "episodes": 4, "seed": 0, **run_folder.CONSTANT_DELAY, "delay_model": "trace"}
    run_folder.RunFolder(tmp_path, settings, {schedule.TRACE: "a"})
    with pytest.raises(errors.ConfigError, match="delay trace=a, this one has delay trace=b"):
        run_folder.RunFolder(tmp_path, settings, {schedule.TRACE: "b"})


def test_delays_grow_with_the_episodes(tmp_path):
    cell = ("a", "rtc", 1, 1)
    run = run_folder.RunFolder(tmp_path, {"episodes": 8, "seed": 0, "strategy": "rtc", "delay_model": "uniform"}, {})
    run.missing([cell])
    for first in (0, 4):
        run.add(test_results.row(cell, rate=0.25), test_results.outcomes(), first)
    (runs,) = run_folder.load_scenarios([tmp_path])
    (row,) = runs.rows
    assert (row.episodes, row.delay_p50, row.delay_p99) == (8, 2, 9)
    assert row.underrun_share == pytest.approx(27 / 542, abs=1e-5)
    assert row.misestimate_share == pytest.approx(0.4)
    assert runs.episodes[cell]["delays"].tolist() == test_results.outcomes().delays.tolist() * 2
