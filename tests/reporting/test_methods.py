"""The table of all methods, and the ranking on a report's page with a box for each need."""

import dataclasses
import shutil

import example_runs
import pytest
from test_report import Page

from rtc_bench import envs
from rtc_bench.common import tables
from rtc_bench.evaluation import run_folder
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.policies import checkpoint
from rtc_bench.reporting import methods, page, settings

STRATEGIES = ("naive", "rtc", "paint", "synchronous", "vlash", "a2c2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder that names shipped policies and weights; its outcomes are written down."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = evaluation_settings.SweepConfig(task="h17_unicycle", strategy=STRATEGIES, delay=(0, 2))
    prepared = sweeps.prepare(config)
    rates = {"vlash": 0.9}
    rows = [
        example_runs.row("h17_unicycle", name, delay, rate=rates.get(name, 0.5))
        for name in STRATEGIES
        for delay in (0, 2)
    ]
    return example_runs.write(folder, rows, prepared.identity, **dataclasses.asdict(config) | {"episodes": 100})


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(methods.chunk_cost, "SECONDS", 0.0)
    monkeypatch.setattr(methods.chunk_cost, "ROUNDS", 1)


def test_the_table_says_what_each_method_needs_and_costs(run, tmp_path, quick, capsys):
    methods.rank(settings.RankMethodsConfig(run=str(run), out=str(tmp_path)))
    described = {row["strategy"]: row for row in tables.read(tmp_path / "methods.csv")}
    assert {name: row["needs"] for name, row in described.items()} == {
        "naive": "nothing",
        "rtc": "gradient",
        "paint": "nothing",
        "synchronous": "waiting",
        "vlash": "training, simulator",
        "a2c2": "every step, training, expert",
    }
    evaluations = {name: int(row["network_evaluations"]) for name, row in described.items()}
    assert evaluations == {"naive": 5, "rtc": 5, "paint": 15, "synchronous": 5, "vlash": 5, "a2c2": 5}
    assert all(float(row["milliseconds"]) > 0 for row in described.values())
    assert {name for name, row in described.items() if float(row["kilobytes"])} == {"vlash", "a2c2"}
    text = (tmp_path / "README.md").read_text()
    assert "| vlash | training, simulator | 0.900 | +0.400 [" in text
    assert "| vlash | naive | 2 | +0.168 | +0.400 [" in text  # published, and here
    assert (tmp_path / "methods.png").read_bytes().startswith(b"\x89PNG")
    assert "vlash" in capsys.readouterr().out


def test_weights_are_asked_for_where_a_method_was_run_and_as_its_own_run_says(quick, tmp_path, capsys):
    """vlash was run in one task of two, by another folder than the baselines, with other weights=; no order is published."""
    tasks = ("catapult", "h17_unicycle")
    shutil.copytree(checkpoint.ZOO_FOLDER, tmp_path / "policies", ignore=lambda folder, names: {"methods"})
    weights = checkpoint.weights_file(tmp_path / "weights", "vlash", tasks[1])
    weights.parent.mkdir(parents=True)
    weights.write_bytes(checkpoint.weights_file(checkpoint.ZOO_FOLDER / "methods", "vlash", tasks[1]).read_bytes())
    played = {"one": (tasks, ("naive", "rtc"), "elsewhere"), "two": (tasks[1:], ("vlash",), str(tmp_path / "weights"))}
    for folder, (own_tasks, names, own_weights) in played.items():
        policies = {"policy": str(tmp_path / "policies"), "weights": own_weights}
        config = evaluation_settings.SweepConfig(task=own_tasks, strategy=names, delay=(0, 2), **policies)
        rows = [example_runs.row(task, name, delay) for task in own_tasks for name in names for delay in (0, 2)]
        changes = dataclasses.asdict(config) | {"episodes": 100}
        example_runs.write(tmp_path / "runs" / folder, rows, sweeps.prepare(config).identity, **changes)
    (tmp_path / "published.csv").write_text("method,delay,solve_rate,naive,rtc,source\nother,0,0.5,0.5,0.4,x\n")
    pattern, out = str(tmp_path / "runs" / "*"), tmp_path / "out"
    methods.rank(settings.RankMethodsConfig(run=pattern, published=str(tmp_path / "published.csv"), out=str(out)))
    described = {row["strategy"]: row for row in tables.read(out / "methods.csv")}
    assert float(described["vlash"]["kilobytes"]) == round(weights.stat().st_size / 1000, 1)
    assert (described["naive"]["kilobytes"], described["vlash"]["network_evaluations"]) == ("0.0", "5")
    assert {path.name for path in out.iterdir()} == {"README.md", "ranking.csv", "methods.csv", "methods.png"}
    assert "published_orders.csv" not in capsys.readouterr().out


def test_runs_may_be_named_by_a_pattern(tmp_path):
    for folder in ("sweep", "mine", "[odd]"):
        example_runs.write(tmp_path / folder)
    (tmp_path / "empty").mkdir()
    odd, pattern = str(tmp_path / "[odd]"), f"{tmp_path}/[ms]*"
    config = settings.RankMethodsConfig(run=(odd, pattern, "gone"))
    assert config.runs == (odd, str(tmp_path / "mine"), str(tmp_path / "sweep"), "gone")
    assert settings.RankMethodsConfig().run == ("results/laptop", "results/methods/*")


def test_training_takes_the_roll_outs_as_well():
    log = [{"seconds": 2.0}, {"seconds": 3.0}]
    assert methods._training_seconds({"log": log}) == 5
    assert methods._training_seconds({"log": log, "source_seconds": 20.0}) == 25


def test_a_box_for_each_need_shows_or_hides_those_that_have_it():
    table = tables.Table(("strategy", "rate"), [("naive", "0.5"), ("vlash", "0.9"), ("rtc", "0.7")])
    needs = {"naive": (), "vlash": ("training", "simulator"), "rtc": ("gradient",)}
    text = page._ranking(table, needs)
    shown = Page(text)
    assert not shown.open
    assert text.count("<input type=checkbox checked") == 3
    assert "body:has(#need0:not(:checked)) tr.need0 { display: none; }" in text
    assert "<tr class='need1 need2'><td class=text>vlash" in text
    assert "<tr class='need0'><td class=text>rtc" in text
    assert "<tr><td class=text>naive" in text
    assert "training, simulator" in text
    assert page._ranking(table, {}) == page._table(table)


def test_weights_that_have_changed_are_not_those_that_were_run(run):
    from rtc_bench.common import errors
    from rtc_bench.reporting import report

    runs = run_folder.load([run])
    runs.manifests[0]["identity"]["weights vlash h17_unicycle"] = "other"
    strategies = report.strategies_of(runs)
    with pytest.raises(errors.ConfigError, match="weights vlash h17_unicycle is not what was run any more"):
        report.load_task_policy(runs, envs.tasks.check_name("h17_unicycle"), strategies)
