"""Fetching published policies from a server of the test's own: whole, cut, killed, changed, missing, and worse."""

import contextlib
import dataclasses
import errno
import http.server
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import jax
import numpy as np
import pytest

from rtc_bench import envs
from rtc_bench.common import errors
from rtc_bench.policies import checkpoint, flow
from rtc_bench.policies.published import download, fetching, settings

ROOT = Path(__file__).resolve().parents[2]
CONFIG = flow.FlowConfig(679, 6, horizon=8, layers=1, channels=4, channel_hidden=4, token_hidden=4)
TASKS = ("h17_unicycle", "catapult")
BIG = b"\x80" + bytes(range(256)) * 2000


def path(task, epoch=31):
    return f"/bc/{epoch}/policies/worlds_l_{task}.pkl"


def params(seed):
    return {**flow.init(jax.random.key(seed), CONFIG), "final_norm": {"bias": None, "scale": None}}


@dataclasses.dataclass
class Server:
    """What it serves, how it misbehaves, and what it was asked and sent."""

    files: dict = dataclasses.field(default_factory=dict)  # path -> bytes
    tag: str = '"1"'
    ranges: bool = True  # honours Range
    if_range: bool = True  # and If-Range
    statuses: list = dataclasses.field(default_factory=list)  # answered before anything else
    cuts: list = dataclasses.field(default_factory=list)  # bytes after which an answer breaks off
    hang: bool = False  # there, instead
    content_type: str = "application/octet-stream"
    redirects: dict = dataclasses.field(default_factory=dict)  # path -> where it went
    asked: list = dataclasses.field(default_factory=list)  # (path, Range)
    sent: int = 0  # bytes of bodies
    url: str = ""

    def answer(self, handler):
        """Serve one GET."""
        wanted = handler.headers.get("Range")
        self.asked.append((handler.path, wanted))
        status = self.statuses.pop(0) if self.statuses else None
        if handler.path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[handler.path])
            handler.end_headers()
            return
        if status or handler.path not in self.files:
            handler.send_error(status or 404)
            return
        body, start = self.files[handler.path], 0
        if wanted and self.ranges and (not self.if_range or handler.headers.get("If-Range") == self.tag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        handler.send_header("ETag", self.tag)
        handler.send_header("Content-Type", self.content_type)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        body = body[start : start + self.cuts.pop(0)] if self.cuts else body[start:]
        handler.wfile.write(body)
        self.sent += len(body)
        while self.hang:
            time.sleep(0.01)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(urllib.request, "_opener", None)  # which keeps the proxies of its first use
    monkeypatch.setenv("no_proxy", "*")
    served = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            served.answer(self)

        def log_message(self, *arguments):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    served.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.hang = False
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def policies(server):
    """A server with both policies of two tasks."""
    server.files = {path(task, epoch): pickle.dumps(params(epoch)) for task in TASKS for epoch in (31, 8)}
    return server


def config(server, out, **changes):
    return settings.FetchPublishedConfig(**{"task": TASKS, "source": server.url, "out": str(out), **changes})


def one(server, file, **options):
    """Fetch the big file."""
    server.files.setdefault("/big.pkl", BIG)
    options = {"timeout": 5.0, "retries": 2, "advance": lambda count, total: None, **options}
    download.fetch(f"{server.url}/big.pkl", file, **options)


def test_the_bucket_has_our_tasks():
    assert settings.TASKS == envs.TASKS
    (url,) = fetching._sources(settings.FetchPublishedConfig(early=None), "car_launch")
    assert url == "https://storage.googleapis.com/rtc-assets/bc/31/policies/worlds_l_car_launch.pkl"


def test_policies_come_with_their_weak_ones_and_only_once(policies, tmp_path, capsys):
    fetching.fetch(config(policies, tmp_path))
    assert "2 of 2 published policies are in" in capsys.readouterr().out
    assert len(policies.asked) == 4
    made = {}
    for task in TASKS:
        file = tmp_path / f"{task}.safetensors"
        policy, _ = checkpoint.load_flow(file, task=task, interface="kinetix", obs_size=679, action_size=6)
        for tree, epoch in ((policy.params, 31), (policy.weak, 8)):
            np.testing.assert_array_equal(tree["in_proj"]["kernel"], params(epoch)["in_proj"]["kernel"])
        made[file] = file.stat().st_mtime_ns
    shutil.rmtree(tmp_path / "downloads" / "bc" / "8")  # what is converted does not need its pickles
    policies.files.clear()
    fetching.fetch(config(policies, tmp_path))
    assert len(policies.asked) == 4
    assert made == {file: file.stat().st_mtime_ns for file in made}


def test_other_epochs_and_other_servers_are_fetched_anew(policies, tmp_path):
    policies.files = {path("catapult", epoch): pickle.dumps(params(epoch)) for epoch in (31, 20)}
    fetching.fetch(config(policies, tmp_path, task="catapult", early=None))
    with pytest.raises(fetching.Unfinished):
        fetching.fetch(config(policies, tmp_path, task="catapult"))
    assert not (tmp_path / "catapult.safetensors").exists(), "it has no weak policy, which is asked for now"
    fetching.fetch(config(policies, tmp_path, task="catapult", early=20))
    header = checkpoint.read_header(tmp_path / "catapult.safetensors")
    assert [url.removeprefix(policies.url) for url in header["sources"]] == [path("catapult", e) for e in (20, 31)]
    asked = len(policies.asked)
    fetching.fetch(config(policies, tmp_path, task="catapult", early=20, source=f"{policies.url}/"))
    assert len(policies.asked) == asked
    policies.files = {f"/mirror{name}": body for name, body in policies.files.items()}
    fetching.fetch(config(policies, tmp_path, task="catapult", early=20, source=f"{policies.url}/mirror"))
    assert len(policies.asked) == asked + 2


def test_what_is_put_there_by_hand_counts(policies, tmp_path):
    for name, body in policies.files.items():
        file = tmp_path / f"downloads{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    fetching.fetch(config(policies, tmp_path, source="http://127.0.0.1:9"))
    assert {file.stem for file in tmp_path.glob("*.safetensors")} == set(TASKS)


def test_a_killed_download_continues(server, tmp_path):
    server.cuts, server.hang = [300_000], True
    server.files["/big.pkl"] = BIG
    code = "import sys; from rtc_bench.policies.published import download; download.fetch(sys.argv[1], "
    code += "__import__('pathlib').Path(sys.argv[2]), timeout=30, retries=0, advance=lambda *_: None)"
    file, part = tmp_path / "big.pkl", tmp_path / "big.pkl.part"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/big.pkl", str(file)], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 4 * download.READ_BYTES) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.hang, before = False, part.stat().st_size
    assert not file.exists()
    server.sent = 0
    one(server, file)
    assert server.asked[-1] == ("/big.pkl", f"bytes={before}-")
    assert server.sent == len(BIG) - before < len(BIG) / 2
    assert file.read_bytes() == BIG
    assert not part.exists()


def test_a_whole_part_is_only_renamed(server, tmp_path):
    file = tmp_path / "big.pkl"
    one(server, file)
    file.rename(tmp_path / "big.pkl.part")
    one(server, file)
    assert file.read_bytes() == BIG
    assert len(server.asked) == 1


def test_a_connection_that_breaks_is_taken_up_again(server, tmp_path):
    server.cuts = [200_000, 1, 0, 100_000, 0]  # retries are counted anew where bytes came
    one(server, tmp_path / "big.pkl")
    assert (tmp_path / "big.pkl").read_bytes() == BIG
    assert [wanted is not None for _, wanted in server.asked] == [False] + [True] * 5
    assert server.sent == len(BIG)


def test_one_that_always_breaks_is_given_up(server, tmp_path):
    server.cuts = [200_000, *[0] * 9]
    with pytest.raises(download.Unreachable, match=r"ended after 200000 of 512001 bytes, tried 3 times"):
        one(server, tmp_path / "big.pkl")
    assert len(server.asked) == 3
    one(server, tmp_path / "big.pkl", retries=10)
    assert (tmp_path / "big.pkl").read_bytes() == BIG


@pytest.mark.parametrize("changes", [{"ranges": False}, {"if_range": True}, {"if_range": False}])
def test_a_changed_file_and_a_server_without_ranges_start_again(server, tmp_path, changes):
    server.cuts = [200_000]
    with pytest.raises(download.Unreachable):
        one(server, tmp_path / "big.pkl", retries=0)
    changed = b"\x80" + BIG[:0:-1]
    server.files["/big.pkl"], server.tag = changed, '"2"'
    vars(server).update(changes)
    one(server, tmp_path / "big.pkl")
    assert (tmp_path / "big.pkl").read_bytes() == changed


def test_nothing_is_continued_without_a_validator(server, tmp_path):
    server.cuts, server.tag = [200_000], 'W/"weak"'
    one(server, tmp_path / "big.pkl")
    assert [wanted for _, wanted in server.asked] == [None, None]
    assert (tmp_path / "big.pkl").read_bytes() == BIG


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    one(server, tmp_path / "big.pkl")
    assert (tmp_path / "big.pkl").read_bytes() == BIG
    server.statuses = [500] * 9
    with pytest.raises(download.Unreachable, match=r"HTTP 500 Internal Server Error, tried 3 times"):
        one(server, tmp_path / "other.pkl")
    assert list(tmp_path.glob("other*")) == []


def test_silence_is_a_timeout(server, tmp_path):
    server.cuts, server.hang = [100, 100], True
    with pytest.raises(download.Unreachable, match="timed out, tried 2 times"):
        one(server, tmp_path / "big.pkl", timeout=0.2, retries=1)


def test_redirects_are_followed_and_lead_somewhere(server, tmp_path):
    server.redirects, server.cuts = {"/big.pkl": "/moved.pkl", "/a": "/b", "/b": "/a"}, [200_000]
    server.files["/moved.pkl"] = BIG
    one(server, tmp_path / "big.pkl")
    assert (tmp_path / "big.pkl").read_bytes() == BIG
    assert server.asked[-1][1].startswith("bytes=")
    with pytest.raises(download.DownloadError, match=r"/a: HTTP 302 .*infinite loop"):
        download.fetch(f"{server.url}/a", tmp_path / "a", timeout=5, retries=0, advance=lambda *_: None)


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url)
    server.files["http://bucket.invalid/big.pkl"] = BIG
    url = "http://bucket.invalid/big.pkl"
    download.fetch(url, tmp_path / "big.pkl", timeout=5, retries=0, advance=lambda *_: None)
    assert (tmp_path / "big.pkl").read_bytes() == BIG


