"""wandb without an account, and not at all."""

import subprocess
import sys

import test_report

from rtc_bench import config as configs
from rtc_bench import tracking


def test_offline_needs_no_account_and_stays_in_the_run_folder(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").touch()  # nothing can be written below it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    tracking.log(test_report.ROWS, folder, {"seed": 0}, configs.WandbConfig())
    (offline,) = (folder / "wandb").glob("offline-run-*")
    assert list(offline.glob("*.wandb"))
    assert not (tmp_path / "wandb").exists()


def test_the_curves_have_delay_as_their_axis():
    points = tracking.curves(test_report.ROWS)
    assert list(points) == [0, 2, 4]
    assert points[0]["a/rtc"] == 0.9
    assert abs(points[2]["mean/naive"] - 0.5) < 1e-9


def test_a_sweep_of_another_horizon_has_curves_too():
    rows = [test_report.row("a", "rtc", delay, horizon=4, rate=0.5) for delay in (0, 1)]
    assert tracking.curves(rows) == {delay: {"a/rtc": 0.5, "mean/rtc": 0.5} for delay in (0, 1)}


def test_disabled_does_not_import_wandb(tmp_path):
    code = (
        "import sys, pathlib; from rtc_bench import tracking, config;"
        f"tracking.log([], pathlib.Path({str(tmp_path)!r}), {{}}, config.WandbConfig(mode='disabled'));"
        "assert 'wandb' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(tmp_path.iterdir())
