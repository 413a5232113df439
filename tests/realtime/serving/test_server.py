"""The server: whoever sends rubbish is told so, others are served meanwhile, and openpi's own client is understood."""

import concurrent.futures
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import websockets.sync.client

from rtc_bench.common import errors
from rtc_bench.realtime.serving import model, server, wire

METADATA = {"task": "mjc_swimmer", "horizon": 2, "batched": True}


def answer(request):
    if "state" not in request:
        raise model.BadRequest("no state")
    if request["state"] is None:
        return 1 / 0
    time.sleep(request.get("seconds", 0))
    return np.full((2, 1), request["state"], np.float32)


@pytest.fixture
def url():
    with server.listening(answer, METADATA) as (url, _):
        yield url


class Client:
    def __init__(self, url):
        self.connection = websockets.sync.client.connect(url, compression=None, max_size=None).__enter__()
        assert wire.unpack(self.connection.recv(timeout=10)) == METADATA

    def ask(self, request):
        self.connection.send(request if isinstance(request, bytes | str) else wire.pack(request))
        reply = self.connection.recv(timeout=10)
        return reply if isinstance(reply, str) else float(wire.unpack(reply)["actions"][0, 0])


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\xc1rubbish", "bad request: not a message packed by msgpack"),
        ("hello", "bad request: a text; a request is a map"),
        ({}, "bad request: no state"),
        ({"state": None}, "the policy failed: ZeroDivisionError: division by zero"),
    ],
)
def test_rubbish_is_told_and_the_conversation_goes_on(url, capsys, request_, reply):
    client = Client(url)
    assert client.ask({"state": 1}) == 1
    assert client.ask(request_).startswith(reply)
    assert client.ask({"state": 2}) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_message_beyond_the_limit_ends_its_connection_alone(url):
    client, greedy = Client(url), Client(url)
    greedy.connection.send(b"\0" * (wire.LARGEST_MESSAGE + 1))
    with pytest.raises(websockets.ConnectionClosed):
        greedy.connection.recv(timeout=10)
    assert client.ask({"state": 3}) == 3


def test_strangers_do_no_harm(url, capfd, caplog):
    """Bytes that are no websocket's, one who connects and says nothing, one who leaves in the middle."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    silent = socket.create_connection(address)
    for data in (b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(address) as stranger:
            stranger.sendall(data)
    leaving = Client(url)
    leaving.connection.send(wire.pack({"state": 1, "seconds": 0.2}))
    leaving.connection.socket.close()
    assert Client(url).ask({"state": 4}) == 4
    silent.close()
    time.sleep(0.3)
    assert "Traceback" not in capfd.readouterr().err
    assert not caplog.records


def test_one_client_too_many_is_told_so(url, monkeypatch):
    clients = [Client(url) for _ in range(server.MOST_CLIENTS)]
    with (
        websockets.sync.client.connect(url, compression=None) as refused,
        pytest.raises(websockets.ConnectionClosed) as closed,
    ):
        refused.recv(timeout=10)
    assert closed.value.rcvd.reason == "32 clients are connected, and no more are served"
    assert clients[-1].ask({"state": 5}) == 5
    clients[0].connection.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert Client(url).ask({"state": 6}) == 6
            return
        except websockets.ConnectionClosed:
            time.sleep(0.01)
    raise AssertionError("a seat that was left is not given again")


def test_who_never_speaks_does_not_hold_a_server_that_stops():
    with server.listening(answer, METADATA) as (url, _):
        silent = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        assert Client(url).ask({"state": 1}) == 1  # so the silent one was accepted before
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    silent.close()


def test_two_clients_at_once_get_their_own_answers(url):
    def converse(number):
        client = Client(url)
        return [client.ask({"state": number + 0.5 * k, "seconds": 0.001}) for k in range(50)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(converse, (100, 200)))
    assert answers == [[number + 0.5 * k for k in range(50)] for number in (100, 200)]


def test_a_port_that_is_taken(url):
    with pytest.raises(errors.ConfigError, match=r"cannot listen at 127.0.0.1:\d+ \(.*in use\); give another port="):
        server.listening(answer, METADATA, port=int(url.rpartition(":")[2])).__enter__()


def test_an_address_that_is_not_ours():
    with pytest.raises(errors.ConfigError, match=r"cannot listen at 192\.0\.2\.1:0"):
        server.listening(answer, METADATA, host="192.0.2.1").__enter__()


OPENPI = "openpi-client==0.1.2"


@pytest.fixture(scope="module")
def openpi_client(tmp_path_factory):
    """The real client, in a folder of its own: it asks for an older NumPy, so it cannot stand among our packages."""
    folder = tmp_path_factory.mktemp("openpi")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), OPENPI]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"{OPENPI} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    sys.path.insert(0, str(folder))
    try:
        yield pytest.importorskip("openpi_client.websocket_client_policy")
    finally:
        sys.path.remove(str(folder))


def test_openpi_s_own_client(url, openpi_client):
    client = openpi_client.WebsocketClientPolicy("127.0.0.1", int(url.rpartition(":")[2]))
    assert client.get_server_metadata() == METADATA
    actions = client.infer({"state": np.float32(5), "image": np.zeros((4, 4, 3), np.uint8), "prompt": "go"})["actions"]
    np.testing.assert_array_equal(actions, np.full((2, 1), 5, np.float32))
    with pytest.raises(RuntimeError, match="bad request: no state"):
        client.infer({})
