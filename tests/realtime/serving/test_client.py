"""A policy behind a websocket: its chunks, inside compiled programs of two devices, and what a user reads when it fails."""

import contextlib
import socket
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import websockets.sync.server

from rtc_bench.common import devices
from rtc_bench.policies import foreign
from rtc_bench.realtime.serving import client, model, server, wire
from rtc_bench.strategies import registry

OBS, A, H = 3, 2, 8
METADATA = {"task": "mjc_swimmer", "horizon": H, "obs_size": OBS, "action_size": A, "batched": True}


def answer(request):
    """A plain chunk is the noise plus the first observed number; one with a previous chunk is that, d and s added."""
    chunk = request["noise"] + request["observation.state"][..., :1, None]
    if "previous" in request:
        chunk = request["previous"] + 10 * request["delay"] + 100 * request["horizon"]
    return chunk


def arrays(*batch, obs_size=OBS):
    rng = np.random.default_rng(0)
    shapes = ((obs_size,), (H, A), (H, A))
    return tuple(jnp.asarray(rng.standard_normal((*batch, *shape), np.float32)) for shape in shapes)


@pytest.mark.parametrize("batched", [True, False])
def test_its_chunks_are_the_server_s(batched):
    shapes = []

    def noting(request):
        shapes.append(request["observation.state"].shape)
        return answer(request)

    with server.listening(noting, {**METADATA, "batched": batched}) as (url, _):
        policy = foreign.adapt(client.connect(url), obs_size=OBS, action_size=A)
        obs, noise, previous = arrays(4)
        plain = jax.jit(policy.sample, static_argnums=2)(obs, noise, 5)
        np.testing.assert_allclose(plain, noise + obs[:, :1, None], atol=1e-6)
        continued = jax.jit(policy.continued)(obs, noise, previous, jnp.int32(2), jnp.int32(3))
        np.testing.assert_allclose(continued, previous + 320, atol=1e-4)
    assert shapes[-1] == ((4, OBS) if batched else (OBS,))


@pytest.mark.parametrize("obs_size", [OBS, 679])  # the latter's arguments are what a callback's copies can wait for
def test_two_devices_ask_within_loops_and_nobody_waits_for_ever(obs_size):
    per_device, steps = 64, 20

    def play(policy, obs, noise):
        def step(_, obs):
            return obs + policy.sample(obs, noise, 5)[:, :1, 0]

        return jax.lax.fori_loop(0, steps, step, obs)

    with server.listening(answer, {**METADATA, "obs_size": obs_size}) as (url, _):
        policy = foreign.adapt(client.connect(url), obs_size=obs_size, action_size=A)
        run = devices.ShardedFunction(play, shared=1)
        obs, noise, _ = arrays(jax.device_count(), per_device, obs_size=obs_size)
        done = []
        thread = threading.Thread(target=lambda: done.append(np.asarray(run(policy, obs, noise))), daemon=True)
        thread.start()
        thread.join(120)
        assert done, "it waits"
    expected = np.asarray(obs)
    for _ in range(steps):
        expected = expected + (np.asarray(noise)[..., :1, 0] + expected[..., :1])
    np.testing.assert_allclose(done[0], expected, rtol=1e-4)


def test_served_needs_a_server():
    with server.listening(answer, METADATA) as (url, _):
        registry.build("served").check(foreign.adapt(client.connect(url), obs_size=OBS, action_size=A))


@contextlib.contextmanager
def foul(converse):
    """A server that does to a connection what a test says."""

    def handle(connection):
        with contextlib.suppress(websockets.ConnectionClosed):
            converse(connection)

    with websockets.sync.server.serve(handle, "127.0.0.1", 0, compression=None) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield "ws://{}:{}".format(*listening.socket.getsockname())


def replying(reply, metadata=METADATA):
    def converse(connection):
        connection.send(wire.pack(metadata))
        for _ in connection:
            connection.send(reply)

    return converse


def told(url, obs_size=OBS, action_size=A):
    """What a user reads."""
    with pytest.raises(client.ServerError) as raised:
        foreign.adapt(client.connect(url), obs_size=obs_size, action_size=action_size)
    message = str(raised.value)
    assert url in message
    assert len(message.splitlines()) == 1
    return message


ACTIONS = np.zeros((foreign.BATCH, H, A), np.float32)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"\xc1rubbish", "not a message packed by msgpack with NumPy arrays as openpi packs them"),
        ("no such\nmodel", "answered: no such model"),
        (wire.pack({}), "answered without 'actions', an array of numbers"),
        (wire.pack({"actions": "left"}), "answered without 'actions'"),
        (wire.pack({"actions": ACTIONS[0]}), "actions of shape [8, 2], not [3, 8, 2]"),
        (wire.pack({"actions": ACTIONS * np.nan}), "answered with actions that are inf or nan"),
    ],
)
def test_a_server_that_talks_nonsense(reply, words):
    with foul(replying(reply)) as url:
        assert words in told(url)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "its metadata says horizon None (it has: nothing); a server must send"),
        ({"horizon": "long"}, "its metadata says horizon 'long'"),
        ({**METADATA, "obs_size": 5}, "its obs_size is 5, the task's is 3; serve a policy that was made for this task"),
        ({**METADATA, "action_size": 1}, "its action_size is 1, the task's is 2"),
    ],
)
def test_a_server_for_something_else(metadata, words):
    with foul(replying(wire.pack({"actions": ACTIONS}), metadata)) as url:
        assert words in told(url)


