"""A sweep: played, reported and logged."""

import dataclasses
import pathlib

from rtc_bench.common import errors
from rtc_bench.evaluation import run_folder, settings
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.reporting import report, result_tables, wandb_logging


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
    print(
        f"results.csv, README.md and curves.png are in {folder}; a page: {errors.command('report')} {folder}",
        flush=True,
    )
    if played or not wandb_logging.is_logged(folder):
        log(config, runs, folder)
    return folder


def log(config: settings.SweepConfig, runs: run_folder.LoadedRuns, folder: pathlib.Path) -> None:
    """Log the cells to wandb, with a film of one episode."""
    film = folder / "episode.gif"
    if config.wandb.film and config.wandb.mode != "disabled":
        report.film_episode(runs, film)
    pictures = (folder / "curves.png", film)
    wandb_logging.log(runs.rows, folder, dataclasses.asdict(config), config.wandb, pictures)
