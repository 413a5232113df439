"""A comparison of new strategies with baselines: played, reported and logged."""

import dataclasses
import pathlib

from rtc_bench.analysis import paired_comparison
from rtc_bench.commands import sweep as sweep_command
from rtc_bench.common import tables
from rtc_bench.evaluation import run_folder, settings, sweep_inputs
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.reporting import report, result_tables, wandb_logging
from rtc_bench.strategies import registry

SWEEP_SETTINGS = tuple(field.name for field in dataclasses.fields(settings.SweepConfig))


def compare(config: settings.CompareConfig) -> list[pathlib.Path]:
    """Play what is missing of baselines and new strategies, and report where each new one wins.

    Returns the run folders of the new strategies. Raises what ``evaluation.sweep.prepare`` does.
    """
    specs_by_run = {"baselines": config.baselines, **{spec: (spec,) for spec in config.strategies}}
    all_specs = (*config.baselines, *config.strategies)
    everything = _sweep_config(config, all_specs, config.options)
    sweep_inputs.build_strategies(everything)  # typos are told before anything runs
    configs = {
        run: _sweep_config(config, specs, _options_of(config.options, specs)) for run, specs in specs_by_run.items()
    }
    prepared = {run: sweeps.prepare(sweep_config) for run, sweep_config in configs.items()}
    folders = {run: _folder(config, prepared_sweep) for run, prepared_sweep in prepared.items()}
    lenders = {folder for folder in pathlib.Path(config.out).glob("*") if folder.is_dir()}
    played = {
        run: sweeps.fill_run_folder(prepared[run], folders[run], sorted(lenders - {folders[run]})) for run in prepared
    }
    baselines, *new = prepared
    for run in new:
        runs = run_folder.load([folders[baselines], folders[run]])
        (name,) = prepared[run].strategies
        _report_comparison(runs, list(prepared[baselines].strategies), name, folders[run])
        if played[run] or not wandb_logging.is_logged(folders[run]):
            sweep_command.log(config, runs, folders[run])
    return [folders[run] for run in new]


def _sweep_config(config: settings.CompareConfig, specs: tuple[str, ...], options: dict) -> settings.SweepConfig:
    values = {name: getattr(config, name) for name in SWEEP_SETTINGS}
    return settings.SweepConfig(**{**values, "strategy": specs, "options": options, "out": None})


def _options_of(options: dict, specs: tuple[str, ...]) -> dict:
    return {name: options[name] for name in map(registry.name_of, specs) if name in options}


def _folder(config: settings.CompareConfig, prepared: sweeps.PreparedSweep) -> pathlib.Path:
    """Named by all that decides a number, so that a strategy whose file has changed is run again, and a baseline is not."""
    digest = sweeps.short_digest([sweeps.deciding_settings(prepared.config), prepared.identity])
    return pathlib.Path(config.out) / f"{'-'.join(prepared.strategies)}-{digest}"


def _report_comparison(runs: run_folder.LoadedRuns, baselines: list[str], strategy: str, folder: pathlib.Path) -> None:
    outcomes, records = paired_comparison.PairedOutcomes(runs), []
    for baseline in baselines:
        by_delay = paired_comparison.against_baseline(outcomes, baseline, [strategy])
        by_task = paired_comparison.against_baseline_by_task(outcomes, strategy, baseline)
        tables.show(f"{strategy} against {baseline}", result_tables.verdicts(by_delay, by_task))
        single_delays = [comparison for comparison in by_delay if comparison.delay is not None]
        print(result_tables.verdict_sentence(single_delays) + "\n", flush=True)
        records += paired_comparison.records([*by_delay, *by_task])
    tables.write(records, folder / "comparisons.csv")
    report.write_summary(runs, folder)
    print(f"comparisons.csv (also task by task), README.md and curves.png are in {folder}")
