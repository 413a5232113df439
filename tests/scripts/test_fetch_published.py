"""`make published` as a user runs it: fetched from a server here, played, and set beside the published table."""

import contextlib
import functools
import http.server
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import threading

import jax
import pytest

from rtc_bench.policies import flow

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASK = "h17_unicycle"
SIZES = flow.FlowConfig(679, 6, horizon=8, layers=1, channels=4, channel_hidden=4, token_hidden=4)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(folder):
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def make(tmp_path):
    """make published with the checkout's scripts, in a folder of the test's own; its exit status and both outputs."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "results" / "published").mkdir(parents=True)
    shutil.copy(ROOT / "results" / "published" / "solve_rates.csv", tmp_path / "results" / "published")

    def run(**variables):
        arguments = [f"{name}={value}" for name, value in variables.items()]
        environment = {**os.environ, "RTC_BENCH_DEVICES": "1", "no_proxy": "*"}
        command = ["make", "published", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_published_policies_are_fetched_played_and_compared(make, tmp_path):
    for epoch in (31, 8):
        file = tmp_path / "bucket" / "bc" / str(epoch) / "policies" / f"worlds_l_{TASK}.pkl"
        file.parent.mkdir(parents=True)
        file.write_bytes(pickle.dumps(flow.init(jax.random.key(epoch), SIZES)))
    sweep = "strategy=naive delay=[0,1] episodes=4 wandb.mode=disabled"
    with serving(tmp_path / "bucket") as url:
        status, out, err = make(TASK=f"[{TASK},catapult]", FETCH=f"source={url}", ARGS=sweep)
    assert status == 0, err
    assert "1 of 2 published policies are in runs/published, 1 of them new" in out
    assert "error: missing: catapult (HTTP 404 File not found" in err
    folder = tmp_path / "results" / "published_policies"
    cells = (folder / "beside_published" / "cells.csv").read_text().splitlines()
    assert [line.split(",")[:5] for line in cells[1:]] == [
        [TASK, "naive", "0", "1", "4"],
        [TASK, "naive", "1", "1", "4"],
    ]
    assert (folder / "beside_published" / "curves.png").exists()


def test_without_a_network_there_is_one_line_and_nothing_is_played(make, tmp_path):
    status, out, err = make(FETCH="source=http://127.0.0.1:9")
    assert status == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith(
        "error: cannot reach http://127.0.0.1:9/bc/31/policies/worlds_l_grasp_easy.pkl (Connection ref"
    )
    assert "Traceback" not in err
    assert "sweep.py" not in out
    assert not (tmp_path / "results" / "published_policies").exists()
