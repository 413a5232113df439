"""One file over http(s), resumable: whole in its place, or a .part beside it from which the next attempt goes on.

    <file>.part   bytes so far                 <file>.json   where they come from: url, validator, bytes in all
    <file>        renamed when it is whole

A file without a .json was put there by its user, and counts as whole. The validator (ETag, or Last-Modified) tells whether
the server still has the same file; if it has another, or ignores Range (RFC 9110, section 14), the download starts again.
"""

import errno
import http.client
import os
import pathlib
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from rtc_bench.common import errors, files

FIRST_WAIT = 1.0  # seconds before the first retry; then twice as long each time
READ_BYTES = 1 << 16
PICKLE_START = b"\x80"  # the opcode PROTO, by which pickles of protocol 2 and later begin
BUSY = (408, 429)  # and 5xx: statuses that may pass
Advance = Callable[[int, int | None], None]  # bytes so far, and in all where the server says so


class DownloadError(RuntimeError):
    """A file that did not come; ``reason`` says why, without the address."""

    def __init__(self, url: str, reason: str):
        super().__init__(f"{url}: {reason}")
        self.url, self.reason = url, reason


class Unreachable(DownloadError):
    """No answer from the server, or none that it can serve; other files need not be tried."""


class _TryAgain(Exception):
    """What may pass: silence, a connection that broke, a busy server."""


class _OtherFile(Exception):
    """The bytes so far do not belong to what the server has now."""


def is_whole(path: pathlib.Path, url: str) -> bool:
    """The file is there, and comes from this address or from its user."""
    return path.exists() and _record(path).get("url", url) == url


def fetch(
    url: str, path: pathlib.Path, *, timeout: float, retries: int, advance: Advance, files_like_it: int = 1
) -> None:
    """Bring a pickle to ``path``. Raises DownloadError, Unreachable, and OSError where it cannot be written.

    ``timeout``: seconds. ``retries`` are counted anew when more bytes came than ever. ``files_like_it``: that have to fit on
    the disk, twice (as they come, and converted).
    """
    failures = most = 0
    while not is_whole(path, url):
        most = max(most, _size(_part(path)))
        try:
            _attempt(url, path, timeout, advance, files_like_it)
        except _OtherFile:
            _part(path).unlink(missing_ok=True)
        except _TryAgain as error:
            failures = 1 if _size(_part(path)) > most else failures + 1
            if failures > retries:
                raise Unreachable(url, f"{error}, tried {failures} times") from None
            time.sleep(FIRST_WAIT * 2 ** (failures - 1))


def _attempt(url: str, path: pathlib.Path, timeout: float, advance: Advance, files_like_it: int) -> None:
    record, start = _record(path), _size(_part(path))
    if record.get("url") != url or not record.get("validator"):
        start = 0
    if start and start == record.get("bytes"):
        _finish(path)
        return
    headers = {"User-Agent": "rtc_bench", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": record["validator"]}
    with _open(urllib.request.Request(url, headers=headers), timeout) as response:
        validator, length = _validator(response), response.headers.get("Content-Length")
        if response.status == 206 and not (validator == record.get("validator") and _continues(response, start)):
            raise _OtherFile if start else DownloadError(url, "HTTP 206, a part that was not asked for")
        start = start if response.status == 206 else 0
        total = start + int(length) if (length or "").isdigit() else None
        if start and total != record.get("bytes"):
            raise _OtherFile
        path.parent.mkdir(parents=True, exist_ok=True)
        if total is not None:
            _check_space(path, total * 2 * files_like_it - start)
        if not start:
            for old in (_part(path), path):  # before the record, which says where they come from
                old.unlink(missing_ok=True)
            files.write_manifest(_record_file(path), {"url": url, "validator": validator, "bytes": total})
        _receive(response, path, start, total, advance)
    _finish(path)


def _open(request: urllib.request.Request, timeout: float) -> Any:
    url = request.full_url
    try:
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        text = " ".join(f"HTTP {error.code} {error.reason}".split())
        if error.code == 416 and request.has_header("Range"):
            raise _OtherFile from None
        if error.code >= 500 or error.code in BUSY:
            raise _TryAgain(text) from None
        raise DownloadError(url, text) from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, TimeoutError | ConnectionResetError | BrokenPipeError | ssl.SSLEOFError):
            raise _TryAgain(_text(reason)) from None
        raise Unreachable(url, _text(reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last: led on to what is no address
        raise _TryAgain(_text(error)) from None


def _text(reason: Any) -> str:
    """Why a connection failed, in one line."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {reason.verify_message}"
    if isinstance(reason, socket.gaierror):
        return f"its host's name is not known here: {reason.strerror}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return errors.first_line(reason) if isinstance(reason, BaseException) else str(reason)


def _continues(response: Any, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _validator(response: Any) -> str | None:
    """What If-Range takes: a strong ETag, or else the time of the last change."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _receive(response: Any, path: pathlib.Path, start: int, total: int | None, advance: Advance) -> None:
    count = start
    with _part(path).open("ab") as part:
        while True:
            try:
                data = response.read(READ_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _TryAgain(_text(error)) from None
            if not data:
                break
            if not count and not data.startswith(PICKLE_START):
                _part(path).unlink()
                kind = response.headers.get_content_type()
                raise DownloadError(
                    response.url, f"not a pickle but {kind}, {data[:20]!r}...; is a login page between?"
                )
            part.write(data)
            count += len(data)
            advance(count, total)
        part.flush()
        os.fsync(part.fileno())
    if total is not None and count < total:
        raise _TryAgain(f"the connection ended after {count} of {total} bytes")
    if not count:
        raise DownloadError(response.url, "an empty file")


def _check_space(path: pathlib.Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        text = f"{os.strerror(errno.ENOSPC)}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, text, str(path.parent))


def _part(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.part")


def _record_file(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.json")


def _record(path: pathlib.Path) -> dict[str, Any]:
    """What is known of the bytes so far; nothing where there is no record, or a damaged one."""
    try:
        return files.read_manifest(_record_file(path), "url", "validator", "bytes")
    except (FileNotFoundError, errors.ConfigError):
        return {}


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _finish(path: pathlib.Path) -> None:
    os.replace(_part(path), path)
