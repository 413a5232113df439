"""A policy server for the openpi client: metadata on connection, then a chunk for each request, until ctrl-C.

A request that cannot be answered gets a text that says why, and the connection stays open.
"""

import contextlib
import errno
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rtc_bench.common import errors
from rtc_bench.realtime.serving import model, wire

CLOSE_SECONDS = 2.0  # that a client has to say goodbye when the server stops
OPEN_SECONDS = 2.0  # that a client has to say hello; a server that stops waits for those who do not
MOST_CLIENTS = 32  # at once


def serve(
    answer: Callable[[Mapping[str, Any]], Any], metadata: Mapping[str, Any], *, host: str, port: int, ready: Callable
) -> None:
    """Serve until ctrl-C or SIGTERM; ``ready(url)`` is called once clients can connect. Raises ConfigError.

    ``answer`` gives a request's chunk, or raises ``model.BadRequest``; it is called from a thread for each client.
    """
    with _interruptible(), listening(answer, metadata, host=host, port=port) as (url, listener):
        ready(url)
        with contextlib.suppress(KeyboardInterrupt):
            listener.join()


@contextlib.contextmanager
def listening(
    answer: Callable[[Mapping[str, Any]], Any], metadata: Mapping[str, Any], *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[tuple[str, threading.Thread]]:
    """The address that is served meanwhile, and the thread that does; see ``serve``. Raises ConfigError."""
    import websockets
    import websockets.sync.server

    seats = threading.BoundedSemaphore(MOST_CLIENTS)

    def admit(connection: websockets.sync.server.ServerConnection) -> None:
        if not seats.acquire(blocking=False):
            reason = f"{MOST_CLIENTS} clients are connected, and no more are served"
            connection.close(websockets.CloseCode.TRY_AGAIN_LATER, reason)
            return
        try:
            converse(connection)
        finally:
            seats.release()

    def converse(connection: websockets.sync.server.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            connection.send(wire.pack(dict(metadata)))
            for message in connection:
                connection.send(_reply(answer, message))

    silent = logging.getLogger("rtc_bench.realtime.serving")  # what strangers send is not worth a traceback
    silent.disabled = True
    options: dict[str, Any] = {"compression": None, "max_size": wire.LARGEST_MESSAGE, "logger": silent}
    options |= {"open_timeout": OPEN_SECONDS, "close_timeout": CLOSE_SECONDS}
    try:
        server = websockets.sync.server.serve(admit, host, port, **options)
    except OSError as error:
        remedy = (
            "give another port=, or 0 for any" if error.errno == errno.EADDRINUSE else "give another host= or port="
        )
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise errors.ConfigError(f"cannot listen at {host}:{port} ({reason}); {remedy}") from None
    url = _url(server.socket.getsockname())
    with server:
        listener = threading.Thread(target=server.serve_forever, daemon=True)
        listener.start()
        yield url, listener


def _reply(answer: Callable[[Mapping[str, Any]], Any], message: bytes | str) -> bytes | str:
    """A map with actions, or a text."""
    try:
        if isinstance(message, str):
            raise model.BadRequest("a text; a request is a map packed by msgpack, as openpi_client packs it")
        return wire.pack({wire.ACTIONS: answer(wire.unpack(message))})
    except (model.BadRequest, wire.WireError) as error:
        return f"bad request: {error}"
    except Exception as error:  # of a policy's own code: this client is told, others are served
        print(f"a request failed: {type(error).__name__}: {errors.first_line(error)}", file=sys.stderr, flush=True)
        return f"the policy failed: {type(error).__name__}: {errors.first_line(error)}"


def _url(address: tuple) -> str:
    host, port = address[:2]
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is taken like ctrl-C, and ctrl-C as such also by a process that a shell put into the background."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
