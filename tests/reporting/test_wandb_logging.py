"""wandb without an account, and not at all."""

import json
import shutil
import struct
import subprocess
import sys

import example_runs
import pytest
import wandb
from PIL import Image

from rtc_bench.common import errors
from rtc_bench.evaluation import results, settings
from rtc_bench.reporting import wandb_logging


def test_offline_needs_no_account_and_stays_in_the_run_folder(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").touch()  # nothing can be written below it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    Image.new("RGB", (8, 8)).save(tmp_path / "film.gif")
    pictures = (tmp_path / "film.gif", tmp_path / "gone.png")
    config = settings.WandbConfig(group="night", tags=("laptop",))
    with monkeypatch.context() as patched:
        patched.setattr(wandb_logging, "charts", lambda rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            wandb_logging.log(example_runs.ROWS, folder, {"seed": 7}, config, pictures)
    assert not wandb_logging.is_logged(folder)  # so that the same command logs it again
    shutil.rmtree(folder / "wandb")
    wandb_logging.log(example_runs.ROWS, folder, {"seed": 7}, config, pictures)
    assert wandb_logging.is_logged(folder)
    wandb.teardown()  # its service may still be writing; a script's end waits for it
    (offline,) = (folder / "wandb").glob("offline-run-*")
    assert not (tmp_path / "wandb").exists()
    started, steps, config = recorded(next(offline.glob("*.wandb")))
    assert wandb_logging.is_whole(next(offline.glob("*.wandb")))
    # Artifacts would hold absolute paths: then a run folder that was moved would not sync.
    assert not any(record.HasField("artifact") for record in records(next(offline.glob("*.wandb"))))
    assert not (folder / "wandb" / "artifacts").exists()
    assert (started.run_group, list(started.tags), started.job_type) == ("night", ["laptop", "naive", "rtc"], "sweep")
    assert config["seed"] == 7
    # A native chart of every curve: wandb draws it over "delay", and lays runs with the same names over each other.
    curve = {step["delay"]: step["mean/rtc"] for step in steps if "mean/rtc" in step}
    assert curve == pytest.approx({0: 0.9, 2: 0.7, 4: 0.5})
    # Charts of all strategies, a table, and a video among the files that `wandb sync` uploads.
    media = {path.name.partition("_")[0]: path for path in offline.rglob("media/**/*.*")}
    assert {"film", "results"} <= media.keys()
    logged = {name.partition("_table/")[0] for step in steps for name in step if "_table/" in name}
    assert logged == {"charts/mean over tasks", "charts/a", "charts/b"}
    table = json.loads(media["results"].read_text())
    assert table["columns"] == list(results.COLUMNS)
    assert len(table["data"]) == len(example_runs.ROWS)


def records(path):
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format with blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, offset, whole = path.read_bytes(), 7, b""
    while offset + 7 <= len(data):
        if 32768 - offset % 32768 < 7:  # no room for a part's head: padding
            offset += 32768 - offset % 32768
            continue
        size, kind = struct.unpack_from("<HB", data, offset + 4)
        whole, offset = whole + data[offset + 7 : offset + 7 + size], offset + 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def recorded(path):
    """The run, its history and its configuration, from the file of an offline run."""
    started, steps, config = None, [], {}
    for record in records(path):
        if record.HasField("run"):
            started = record.run
        for update in (record.run.config.update, record.config.update):
            config |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in update}
        if record.HasField("history"):
            items = record.history.item
            steps.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
    return started, steps, config


def test_the_curves_have_delay_as_their_axis():
    points = wandb_logging.metrics_by_delay(example_runs.ROWS)
    assert list(points) == [0, 2, 4]
    assert points[0]["a/rtc"] == 0.9
    assert abs(points[2]["mean/naive"] - 0.5) < 1e-9


def test_a_sweep_of_another_horizon_has_curves_too():
    rows = [example_runs.row("a", "rtc", delay, horizon=4, rate=0.5) for delay in (0, 1)]
    assert wandb_logging.metrics_by_delay(rows) == {delay: {"a/rtc": 0.5} for delay in (0, 1)}


def test_disabled_does_not_import_wandb(tmp_path):
    code = (
        "import sys, pathlib; from rtc_bench.evaluation import settings; from rtc_bench.reporting import wandb_logging;"
        f"wandb_logging.log([], pathlib.Path({str(tmp_path)!r}), {{}}, settings.WandbConfig(mode='disabled'));"
        "assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_whole_is_not_marked(tmp_path, monkeypatch):
    """As a disk leaves it that filled while wandb was writing."""
    whole = wandb_logging.is_whole
    monkeypatch.setattr(
        wandb_logging, "is_whole", lambda path: path.write_bytes(path.read_bytes()[:-20]) and whole(path)
    )
    with pytest.raises(errors.ConfigError, match=r"could not write its run whole.*run the same command again"):
        wandb_logging.log(example_runs.ROWS, tmp_path, {}, settings.WandbConfig())
    assert not wandb_logging.is_logged(tmp_path)
    (cut,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert not whole(cut)
    assert not whole(tmp_path / "gone.wandb")
