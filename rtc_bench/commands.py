"""What crosses all rooms: a sweep, and a comparison of new strategies; played, reported and logged. And a policy server."""

import dataclasses
import json
import pathlib

from rtc_bench.analysis import paired_comparison
from rtc_bench.common import devices, errors, tables
from rtc_bench.evaluation import plan, run_folder, settings, sweep_inputs
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.realtime.serving import client, model, server
from rtc_bench.realtime.serving import settings as serving_settings
from rtc_bench.reporting import report, result_tables, wandb_logging
from rtc_bench.strategies import registry

SWEEP_SETTINGS = tuple(field.name for field in dataclasses.fields(settings.SweepConfig))


def sweep(config: settings.SweepConfig, *, dry_run: bool = False) -> pathlib.Path:
    """Play what is missing of a sweep, report it, and return the run folder; ``dry_run``: only say what is missing.

    Raises what ``evaluation.sweep.prepare`` and ``fill_run_folder`` do.
    """
    folder, prepared = sweeps.run_folder_path(config), sweeps.prepare(config)
    if dry_run:
        sweeps.preview(prepared, folder).show()
        return folder
    played = sweeps.fill_run_folder(prepared, folder)
    runs = run_folder.load([folder])
    report.write_summary(runs, folder)
    result_tables.show_solve_rates(runs.rows)
    print(f"results.csv, README.md and curves.png are in {folder}; a page: scripts/report.py {folder}", flush=True)
    if played or not wandb_logging.is_logged(folder):
        _log(config, runs, folder)
    return folder


def _log(config: settings.SweepConfig, runs: run_folder.LoadedRuns, folder: pathlib.Path) -> None:
    """Log the cells to wandb, with a film of one episode."""
    film = folder / "episode.gif"
    if config.wandb.film and config.wandb.mode != "disabled":
        report.film_episode(runs, film)
    pictures = (folder / "curves.png", film)
    wandb_logging.log(runs.rows, folder, dataclasses.asdict(config), config.wandb, pictures)


def compare(config: settings.CompareConfig, *, dry_run: bool = False) -> list[pathlib.Path]:
    """Play what is missing of baselines and new strategies, and report where each new one wins; ``dry_run`` as ``sweep`` has it.

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
    present = {folder for folder in pathlib.Path(config.out).glob("*") if folder.is_dir()}
    lenders = {run: sorted(present - {folders[run]}) for run in prepared}
    baselines, *new = prepared
    plans = [sweeps.preview(prepared[run], folders[run], lenders[run]) for run in prepared]
    if dry_run:
        for own_plan in plans:
            own_plan.show()
    print(f"{'all' if len(plans) > 2 else 'both'} runs: {plan.line(plans, config.out)}", flush=True)
    if dry_run:
        return [folders[run] for run in new]
    played = {run: sweeps.fill_run_folder(prepared[run], folders[run], lenders[run]) for run in prepared}
    for run in new:
        runs = run_folder.load([folders[baselines], folders[run]])
        (name,) = prepared[run].strategies
        _report_comparison(runs, list(prepared[baselines].strategies), name, folders[run])
        if played[run] or not wandb_logging.is_logged(folders[run]):
            _log(config, runs, folders[run])
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


def serve(config: serving_settings.ServeConfig) -> None:
    """Serve a task's policy under a strategy until ctrl-C. Raises what ``evaluation.sweep.prepare`` does."""
    if client.is_url(config.policy):
        raise errors.ConfigError(f"policy={config.policy} is a server already; give a policy")
    registry.check_spec(config.strategy)
    common = {name: getattr(config, name) for name in ("policy", "strategy", "weights", "interface", "flow_steps")}
    sweep_config = settings.SweepConfig(task=(config.task,), options=config.options, **common)
    ((name, strategy),) = sweep_inputs.build_strategies(sweep_config).items()
    ((task, source),) = sweep_inputs.policy_sources(sweep_config).items()
    devices.setup()
    task_policy = sweep_inputs.load_task_policy(sweep_config, task, source, {name: strategy})
    sweep_inputs.check_strategies({name: strategy}, task_policy.policy)
    model.check_servable(name, strategy, task_policy.policy)
    served = model.Model(task_policy.policy, strategy, task_policy.env.own, config.seed)
    print(f"{task}, {task_policy.label}, {name}: compiling ...", flush=True)
    sweep_inputs.calling([strategy], task_policy.policy, served.warm_up)
    metadata = {"task": task, **served.sizes, "batched": True, "strategy": name, "seed": config.seed}
    metadata |= {"options": json.loads(json.dumps(dataclasses.asdict(strategy), default=str))}
    metadata |= {"digests": sweep_inputs.digests({task: task_policy}, {name: strategy})}
    server.serve(served, metadata, host=config.host, port=config.port, ready=lambda url: _show_usage(config, url))
    print("stopped", flush=True)


def _show_usage(config: serving_settings.ServeConfig, url: str) -> None:
    host, _, port = url.removeprefix("ws://").rpartition(":")
    interface = f" interface={config.interface}" if config.interface != settings.SweepConfig.interface else ""
    print(
        f"{url}\n"
        f"  a sweep:  python scripts/sweep.py task={config.task} policy={url}{interface} 'strategy=[naive,served]'\n"
        f"  a robot:  openpi_client.websocket_client_policy.WebsocketClientPolicy({host!r}, {port})"
        '.infer({"observation.state": state})["actions"]\n'
        "ctrl-C stops it",
        flush=True,
    )
