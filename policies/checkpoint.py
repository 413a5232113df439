"""Checkpoint files: safetensors with a JSON header. Written whole or not at all; nothing is ever unpickled."""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from policies import flow

Path = pathlib.Path | str
HEADER = "rtc_bench"  # the metadata key that holds the JSON header
ZOO = pathlib.Path(__file__).parent / "zoo"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what is wrong and what to do."""


def write_whole(path: Path, data: bytes) -> None:
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


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dict of arrays -> {"a/b/c": array}."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        elif value is not None:
            flat[f"{prefix}{name}"] = np.ascontiguousarray(value)
    return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of ``flatten``."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def save(path: Path, arrays: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Save a nested dict of arrays. ``header`` is JSON-able and has a "kind"."""
    data = safetensors.numpy.save(flatten(arrays), metadata={HEADER: json.dumps(header, sort_keys=True)})
    write_whole(path, data)


def header(path: Path) -> dict[str, Any]:
    """The header alone. Raises CheckpointError."""
    return _read(path, arrays=False)[1]


def load(path: Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays, header) of a checkpoint of this kind ("flow", "expert", ...). Raises CheckpointError."""
    flat, head = _read(path, arrays=True)
    if head.get("kind") != kind:
        raise CheckpointError(f"{path}: holds a {head.get('kind')!r} checkpoint, not {kind!r}; give a {kind!r} one")
    return unflatten(flat), head


def _read(path: Path, *, arrays: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    path = pathlib.Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file; check the path, or train one first")
    if path.suffix == ".pkl":
        raise CheckpointError(f"{path}: pickles are not loaded; convert it once with `policies.import_reference`")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()} if arrays else {}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); copy or train it again") from None
    if HEADER not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not one of rtc_bench's; give one that rtc_bench saved")
    return flat, json.loads(metadata[HEADER])


def save_flow(path: Path, policy: flow.FlowPolicy, model_card: Mapping[str, Any]) -> None:
    """Save a flow policy. ``model_card`` says task, interface, data, epochs, solve rate, commit."""
    arrays = {"params": policy.params, "obs_mean": policy.obs_mean, "obs_std": policy.obs_std, "weak": policy.weak}
    save(path, arrays, {**model_card, "kind": "flow", "config": dataclasses.asdict(policy.config)})


def load_flow(
    path: Path, *, task: str, interface: str, obs_size: int, action_size: int
) -> tuple[flow.FlowPolicy, dict[str, Any]]:
    """A flow policy made for this task, and its model card. Raises CheckpointError naming what does not fit."""
    arrays, head = load(path, kind="flow")
    config = flow.FlowConfig(**head["config"])
    wanted = {"task": task, "interface": interface}
    for name, value in wanted.items():
        if head.get(name) != value:
            raise CheckpointError(
                f"{path}: made for {name} {head.get(name)!r}, not {value!r}; give a checkpoint for {name} {value!r}"
            )
    sizes = {"obs_size": obs_size, "action_size": action_size}
    for name, size in sizes.items():
        if getattr(config, name) != size:
            raise CheckpointError(
                f"{path}: {name} is {getattr(config, name)}, task {task!r} has {size}; train it again"
            )
    return flow.FlowPolicy(arrays["params"], config, arrays["obs_mean"], arrays["obs_std"], arrays.get("weak")), head


def zoo() -> dict[str, pathlib.Path]:
    """The policies that ship with the package: task -> file."""
    return {path.stem: path for path in sorted(ZOO.glob("*.safetensors"))}
