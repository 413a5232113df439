"""What a sweep is expected to take, and a dry run: everything is checked, and no file changes."""

import dataclasses

import pytest
import test_results

from rtc_bench.commands import compare as compare_command
from rtc_bench.commands import sweep as sweep_command
from rtc_bench.common import costs, errors
from rtc_bench.evaluation import evaluator, plan, run_folder, settings
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.policies import checkpoint

CONFIG = settings.SweepConfig("h17_unicycle", ("naive", "bid_no_weak"), delay=[0, 4], episodes=4, horizon="auto")


@pytest.fixture(autouse=True)
def _two_cores_that_never_compile(monkeypatch):
    monkeypatch.setattr(costs, "cores", lambda: 2)

    def refuse(*arguments, **rest):
        raise AssertionError("a dry run builds no evaluator")

    monkeypatch.setattr(evaluator, "Evaluator", refuse)


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_counts_what_is_missing_and_writes_nothing(tmp_path, capsys):
    config = dataclasses.replace(CONFIG, out=str(tmp_path / "run"))
    sweep_command.sweep(config, dry_run=True)
    assert "4 cells, some 10 seconds on 2 cores, 20 seconds more where programs must be" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    prepared = sweeps.prepare(config)
    run = run_folder.RunFolder(config.out, dataclasses.asdict(config), prepared.identity)
    run.missing(prepared.cells)
    row = dataclasses.replace(test_results.row(prepared.cells[0]), seed="0")
    run.add(row, test_results.outcomes())
    before = contents(tmp_path)
    sweep_command.sweep(dataclasses.replace(config, seed=[0, 1]), dry_run=True)  # a folder that would grow
    sweep_command.sweep(config, dry_run=True)
    out = capsys.readouterr().out.splitlines()
    assert contents(tmp_path) == before
    assert [line.split()[:7] for line in out if line.strip().startswith("h17_unicycle")] == [
        ["h17_unicycle", "2", "of", "2", "2", "of", "2"],
        ["h17_unicycle", "1", "of", "2", "2", "of", "2"],
    ]
    assert out[-1].startswith("4 cells, 1 of them done before, some 10 seconds on 2 cores")


def test_a_dry_comparison_plays_and_writes_nothing(tmp_path, capsys):
    own = {field.name: getattr(CONFIG, field.name) for field in dataclasses.fields(CONFIG)}
    own |= {"strategy": "inpaint", "baseline": "naive", "out": str(tmp_path / "compare")}
    compare_command.compare(settings.CompareConfig(**own), dry_run=True)
    assert "both runs: 4 cells, some 10 seconds on 2 cores" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_refuses_what_a_run_would(tmp_path):
    config = dataclasses.replace(CONFIG, out=str(tmp_path / "run"))
    run_folder.RunFolder(config.out, dataclasses.asdict(config), sweeps.prepare(config).identity)
    with pytest.raises(errors.ConfigError, match=r"holds a run with noise_std=0\.1, this one has noise_std=0"):
        sweep_command.sweep(dataclasses.replace(config, noise_std=0.0), dry_run=True)


@pytest.fixture
def measured(monkeypatch):
    """1 s for 1,000 steps, 2 s for 1,000 chunks of naive and 20 s of BID's, episodes of 50 steps, 30 s for a program."""
    values = {("length", "h17_unicycle"): 50, ("step", "h17_unicycle"): 1.0, ("compile", "h17_unicycle"): 30.0}
    values |= {("chunk", "naive"): 2.0, ("chunk", "bid_no_weak"): 20.0}
    monkeypatch.setattr(costs, "measured", lambda: values)


def estimate(engine="fast", **changes):
    prepared = sweeps.prepare(dataclasses.replace(CONFIG, episodes=100, **changes))
    missing = [(cell, run_folder.Span(0, 0, 100)) for cell in prepared.cells]
    return plan.Estimate(
        dataclasses.replace(prepared.config, engine=engine), prepared.task_policies, prepared.strategies, missing
    )


def test_cells_differ_as_their_strategies_and_horizons_do(measured):
    """5,000 steps a cell: 5 s of physics; chunks: 5,000 at s = 1, 1,250 at s = 4."""
    own = estimate()
    spans = run_folder.Span(0, 0, 100)
    cells = [("h17_unicycle", name, d, max(d, 1)) for name in CONFIG.strategies for d in (0, 4)]
    assert [own.cell(cell, spans) for cell in cells] == pytest.approx([15, 7.5, 105, 30])
    assert own.seconds == pytest.approx(157.5)
    assert own.work == pytest.approx(187.5)
    assert estimate(flow_steps=10).seconds == pytest.approx(4 * 5 + 2 * 137.5)


def test_a_strategy_that_was_not_measured_costs_naive_s_at_least(measured):
    own = estimate(strategy=("naive", "rtc"))
    assert own.at_least
    assert own.seconds == pytest.approx(2 * 22.5)


def test_nothing_is_known_of_other_policies_and_engines(measured, monkeypatch):
    assert estimate(engine="kinetix").seconds is None
    monkeypatch.setattr(plan, "SHIPPED_SIZE", {**plan.SHIPPED_SIZE, "layers": 4})
    own = estimate()
    assert (own.seconds, own.work, own.compiling) == (None, None, {})


def test_the_shipped_policies_have_the_size_that_was_measured():
    for path in checkpoint.zoo_files().values():
        config = checkpoint.read_header(path)["config"]
        assert {name: config[name] for name in plan.SHIPPED_SIZE} == plan.SHIPPED_SIZE
