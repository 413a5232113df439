"""scripts/serve.py and scripts/sweep.py together, as a user runs them; and one with the server killed half way."""

import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from rtc_bench.evaluation import run_folder

ROOT = pathlib.Path(__file__).resolve().parents[3]
TASK = "h17_unicycle"


def command(script, *arguments):
    return [sys.executable, str(ROOT / "scripts" / f"{script}.py"), f"task={TASK}", *arguments]


class Server:
    """scripts/serve.py in a process of its own, once it listens."""

    def __init__(self, folder, *arguments):
        self.process = subprocess.Popen(
            command("serve", *arguments), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if "ctrl-C" in line:
                break
        (self.url,) = re.findall(r"^(ws://\S+)$", "".join(self.lines), re.MULTILINE)

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest


def sweep(folder, *arguments):
    cells = ["delay=[1,2,3]", "episodes=8", "wandb.mode=disabled"]
    return subprocess.run(
        command("sweep", *cells, *arguments), cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )


def solved(folder, name):
    """Strategy, delay -> whether each episode was solved, and how long it took."""
    cells = run_folder.load([folder]).episodes
    return {
        (d, s): (own["solved"].tolist(), own["length"].tolist()) for (_, n, d, s), own in cells.items() if n == name
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    done = sweep(folder, "strategy=[naive,rtc]", "out=local")
    assert done.returncode == 0, done.stderr
    return folder / "local"


def test_served_rtc_plays_as_local_rtc_also_when_its_server_dies_half_way(tmp_path, local):
    server = Server(tmp_path, "strategy=rtc", "port=0")
    port = server.url.rpartition(":")[2]
    arguments = [f"policy={server.url}", "strategy=[naive,served]", "out=served"]
    cells = ["delay=[1,2,3]", "episodes=8", "wandb.mode=disabled"]
    table = tmp_path / "served" / "results.csv"
    player = subprocess.Popen(
        command("sweep", *cells, *arguments), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not table.exists() and player.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    server.stop(signal.SIGKILL)
    _, err = player.communicate(timeout=300)
    rows = table.read_text().splitlines()[1:]
    assert player.returncode == 2, err
    assert re.search(r"^error: ws://\S+ closed the connection .*run the same command again", err, re.MULTILINE), err
    assert "Traceback" not in err
    assert 1 <= len(rows) < 6

    other = Server(tmp_path, "strategy=naive", f"port={port}")
    done = sweep(tmp_path, *arguments)
    assert "holds a run with policy h17_unicycle=" in done.stderr  # what is served has changed
    assert other.stop()[0] == 0

    server = Server(tmp_path, "strategy=rtc", f"port={port}")
    done = sweep(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"6 cells, {len(rows)} of them done before" in done.stdout
    assert solved(tmp_path / "served", "naive") == solved(local, "naive")
    assert solved(tmp_path / "served", "served") == solved(local, "rtc")
    assert solved(local, "naive") != solved(local, "rtc")

    done = sweep(tmp_path, f"policy={server.url}", "strategy=[naive,rtc]", "out=never")
    assert done.returncode == 2
    assert f"rtc needs a velocity, and policy={server.url} gives chunks alone; these need none: naive, " in done.stderr
    assert ", served, " in done.stderr
    status, rest = server.stop(signal.SIGTERM)
    assert (status, rest) == (0, "stopped\n")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["strategy=temporal_ensembling"],
            "temporal_ensembling cannot be served: it keeps memory between chunks; serve one",
        ),
        (["strategy=rtcc"], "unknown strategy 'rtcc' (did you mean 'rtc'?)"),
        (["port=99999"], "port=99999 is out of range"),
        (["policy=ws://127.0.0.1:1"], "policy=ws://127.0.0.1:1 is a server already; give a policy"),
        (["strategy=served"], "served hands the old chunk to a policy server, and this policy is none"),
    ],
)
def test_what_a_wrong_server_answers(tmp_path, arguments, answer):
    done = subprocess.run(command("serve", *arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert answer in done.stderr


def test_no_server_there(tmp_path):
    done = sweep(tmp_path, "policy=ws://127.0.0.1:1")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert done.stderr.startswith("error: no policy server at ws://127.0.0.1:1 (Connection refused)")
