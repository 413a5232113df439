"""Run folders: the tidy table, what is refused, and going on after a stop."""

import dataclasses
import json

import numpy as np
import pytest

from rtc_bench import config as configs
from rtc_bench import evaluator, results, versions

COLUMNS = (
    "task,strategy,delay,horizon,episodes,solve_rate,ci_low,ci_high,mean_return,mean_length,"
    "action_change,boundary_change,seed,policy,seconds"
)
CELLS = [("a", "rtc", 0, 1), ("a", "rtc", 1, 1), ("b", "rtc", 0, 1)]


def row(cell, rate=0.5):
    task, strategy, delay, horizon = cell
    measured = {"solve_rate": rate, "ci_low": 0.0, "ci_high": 1.0, "mean_return": rate, "mean_length": 3.0}
    change = {"action_change": 0.1, "boundary_change": 0.2}
    place = {"task": task, "strategy": strategy, "delay": delay, "horizon": horizon, "episodes": 4}
    return results.Row(**place, **measured, **change, seed=0, policy="zoo/a", seconds=1.5)


def outcomes():
    return evaluator.Outcomes(
        solved=np.array([True, False, False, False]),
        total_reward=np.array([1.0, -1.0, 0.0, 0.0]),
        length=np.array([10, 20, 256, 256]),
        action_change=np.array([0.1, 0.1, 0.3, 0.3]),
        boundary_change=np.array([0.0, 0.2, 0.2, 0.4]),
    )


def test_a_row_summarises_its_episodes():
    made = results.summarise(
        outcomes(), task="a", strategy="rtc", delay=1, horizon=2, seed=3, policy="zoo/a", seconds=0.5
    )
    assert (made.episodes, made.solve_rate, made.mean_return) == (4, 0.25, 0.0)
    assert made.mean_length == (10 + 20 + 256 + 256) / 4
    assert made.action_change == pytest.approx(0.2)
    assert made.boundary_change == pytest.approx(0.2)
    assert made.ci_low < 0.25 < made.ci_high


def test_the_columns_are_the_contract(tmp_path):
    run = results.Run(tmp_path, {}, {})
    run.plan(CELLS)
    run.add(row(CELLS[0]), outcomes())
    assert run.table.read_text().splitlines()[0] == COLUMNS
    assert results.read(run.table) == [row(CELLS[0])]


def test_a_strategy_named_with_a_comma_survives(tmp_path):
    odd = ("a", 'mine,"odd"', 0, 1)
    run = results.Run(tmp_path, {}, {})
    run.plan([odd])
    run.add(row(odd), outcomes())
    assert results.read(run.table)[0].strategy == 'mine,"odd"'


def test_a_run_that_stopped_goes_on_and_ends_alike(tmp_path):
    settings = {"seed": 0, "out": "x"}
    whole = results.Run(tmp_path / "whole", settings, {})
    whole.plan(CELLS)
    for cell in CELLS:
        whole.add(row(cell), outcomes())
    stopped = results.Run(tmp_path / "stopped", settings, {})
    stopped.plan(CELLS)
    stopped.add(row(CELLS[1]), outcomes())  # nothing is promised about which came first
    again = results.Run(tmp_path / "stopped", {**settings, "out": "y"}, {})
    todo = again.plan(CELLS)
    assert todo == [CELLS[0], CELLS[2]]
    for cell in todo:
        again.add(row(cell), outcomes())
    assert again.table.read_bytes() == whole.table.read_bytes()
    for task in ("a", "b"):
        name = f"episodes/{task}.parquet"
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_episodes_are_kept_in_their_order(tmp_path):
    run = results.Run(tmp_path, {}, {})
    run.plan(CELLS)
    for cell in CELLS:
        run.add(row(cell), outcomes())
    found = results.episodes(tmp_path, "a")
    assert list(found) == CELLS[:2]
    assert found[CELLS[1]]["solved"].tolist() == [True, False, False, False]
    assert found[CELLS[1]]["total_reward"].tolist() == [1, -1, 0, 0]
    assert found[CELLS[1]]["length"].tolist() == [10, 20, 256, 256]
    assert results.episodes(tmp_path, "c") == {}


