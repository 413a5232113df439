"""Logging to Weights & Biases; nothing else imports wandb. Offline by default: no account, `wandb sync` later."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import errors, files
from rtc_bench.evaluation import results, settings
from rtc_bench.reporting import figures

TAG = 64  # characters, wandb's limit
LOGGED = "logged"  # a file beside wandb's own, written last


def log(
    rows: Sequence[results.Row],
    folder: pathlib.Path,
    sweep_settings: Mapping[str, Any],
    config: settings.WandbConfig,
    pictures: Sequence[pathlib.Path] = (),
):
    """Log a finished sweep; disabled: does nothing.

    For each task and strategy, and for the mean, a curve over delay: as a metric, so that runs can be overlaid, and as a
    chart that holds all strategies. Then the whole table, and those of the ``pictures`` that exist (.gif: as a video).
    """
    if config.mode == "disabled":
        return
    wandb_folder = folder.resolve() / "wandb"
    wandb_folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # all it writes is here, whatever the home folder is like
        os.environ.setdefault(name, str(wandb_folder))
    import wandb

    try:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            group=config.group,
            job_type="sweep",
            tags=list(dict.fromkeys([*config.tags, *(row.strategy[:TAG] for row in rows)])),
            mode=config.mode,
            dir=str(folder.resolve()),  # a relative one would be taken from wherever the wandb service was started
            name=folder.name,
            config={name: value for name, value in sweep_settings.items() if name != "wandb"},
        )
    except wandb.errors.Error as error:
        raise errors.ConfigError(
            f"wandb.mode={config.mode} failed: {error}; the results are safe in {folder}; run `wandb login`, or the "
            f"same command with wandb.mode=offline"
        ) from error
    with run:
        run.define_metric("delay")
        run.define_metric("*", step_metric="delay")
        for delay, metrics in metrics_by_delay(rows).items():
            run.log({"delay": delay, **metrics})
        for title, curves in charts(rows).items():
            xs, ys = ([[point[i] for point in curve] for curve in curves.values()] for i in (0, 1))
            chart = wandb.plot.line_series(xs, ys, keys=list(curves), title=title, xname="delay")
            run.log({f"charts/{title}": chart})
        table = [[getattr(row, name) for name in results.COLUMNS] for row in rows]
        run.log({"results": wandb.Table(columns=list(results.COLUMNS), data=table)})
        for picture in filter(pathlib.Path.exists, pictures):
            kind = wandb.Video if picture.suffix == ".gif" else wandb.Image
            run.log({picture.stem: kind(str(picture))})
    files.write_whole(wandb_folder / LOGGED, b"")


def is_logged(folder: pathlib.Path) -> bool:
    """True if this run folder holds a whole wandb run already."""
    return (folder / "wandb" / LOGGED).exists()


def charts(rows: Sequence[results.Row]) -> dict[str, dict[str, success_curves.Curve]]:
    """For each diagram, the mean over tasks first, the strategies' curves."""
    panels = figures.rates_over_delay(rows).panels
    return {panel.title: {name: curve for name, curve in panel.curves.items() if curve} for panel in panels}


def metrics_by_delay(rows: Sequence[results.Row]) -> dict[int, dict[str, float]]:
    """For each delay "<task or mean>/<strategy>" -> solve rate."""
    metrics: dict[int, dict[str, float]] = {delay: {} for delay in sorted({row.delay for row in rows})}
    for title, curves in charts(rows).items():
        task = paired_comparison.MEAN_OVER_TASKS if title == figures.MEAN_TITLE else title
        for strategy, curve in curves.items():
            for delay, rate, *_ in curve:
                metrics[delay][f"{task}/{strategy}"] = rate
    return metrics