def test_a_disk_that_fills_up_loses_nothing(server, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(download.files, "write_whole", lambda file, data: file.write_bytes(data))
        with pytest.raises(OSError, match="No space left"):
            one(server, tmp_path / "big.pkl")
    one(server, tmp_path / "big.pkl")
    assert (tmp_path / "big.pkl").read_bytes() == BIG
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [404, 403])
def test_one_missing_policy_does_not_stop_the_others(policies, tmp_path, status):
    policies.statuses = [status]
    with pytest.raises(fetching.Unfinished) as caught:
        fetching.fetch(config(policies, tmp_path))
    text = str(caught.value)
    assert re.match(
        rf"missing: h17_unicycle \(HTTP {status} [\w ]+, {policies.url}{path('h17_unicycle')}\)\. Run", text
    )
    assert "early=null" not in text
    assert [file.stem for file in tmp_path.glob("*.safetensors")] == ["catapult"]
    fetching.fetch(config(policies, tmp_path))
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_login_page_is_no_pickle_and_leaves_nothing(policies, tmp_path):
    policies.files = dict.fromkeys(policies.files, b"<!doctype html><title>Welcome to Airport</title>")
    policies.content_type = "text/html; charset=utf-8"
    expected = r"missing: h17_unicycle, catapult \(not a pickle but text/html, b'<!doctype html>.*login page.*/bc/31"
    with pytest.raises(fetching.Unfinished, match=expected):
        fetching.fetch(config(policies, tmp_path))
    assert not [*tmp_path.rglob("*.pkl"), *tmp_path.rglob("*.part")]


