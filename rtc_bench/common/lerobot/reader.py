"""States and actions of any LeRobot data set of format v3.0. Images are not looked at."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from rtc_bench.common import errors, files, lerobot
from rtc_bench.common.lerobot import columns

CONVERT_COMMAND = (
    "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --push-to-hub=false --root={parent} --repo-id={name}"
)
COPY_AGAIN = "copy or download it again"
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # every data set's own features


class Frames(NamedTuple):
    """Control steps of whole episodes, one after another: N frames."""

    state: np.ndarray  # [N, O] float32
    action: np.ndarray  # [N, A] float32, in the data's units
    episode: np.ndarray  # [N] int64
    digests: list[str]  # of the files that they come from
    fps: float  # frames a second


def is_data_set(folder: pathlib.Path | str) -> bool:
    """Whether a folder is a LeRobot data set, of whatever format, rather than a folder of ours that holds some."""
    return (pathlib.Path(folder) / "meta").is_dir()


def load(folder: pathlib.Path | str, *, state_keys: Sequence[str], action_key: str) -> Frames:
    """Features of a data set; several states stand side by side.

    Raises ConfigError for another format, features that are not there or no vectors of numbers, and files that are
    missing or torn.
    """
    folder = pathlib.Path(folder)
    info = _read_info(folder)
    for setting, names in {"state_key": state_keys, "action_key": [action_key]}.items():
        for name in names:
            _check_feature(folder, info["features"], setting, name)
    paths = sorted(folder.glob("data/*/*.parquet"))
    tables = [_read_file(path, [*state_keys, action_key, "episode_index", "index"]) for path in paths]
    count = sum(len(table) for table in tables)
    if count != info["total_frames"] or not count:
        raise errors.ConfigError(
            f"{folder}: its {len(paths)} files in data/ hold {count} frames, {lerobot.INFO_FILE} says "
            f"{info['total_frames']}; {COPY_AGAIN}, whole"
        )
    frames = pa.concat_tables(tables, promote_options="permissive")
    *states, action = (_values(folder, info, frames, name) for name in (*state_keys, action_key))
    episode, index = (frames[name].to_numpy() for name in ("episode_index", "index"))
    if (index != np.arange(count)).any() or (np.diff(episode) < 0).any():
        raise errors.ConfigError(
            f"{folder}: its frames are not in the order of their `index`; {COPY_AGAIN}, or record it again"
        )
    digests = [files.sha256(path) for path in paths]
    return Frames(np.concatenate(states, axis=1), action, episode, digests, float(info["fps"]))


def _read_info(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / lerobot.INFO_FILE
    try:
        info = json.loads(path.read_text())
        version, features = str(info["codebase_version"]), info["features"]
        known = {**info, "total_frames": int(info["total_frames"]), "fps": float(info["fps"])}
        shapes = {name: tuple(feature["shape"]) for name, feature in features.items()}
        dtypes = {name: str(feature["dtype"]) for name, feature in features.items()}
    except FileNotFoundError:
        raise errors.ConfigError(f"{path}: not there, so no whole LeRobot data set; {COPY_AGAIN}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.ConfigError(f"{path}: damaged ({error!r}); {COPY_AGAIN}") from None
    if version.startswith(("v1.", "v2.", "1.", "2.")):
        raise errors.ConfigError(
            f"{folder}: a LeRobot data set of format {version}, {lerobot.VERSION} is read; convert it with lerobot: "
            + CONVERT_COMMAND.format(parent=folder.resolve().parent, name=folder.resolve().name)
        )
    if not version.startswith(("v3.", "3.")):
        raise errors.ConfigError(f"{folder}: a LeRobot data set of format {version}; give one of {lerobot.VERSION}")
    return {**known, "features": {name: (dtypes[name], shapes[name]) for name in features}}


def _check_feature(folder: pathlib.Path, features: Mapping[str, tuple], setting: str, name: str) -> None:
    """Raise ConfigError unless it is a vector of numbers."""
    vectors = [
        key
        for key, (dtype, shape) in features.items()
        if _is_number(dtype) and len(shape) == 1 and key not in BOOKKEEPING
    ]
    if name in vectors:
        return
    if name in features:
        dtype, shape = features[name]
        wrong = f"{setting}={name} is {dtype} of shape {list(shape)} in {folder}, not a vector of numbers"
    else:
        wrong = f"{setting}={name} is no feature of {folder}{errors.did_you_mean(name, vectors)}"
    remedy = (
        f"its vectors: {', '.join(vectors)}"
        if vectors
        else "it holds no vectors; give a data set of states and actions"
    )
    raise errors.ConfigError(f"{wrong}; {remedy}")


def _is_number(dtype: str) -> bool:
    return dtype.startswith(("float", "int", "uint", "double", "bool"))


def _read_file(path: pathlib.Path, names: Sequence[str]) -> pa.Table:
    """These columns of a file. Raises ConfigError."""
    try:
        file = parquet.ParquetFile(path)
        missing = [name for name in names if name not in file.schema_arrow.names]
        table = None if missing else file.read(columns=list(names)).select(list(names))
    except (pa.ArrowException, OSError) as error:
        what = "a Git LFS pointer" if path.read_bytes()[:8] == b"version " else f"torn ({errors.first_line(error)})"
        raise errors.ConfigError(f"{path}: not a whole Parquet file but {what}; {COPY_AGAIN}") from None
    if table is None:
        raise errors.ConfigError(f"{path}: has no column {missing[0]!r}, which {lerobot.INFO_FILE} names; {COPY_AGAIN}")
    return table


def _values(folder: pathlib.Path, info: Mapping[str, Any], frames: pa.Table, name: str) -> np.ndarray:
    """A feature [N, D] as float32. Raises ConfigError."""
    try:
        values = columns.matrix(frames[name]).astype(np.float32)
    except ValueError as error:
        raise errors.ConfigError(
            f"{folder}: {name} {errors.first_line(error)}; record it again, or give another feature"
        ) from None
    _, (size,) = info["features"][name]
    if values.shape[1] != size:
        raise errors.ConfigError(
            f"{folder}: {name} has {values.shape[1]} numbers a frame, {lerobot.INFO_FILE} says {size}; {COPY_AGAIN}"
        )
    if not np.isfinite(values).all():
        frame = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise errors.ConfigError(f"{folder}: {name} holds inf or nan in frame {frame}; leave that episode out")
    return values
