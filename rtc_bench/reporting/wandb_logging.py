"""Logging to Weights & Biases; nothing else imports wandb. Offline by default: no account, `wandb sync` later."""

import os
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import errors, files
from rtc_bench.evaluation import results, settings
from rtc_bench.reporting import figures

TAG = 64  # characters, wandb's limit
LOG_HEAD, LOG_BLOCK = 7, 32 * 1024  # bytes
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
    os.environ["WANDB_MODE"] = config.mode  # wandb would check another one, too
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
            _keep_as_file(chart.table)
            run.log({f"charts/{title}": chart})
        table = [[getattr(row, name) for name in results.COLUMNS] for row in rows]
        run.log({"results": _keep_as_file(wandb.Table(columns=list(results.COLUMNS), data=table))})
        for picture in filter(pathlib.Path.exists, pictures):
            kind = wandb.Video if picture.suffix == ".gif" else wandb.Image
            run.log({picture.stem: kind(str(picture))})
    wandb.teardown()  # waits for the service, which writes
    if config.mode == "offline" and not is_whole(pathlib.Path(run.settings.sync_file)):
        raise errors.ConfigError(
            f"wandb could not write its run whole in {wandb_folder}, is the disk full? The results are safe in {folder}; "
            "free some space and run the same command again"
        )
    files.write_whole(wandb_folder / LOGGED, b"")


def _keep_as_file(table: Any) -> Any:
    """Log a table as a file of the run alone; as an artifact it would hold absolute paths, and a moved run not sync."""
    table._log_type = "table-file"
    return table


def is_whole(path: pathlib.Path) -> bool:
    """True if a .wandb file ends with the record that ends a run.

    It is a header of 7 bytes, then LevelDB's log format: blocks of 32 KiB with parts of records, each after a head of 7 bytes.
    """
    from google.protobuf import message
    from wandb.proto import wandb_internal_pb2 as records

    data = path.read_bytes() if path.is_file() else b""
    offset, record, last = LOG_HEAD, b"", b""
    while offset + LOG_HEAD <= len(data):
        left = LOG_BLOCK - offset % LOG_BLOCK
        if left < LOG_HEAD:  # padding
            offset += left
            continue
        size, kind = struct.unpack_from("<HB", data, offset + 4)
        record, offset = record + data[offset + LOG_HEAD : offset + LOG_HEAD + size], offset + LOG_HEAD + size
        if kind in (1, 4):  # a whole record, or the last part of one
            last, record = record, b""
    try:
        return offset == len(data) and records.Record.FromString(last).HasField("exit")  # type: ignore[attr-defined]
    except message.DecodeError:
        return False


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