class Calls:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_with_code_is_refused_by_name_and_does_not_run(policies, tmp_path):
    policies.files[path("catapult", 8)] = pickle.dumps({**params(8), "in_proj": Calls(f"touch {tmp_path}/ran")})
    with pytest.raises(
        fetching.Unfinished, match=rf"catapult \(.*8/.*asks for {os.system.__module__}.system; only arr"
    ):
        fetching.fetch(config(policies, tmp_path))
    assert not (tmp_path / "ran").exists()
    assert [file.stem for file in tmp_path.glob("*.safetensors")] == ["h17_unicycle"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://no-such-host.invalid", "its host's name is not known here"),
        ("https", "SSL"),
    ],
)
def test_what_cannot_be_reached_is_one_line_at_once(policies, tmp_path, source, reason):
    source = policies.url.replace("http:", "https:") if source == "https" else source
    with pytest.raises(fetching.Unfinished) as caught:
        fetching.fetch(config(policies, tmp_path, source=source))
    text = str(caught.value)
    assert re.match(rf"cannot reach {source}{path('h17_unicycle')} \(.*{reason}.*\); check the network", text)
    assert "\n" not in text
    assert "give source= of a mirror" in text
    assert list(tmp_path.iterdir()) == []


def test_after_one_that_cannot_be_reached_the_rest_is_not_tried(policies, tmp_path):
    policies.statuses = [503] * 100
    with pytest.raises(fetching.Unfinished, match="cannot reach"):
        fetching.fetch(config(policies, tmp_path, retries=1))
    assert len(policies.asked) == 2


def test_a_full_disk_is_told_before_anything_is_written(policies, tmp_path, monkeypatch):
    size = len(policies.files[path("catapult")])
    for free, message in ((8 * size, None), (8 * size - 1, "No space left on device: 0 MB are needed")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(free, 0, free))
        out = tmp_path / str(free)
        with pytest.raises(OSError, match=message) if message else contextlib.nullcontext():
            fetching.fetch(config(policies, out))
        assert bool(list(out.rglob("*.pkl*"))) is not bool(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "gs://rtc-assets"}, "is no http"),
        ({"source": "https://"}, "is no http"),
        ({"source": "http://host:port/x"}, "is no http"),
        ({"source": "https://host/a b"}, "is no http"),
        ({"task": "walker"}, "did you mean 'mjc_walker'"),
        ({"task": ()}, "is empty"),
        ({"early": 31}, "early=31 is not before epoch=31"),
        ({"timeout": 0.0}, "timeout=0.0 is out of range"),
    ],
)
def test_settings_that_cannot_be_meant(changes, message):
    with pytest.raises(errors.ConfigError, match=message):
        settings.FetchPublishedConfig(**changes)