def test_a_cell_without_its_episodes_is_run_again(tmp_path):
    run = results.Run(tmp_path, {}, {})
    run.plan(CELLS)
    for cell in CELLS:
        run.add(row(cell), outcomes())
    (tmp_path / "episodes" / "b.parquet").unlink()
    assert results.Run(tmp_path, {}, {}).plan(CELLS) == [CELLS[2]]
    (tmp_path / "episodes" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(configs.ConfigError, match=r"a\.parquet: not a whole table .*run the sweep again"):
        results.Run(tmp_path, {}, {})


@pytest.mark.parametrize(
    ("settings", "identity", "answer"),
    [
        ({"seed": 1}, {"policy a": "x"}, "seed=0.*seed=1"),
        ({"seed": 0}, {"policy a": "y"}, "policy a=x.*policy a=y"),
        ({"seed": 0, "episodes": 3}, {"policy a": "x"}, "episodes=None.*episodes=3"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path, settings, identity, answer):
    results.Run(tmp_path, {"seed": 0}, {"policy a": "x"})
    with pytest.raises(configs.ConfigError, match=rf"{answer}.*out="):
        results.Run(tmp_path, settings, identity)


def test_the_manifest_says_what_made_the_numbers(tmp_path):
    results.Run(tmp_path, {"seed": 0, "strategy": ("rtc",)}, {"policy a": "x"})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert {"commit", "python", "jax", "device"} <= manifest["versions"][0].keys()
    assert manifest["identity"] == {"policy a": "x"}
    assert (tmp_path / "config.yaml").read_text() == "seed: 0\nstrategy:\n- rtc\n"


def test_every_code_that_ran_cells_is_named(tmp_path, monkeypatch):
    def session(commit, cells):
        monkeypatch.setattr(versions, "collect", lambda: {"commit": commit})
        run = results.Run(tmp_path, {}, {})
        for cell in run.plan(CELLS)[:cells]:
            run.add(row(cell), outcomes())
        return [made["commit"] for made in json.loads(run.manifest_file.read_text())["versions"]]

    assert session("a", 1) == ["a"]
    assert session("a", 1) == ["a"]
    assert session("b", 1) == ["a", "b"]
    assert session("c", 0) == ["a", "b"]  # nothing was left to run


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}}'])
def test_a_manifest_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(configs.ConfigError, match=r"manifest\.json: damaged, or .*another folder"):
        results.Run(tmp_path, {}, {})


def test_nothing_half_written_stays(tmp_path):
    run = results.Run(tmp_path, {}, {})
    run.plan(CELLS)
    run.add(row(CELLS[0]), outcomes())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.yaml",
        "episodes",
        "manifest.json",
        "results.csv",
    ]


def test_another_csv_is_refused(tmp_path):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(configs.ConfigError, match=r"not a results\.csv"):
        results.read(tmp_path / "results.csv")


def test_a_damaged_table_is_refused_kindly(tmp_path):
    run = results.Run(tmp_path, {}, {})
    run.plan(CELLS)
    run.add(row(CELLS[0]), outcomes())
    run.table.write_text(run.table.read_text().replace("0.500000", "half"))
    with pytest.raises(configs.ConfigError, match=r"results\.csv: line 2 is damaged"):
        results.read(run.table)


SETTINGS = {"seed": 0, "strategy": ["rtc"], "episodes": 4}


@pytest.mark.parametrize(
    ("settings", "identity", "taken"),
    [
        ({"delay": 7, "task": "b", "strategy": "rtc"}, {"policy b": "y"}, 2),
        ({"seed": 1}, {}, 0),
        ({"episodes": 5}, {}, 0),
        ({"options": {"rtc": {"schedule": "hard"}}}, {}, 0),
        ({}, {"policy a": "other"}, 0),
    ],
)
def test_cells_are_taken_from_runs_that_agree(tmp_path, settings, identity, taken):
    other = results.Run(tmp_path / "other", {**SETTINGS, **settings}, {"policy a": "x", **identity})
    other.plan(CELLS[:2])
    for cell in CELLS[:2]:
        episodes = settings.get("episodes", 4)
        other.add(dataclasses.replace(row(cell), episodes=episodes), outcomes())
    results.Run(tmp_path / "empty", SETTINGS, {"policy a": "x"})
    run = results.Run(tmp_path / "run", SETTINGS, {"policy a": "x"})
    run.borrow(CELLS, [tmp_path / name for name in ("empty", "other")])
    assert run.plan(CELLS) == CELLS[taken:]
    if taken:
        again = results.load([tmp_path / "run"])
        assert again.rows == [row(cell) for cell in CELLS[:2]]
        assert again.episodes[CELLS[0]]["solved"].tolist() == [True, False, False, False]