def test_a_server_that_dies():
    def converse(connection):
        connection.send(wire.pack(METADATA))
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)

    with foul(converse) as url:
        assert "closed the connection" in told(url)


def test_a_slow_server(monkeypatch):
    monkeypatch.setenv("RTC_BENCH_REQUEST_SECONDS", "0.2")

    def converse(connection):
        connection.send(wire.pack(METADATA))
        connection.recv()
        time.sleep(1)

    with foul(converse) as url:
        message = told(url)
    assert "did not answer within 0.2 s" in message
    assert "RTC_BENCH_REQUEST_SECONDS=2" in message


def test_no_server():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert "Connection refused" in told(f"ws://127.0.0.1:{port}")
    assert "write ws://host:port" in told("ws://")


def test_another_kind_of_server():
    """One that answers a websocket's greeting with something else."""

    def greet():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=greet, daemon=True).start()
        assert "is no policy server (" in told(f"ws://127.0.0.1:{listener.getsockname()[1]}")


def test_after_a_failure_nothing_is_asked_any_more():
    asked = []

    def failing(request):
        asked.append(1)
        if len(asked) > 1:  # the first is the trial
            raise model.BadRequest("enough")
        return answer(request)

    with server.listening(failing, METADATA) as (url, _):
        policy = foreign.adapt(client.connect(url), obs_size=OBS, action_size=A)
        obs, noise, _ = arrays(4)
        for _ in range(3):
            with pytest.raises(client.ServerError, match="answered: bad request: enough"):
                foreign.calling(policy, lambda: jax.jit(policy.sample, static_argnums=2)(obs, noise, 5))
            jax.clear_caches()
        assert len(asked) == 2


def test_another_policy_behind_the_same_address_is_another_policy():
    def digest(**changes):
        with server.listening(answer, {**METADATA, **changes}) as (url, _):
            return client.connect(url).digest

    assert digest() == digest() != digest(policy="another")


@pytest.mark.parametrize("seconds", ["soon", "0", "inf"])
def test_a_time_that_is_none(monkeypatch, seconds):
    monkeypatch.setenv("RTC_BENCH_REQUEST_SECONDS", seconds)
    with pytest.raises(ValueError, match=f"RTC_BENCH_REQUEST_SECONDS is '{seconds}'; set a number of seconds above 0"):
        client.request_seconds()


def test_one_connection_for_one_address_until_it_ends():
    greeted = []

    def converse(connection):
        greeted.append(connection)
        connection.send(wire.pack(METADATA))
        for _ in connection:
            connection.send(wire.pack({"actions": ACTIONS}))

    with foul(converse) as url:
        first = client.connect(url).policy
        assert client.connect(url).policy is first
        assert len(greeted) == 1
        first.close()
        again = client.connect(url).policy
        assert again is not first
        assert again.works
        assert len(greeted) == 2


def test_connections_are_closed_at_exit():
    ended = threading.Event()

    def converse(connection):
        connection.send(wire.pack(METADATA))
        try:
            connection.recv()
        except websockets.ConnectionClosedOK:  # said goodbye
            ended.set()

    with foul(converse) as url:
        code = f"from rtc_bench.realtime.serving import client; client.connect({url!r})"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
        assert ended.wait(10)


@pytest.mark.parametrize("batched", [True, False])
def test_delay_and_horizon_of_each_episode(batched):
    told = []

    def noting(request):
        if "previous" in request:  # unlike the trial
            episodes = len(np.atleast_2d(request["observation.state"]))
            told.append((request["delay"], request["horizon"], episodes))
        return answer(request)

    with server.listening(noting, {**METADATA, "batched": batched}) as (url, _):
        policy = foreign.adapt(client.connect(url), obs_size=OBS, action_size=A)
        obs, noise, previous = arrays(5)
        delay, horizon = jnp.array([2, 0, 2, 8, 2]), jnp.array([3, 1, 3, 11, 4])

        def one(obs, noise, previous, delay, horizon):
            return policy.continued(obs[None], noise[None], previous[None], delay, horizon)[0]

        continued = jax.jit(jax.vmap(one))(obs, noise, previous, delay, horizon)
        added = 10 * np.asarray(delay) + 100 * np.minimum(horizon, H)
        np.testing.assert_allclose(continued, np.asarray(previous) + added[:, None, None], atol=1e-3)
    if batched:
        assert sorted(told) == [(0, 1, 1), (2, 3, 2), (2, 4, 1), (8, 8, 1)]
    else:
        assert sorted(told) == [(0, 1, 1), (2, 3, 1), (2, 3, 1), (2, 4, 1), (8, 8, 1)]
