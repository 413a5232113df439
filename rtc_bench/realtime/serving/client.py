"""A policy behind a websocket, as a policy made elsewhere: its chunks are asked for from within the compiled program.

Whoever asks waits no longer than a request may take; nothing here waits for a device.
"""

import atexit
import contextlib
import hashlib
import math
import os
import threading
from typing import Any

import numpy as np
from jax import Array

from rtc_bench.common import errors
from rtc_bench.policies import foreign, host_callback
from rtc_bench.realtime.serving import wire

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0  # that a server has to say goodbye
REQUEST_SECONDS = 60.0  # a server may compile at the first request; RTC_BENCH_REQUEST_SECONDS sets another
AGAIN = "then run the same command again: finished cells are kept"


class ServerError(errors.ConfigError):
    """A policy server that cannot be reached, or whose answer cannot be used."""


def is_url(policy: str) -> bool:
    """It names a server."""
    return policy.startswith(("ws://", "wss://"))


def request_seconds() -> float:
    """How long a request may take. Raises ConfigError."""
    text = os.environ.get("RTC_BENCH_REQUEST_SECONDS") or str(REQUEST_SECONDS)
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise errors.ConfigError(f"RTC_BENCH_REQUEST_SECONDS is {text!r}; set a number of seconds above 0")


_policies: dict[str, "ServedPolicy"] = {}  # of this process, by address
_connecting = threading.Lock()


