"""A comparison of new strategies with baselines: played, reported and logged."""

import dataclasses
import pathlib
from typing import NamedTuple

from rtc_bench.analysis import paired_comparison
from rtc_bench.analysis.paired_comparison import Comparison
from rtc_bench.commands import sweep as sweep_command
from rtc_bench.common import tables
from rtc_bench.evaluation import plan, run_folder, settings, sweep_inputs
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.reporting import report, result_tables, wandb_logging
from rtc_bench.strategies import registry

SWEEP_SETTINGS = tuple(field.name for field in dataclasses.fields(settings.SweepConfig))


class Played(NamedTuple):
    """A new strategy and the baselines, played."""

    strategy: str
    baselines: list[str]
    runs: run_folder.LoadedRuns  # of all of them
    folder: pathlib.Path  # the strategy's own run folder
    is_new: bool  # some of its episodes were not there before


def compare(config: settings.CompareConfig, *, dry_run: bool = False) -> list[pathlib.Path]:
    """Play what is missing of baselines and new strategies, and report where each new one wins; ``dry_run`` as ``play`` has it.

    Returns the run folders of the new strategies. Raises what ``evaluation.sweep.prepare`` does.
    """
    outcomes = play(config, dry_run=dry_run)
    for played in outcomes:
        _report(played)
        if played.is_new or not wandb_logging.is_logged(played.folder):
            sweep_command.log(config, played.runs, played.folder)
    return [played.folder for played in outcomes]


def play(config: settings.CompareConfig, *, dry_run: bool = False) -> list[Played]:
    """Play what is missing of baselines and new strategies; ``dry_run``: only say what is missing, and return nothing.

    Raises what ``evaluation.sweep.prepare`` does.
    """
    specs_by_run = {"baselines": config.baselines, **{spec: (spec,) for spec in config.strategies}}
    all_specs = (*config.baselines, *config.strategies)
    everything = _sweep_config(config, all_specs, config.options)
    sweep_inputs.build_strategies(everything)  # typos are told before anything runs
    configs = {
        run: _sweep_config(config, specs, _options_of(config.options, specs)) for run, specs in specs_by_run.items()
    }
    prepared = {run: sweeps.prepare(sweep_config) for run, sweep_config in configs.items()}
    folders = {run: folder_of(prepared_sweep, config.out) for run, prepared_sweep in prepared.items()}
    present = {folder for folder in pathlib.Path(config.out).glob("*") if folder.is_dir()}
    lenders = {run: sorted(present - {folders[run]}) for run in prepared}
    plans = [sweeps.preview(prepared[run], folders[run], lenders[run]) for run in prepared]
    if dry_run:
        for own_plan in plans:
            own_plan.show()
    print(f"{'all' if len(plans) > 2 else 'both'} runs: {plan.line(plans, config.out)}", flush=True)
    if dry_run:
        return []
    is_new = {run: sweeps.fill_run_folder(prepared[run], folders[run], lenders[run]) for run in prepared}
    baselines, *new = prepared
    names = list(prepared[baselines].strategies)
    loaded = {run: run_folder.load([folders[baselines], folders[run]]) for run in new}
    return [Played(registry.name_of(run), names, loaded[run], folders[run], is_new[run]) for run in new]


def verdicts(played: Played) -> dict[str, tuple[list[Comparison], list[Comparison]]]:
    """Baseline -> comparisons of the mean over tasks, at each delay and over all; and task by task."""
    outcomes = paired_comparison.PairedOutcomes(played.runs)
    return {
        baseline: (
            paired_comparison.against_baseline(outcomes, baseline, [played.strategy]),
            paired_comparison.against_baseline_by_task(outcomes, played.strategy, baseline),
        )
        for baseline in played.baselines
    }


def folder_of(prepared: sweeps.PreparedSweep, out: pathlib.Path | str) -> pathlib.Path:
    """In ``out``, named by all that decides a number, so that a strategy whose code has changed gets another."""
    digest = sweeps.short_digest([sweeps.deciding_settings(prepared.config), prepared.identity])
    return pathlib.Path(out) / f"{'-'.join(prepared.strategies)}-{digest}"


def _sweep_config(config: settings.CompareConfig, specs: tuple[str, ...], options: dict) -> settings.SweepConfig:
    values = {name: getattr(config, name) for name in SWEEP_SETTINGS}
    return settings.SweepConfig(**{**values, "strategy": specs, "options": options, "out": None})


def _options_of(options: dict, specs: tuple[str, ...]) -> dict:
    return {name: options[name] for name in map(registry.name_of, specs) if name in options}


def _report(played: Played) -> None:
    records = []
    for baseline, (by_delay, by_task) in verdicts(played).items():
        tables.show(f"{played.strategy} against {baseline}", result_tables.verdicts(by_delay, by_task))
        single_delays = [comparison for comparison in by_delay if comparison.delay is not None]
        print(result_tables.verdict_sentence(single_delays) + "\n", flush=True)
        records += paired_comparison.records([*by_delay, *by_task])
    tables.write(records, played.folder / "comparisons.csv")
    report.write_summary(played.runs, played.folder)
    print(f"comparisons.csv (also task by task), README.md and curves.png are in {played.folder}")
