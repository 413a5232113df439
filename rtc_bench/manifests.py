"""What says how a folder's files came about: manifest.json, and digests of files."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from policies import checkpoint
from rtc_bench import config as configs


def read(path: pathlib.Path, *keys: str) -> dict[str, Any]:
    """A manifest that holds ``keys``. Raises ConfigError for one that is damaged or of another kind."""
    try:
        told = json.loads(path.read_text())
        return {**told, **{key: told[key] for key in keys}}
    except (ValueError, TypeError, KeyError):
        message = f"{path}: damaged, or the manifest of something else; delete {path.parent}, or give another folder"
        raise configs.ConfigError(message) from None


def write(path: pathlib.Path, told: Mapping[str, Any]) -> None:
    """Write a manifest, whole or not at all."""
    checkpoint.write_whole(path, (json.dumps(told, indent=2, sort_keys=True) + "\n").encode())


def sha256(path: pathlib.Path) -> str:
    """The file's digest, 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