class ServedPolicy:
    """The object that ``policies.foreign`` asks for; ``continued`` sends the old chunk along."""

    def __init__(self, url: str):
        """Connect. Raises ServerError."""
        self.url, self.seconds = url, request_seconds()
        self._failure: ServerError | None = None
        self._lock = threading.Lock()  # devices ask at the same time, over one connection
        with contextlib.ExitStack() as stack:
            self._connection = _open(url, stack)
            self._greet()
            self._stack = stack.pop_all()

    def __reduce__(self):
        return _connected, (self.url,)  # another process has a connection of its own

    def _greet(self) -> None:
        self.raw_metadata = self._receive(CONNECT_SECONDS)
        self.metadata = self._unpacked(self.raw_metadata)
        self.horizon = self.metadata.get("horizon")
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1:
            raise ServerError(
                f"{self.url}: its metadata says horizon {self.horizon!r} "
                f"(it has: {', '.join(map(str, self.metadata)) or 'nothing'}); "
                'a server must send {"horizon": H, ...}, the length of its chunks, when a client connects'
            )
        self.batched = self.metadata.get("batched") is True

    @property
    def works(self) -> bool:
        """It can still be asked."""
        return self._failure is None and self._connection.protocol.state.name == "OPEN"

    def close(self) -> None:
        """End the connection."""
        self._stack.close()

    def chunk(self, params: Any, obs: Array, noise: Array) -> Array:
        """A plain chunk [B, H, A]."""
        del params
        return self._asked(noise, **{wire.STATE: obs, wire.NOISE: noise})

    def continued(self, params: Any, obs: Array, noise: Array, previous: Array, delay: Array, horizon: Array) -> Array:
        """A chunk [B, H, A] that the server holds to ``previous`` [B, H, A]."""
        del params
        held = {wire.PREVIOUS: previous, wire.DELAY: delay, wire.HORIZON: horizon}
        return self._asked(noise, **{wire.STATE: obs, wire.NOISE: noise}, **held)

    def _asked(self, like: Array, **request: Array) -> Array:
        for name, size in (("obs_size", request[wire.STATE].shape[1]), ("action_size", like.shape[2])):
            if self.metadata.get(name, size) != size:
                raise ServerError(
                    f"{self.url}: its {name} is {self.metadata[name]}, the task's is {size}; "
                    "serve a policy that was made for this task and interface"
                )
        return host_callback.call(self._answer, like, request)

    def _answer(self, request: dict[str, Any]) -> np.ndarray:
        """Called from the threads of all devices. Once the server has failed, it is not asked any more."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                return self._chunks(request)
            except ServerError as error:
                self._failure = error
                raise

    def _chunks(self, request: dict[str, np.ndarray]) -> np.ndarray:
        """Of all episodes [B, H, A]; those of the same d and s in one message, where the server takes many."""
        numbers = {name: request[name] for name in (wire.DELAY, wire.HORIZON) if name in request}  # [] or [B]
        arrays = {name: value for name, value in request.items() if name not in numbers}
        chunks = np.empty(request[wire.NOISE].shape, np.float32)
        told = np.zeros((len(chunks), len(numbers)), int)
        for column, values in enumerate(numbers.values()):
            told[:, column] = np.minimum(values, self.horizon)  # beyond it nothing is left of the old chunk
        for values in np.unique(told, axis=0) if numbers else told[:1]:
            own = dict(zip(numbers, values.tolist(), strict=True))
            episodes = np.flatnonzero((told == values).all(axis=1))
            for index in [episodes] if self.batched else episodes:
                message = {**{name: value[index] for name, value in arrays.items()}, **own}
                chunks[index] = self._chunk(message, chunks[index].shape)
        return chunks

    def _chunk(self, request: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        with self._reporting():
            self._connection.send(wire.pack(request))
        answer = self._unpacked(self._receive(self.seconds))
        actions = answer.get(wire.ACTIONS)
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "iuf":
            raise ServerError(f"{self.url} answered without {wire.ACTIONS!r}, an array of numbers; mend the server")
        if actions.shape != shape:
            raise ServerError(
                f"{self.url} answered with actions of shape {list(actions.shape)}, not {list(shape)}; "
                "serve a policy that was made for this task"
            )
        if not np.isfinite(actions).all():
            raise ServerError(f"{self.url} answered with actions that are inf or nan; mend the server, {AGAIN}")
        return actions.astype(np.float32)

    def _receive(self, seconds: float) -> bytes:
        with self._reporting():
            try:
                message = self._connection.recv(timeout=seconds)
            except TimeoutError:
                raise ServerError(
                    f"{self.url} did not answer within {seconds:g} s; make it faster, or wait longer by "
                    f"RTC_BENCH_REQUEST_SECONDS={10 * seconds:g}, {AGAIN}"
                ) from None
        if isinstance(message, str):
            raise ServerError(f"{self.url} answered: {' '.join(message.split())[:500]}")
        return message

    def _unpacked(self, message: bytes) -> dict[str, Any]:
        try:
            return wire.unpack(message)
        except wire.WireError as error:
            raise ServerError(f"{self.url}: {error}; is it a server for the openpi client?") from None

    @contextlib.contextmanager
    def _reporting(self):
        import websockets

        try:
            yield
        except websockets.ConnectionClosed as error:
            reason = errors.first_line(error)
            raise ServerError(f"{self.url} closed the connection ({reason}); start it again, {AGAIN}") from None


def _open(url: str, stack: contextlib.ExitStack) -> Any:
    """A connection, which the stack closes. Raises ServerError."""
    import websockets
    import websockets.sync.client

    start = f"{errors.command('serve')} policy=zoo task=<task> strategy=rtc"
    options = {"open_timeout": CONNECT_SECONDS, "compression": None, "max_size": wire.LARGEST_MESSAGE, "proxy": None}
    options["close_timeout"] = CLOSE_SECONDS
    options["ping_timeout"] = request_seconds()  # a server that computes may not answer pings
    try:
        return stack.enter_context(websockets.sync.client.connect(url, **options))
    except websockets.InvalidURI:
        raise ServerError(f"policy={url} is no address; write ws://host:port") from None
    except TimeoutError:
        raise ServerError(f"{url} did not open within {CONNECT_SECONDS:g} s; is it a policy server?") from None
    except websockets.InvalidHandshake as error:
        raise ServerError(f"{url} is no policy server ({errors.first_line(error)}); start one: {start}") from None
    except (OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or errors.first_line(error)
        raise ServerError(f"no policy server at {url} ({reason}); check host and port, or start one: {start}") from None


@atexit.register
def _close_all() -> None:
    for policy in _policies.values():
        policy.close()


def _connected(url: str) -> ServedPolicy:
    return connect(url).policy


def connect(url: str) -> foreign.Source:
    """The policy behind a server's address, over one connection as long as that lasts. Raises ServerError."""
    with _connecting:
        policy = _policies.get(url)
        if policy is None or not policy.works:
            if policy is not None:
                policy.close()
            policy = _policies[url] = ServedPolicy(url)
    task, address = policy.metadata.get("task"), url.partition("://")[2].rstrip("/")
    digest = hashlib.sha256(policy.raw_metadata).hexdigest()[:12]
    task = task if isinstance(task, str) else None
    return foreign.Source(policy, f"policy={url}", address, __file__, digest, task)
