"""Files that are whole or not there, manifests that say how a folder came about, and digests."""

import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from rtc_bench.common import errors


def write_whole(path: pathlib.Path | str, data: bytes) -> None:
    """Write a file so that a reader, or a crash, never sees half of it. Raises OSError; leaves no debris."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def write_parquet(path: pathlib.Path, table: Any) -> None:
    """Write an Arrow table, compressed, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


def read_manifest(path: pathlib.Path, *keys: str) -> dict[str, Any]:
    """A manifest that holds ``keys``. Raises ConfigError for one that is damaged or of another kind."""
    try:
        manifest = json.loads(path.read_text())
        return {**manifest, **{key: manifest[key] for key in keys}}
    except (ValueError, TypeError, KeyError):
        message = f"{path}: damaged, or the manifest of something else; delete {path.parent}, or give another folder"
        raise errors.ConfigError(message) from None


def write_manifest(path: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest, whole or not at all."""
    write_whole(path, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())


def sha256(path: pathlib.Path) -> str:
    """The file's digest, 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
