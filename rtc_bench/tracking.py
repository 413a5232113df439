"""Weights & Biases, and nothing else, knows this module. Offline by default: no account, `wandb sync` later."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rtc_bench import config as configs
from rtc_bench import results, summary


def log(
    rows: Sequence[results.Row], folder: pathlib.Path, settings: Mapping[str, Any], wandb_config: configs.WandbConfig
):
    """Log a finished sweep: for each task and strategy a curve over delay, and the whole table. Disabled: does nothing."""
    if wandb_config.mode == "disabled":
        return
    own = folder.resolve() / "wandb"
    own.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in (
        "WANDB_DATA_DIR",
        "WANDB_CACHE_DIR",
    ):  # so that all it writes is here, whatever the home folder is like
        os.environ.setdefault(name, str(own))
    import wandb

    try:
        run = wandb.init(
            project=wandb_config.project,
            entity=wandb_config.entity,
            group=wandb_config.group,
            tags=list(wandb_config.tags),
            mode=wandb_config.mode,
            dir=str(folder.resolve()),  # a relative one would be taken from wherever the wandb service was started
            name=folder.name,
            config={name: value for name, value in settings.items() if name != "wandb"},
        )
    except wandb.errors.Error as error:
        raise configs.ConfigError(
            f"wandb.mode={wandb_config.mode} failed: {error}; the results are safe in {folder}; run `wandb login`, or the "
            f"same command with wandb.mode=offline"
        ) from error
    with run:
        run.define_metric("delay")
        run.define_metric("*", step_metric="delay")
        for delay, values in curves(rows).items():
            run.log({"delay": delay, **values})
        table = [[getattr(row, name) for name in results.COLUMNS] for row in rows]
        run.log({"results": wandb.Table(columns=list(results.COLUMNS), data=table)})
        picture = folder / "curves.png"
        if picture.exists():
            run.log({"curves": wandb.Image(str(picture))})


def logged(folder: pathlib.Path) -> bool:
    """True if this run folder holds a wandb run already."""
    return any((folder / "wandb").glob("*run-*"))


def curves(rows: Sequence[results.Row]) -> dict[int, dict[str, float]]:
    """For each delay the solve rates that the curves show: of each task and strategy, and the mean over tasks."""
    default = summary.default_rows(rows)
    points: dict[int, dict[str, float]] = {delay: {} for delay in sorted({row.delay for row in default})}
    for row in default:
        points[row.delay][f"{row.task}/{row.strategy}"] = row.solve_rate
    for strategy in dict.fromkeys(row.strategy for row in default):
        for delay, mean, *_ in summary.mean_curve(default, strategy):
            points[delay][f"mean/{strategy}"] = mean
    return points
