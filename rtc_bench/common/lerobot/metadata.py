"""What stands beside the frames of a LeRobot data set, made from the frames: information, statistics, tasks, episodes."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from rtc_bench.common import files, lerobot
from rtc_bench.common.lerobot import columns

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
MEGABYTES_A_FILE = {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}  # LeRobot's, for who appends


def write(folder: pathlib.Path, data_files: Sequence[str], *, tasks: Sequence[str], fps: int) -> None:
    """Write the folder meta/ for frames that lie in ``data_files``, in this order. The information comes last: it makes it whole.

    ``tasks``: the name of every ``task_index``.
    """
    tables = [parquet.read_table(folder / name) for name in data_files]
    frames = pa.concat_tables(tables)
    features = {name: columns.matrix(frames[name]).astype(np.float64) for name in frames.column_names}
    first = _episode_starts(frames["episode_index"].to_numpy())
    numbers = np.repeat(np.arange(len(tables)), [len(table) for table in tables])[first]  # of files
    episodes = _episodes(features, first, numbers, tasks)
    statistics = {name: {key: value.tolist() for key, value in describe(v).items()} for name, v in features.items()}
    task_table = pd.DataFrame({"task_index": range(len(tasks))}, index=list(tasks))
    info = {
        "codebase_version": lerobot.VERSION,
        "robot_type": None,
        "total_episodes": len(first),
        "total_frames": len(frames),
        "total_tasks": len(tasks),
        "chunks_size": lerobot.FILES_A_CHUNK,
        **MEGABYTES_A_FILE,
        "fps": fps,
        "splits": {"train": f"0:{len(first)}"},
        "data_path": lerobot.DATA_PATH,
        "video_path": None,
        "features": {field.name: _feature(field.type) for field in frames.schema},
    }
    files.write_parquet(folder / "meta/episodes/chunk-000/file-000.parquet", episodes)
    files.write_parquet(folder / "meta/tasks.parquet", pa.Table.from_pandas(task_table))
    files.write_whole(folder / "meta/stats.json", json.dumps(statistics, indent=4).encode())
    files.write_whole(folder / lerobot.INFO_FILE, json.dumps(info, indent=4).encode())


def describe(values: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics [D] of a feature [N, D], and how many there are [1]."""
    quantiles = dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))
    moments = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    return {**moments, "count": np.array([len(values)]), **quantiles}


def _episode_starts(episode: np.ndarray) -> np.ndarray:
    """Index [E] of the first frame of each episode, of the episode [N] of each frame."""
    return np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))


def _describe_episodes(values: np.ndarray, first: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics [E, D] of a feature [N, D] by episode, and how many frames it has [E, 1]."""
    length = np.diff(np.append(first, len(values)))[:, None]
    mean = np.add.reduceat(values, first) / length
    deviation = values - np.repeat(mean, length[:, 0], axis=0)
    return {
        "min": np.minimum.reduceat(values, first),
        "max": np.maximum.reduceat(values, first),
        "mean": mean,
        "std": np.sqrt(np.add.reduceat(deviation**2, first) / length),
        "count": length,
    }


def _episodes(
    features: Mapping[str, np.ndarray], first: np.ndarray, numbers: np.ndarray, tasks: Sequence[str]
) -> pa.Table:
    """A row for each episode, which begins at frame ``first`` [E] and lies in the file of number ``numbers`` [E]."""
    chunk_index, file_index = np.divmod(numbers, lerobot.FILES_A_CHUNK)
    end = np.append(first[1:], len(features["episode_index"]))
    rows = {
        "episode_index": features["episode_index"][first, 0].astype(np.int64),
        "tasks": [[tasks[int(index)]] for index in features["task_index"][first, 0]],
        "length": end - first,
        "data/chunk_index": chunk_index,
        "data/file_index": file_index,
        "dataset_from_index": first,
        "dataset_to_index": end,
    }
    for name, values in features.items():
        for key, statistic in _describe_episodes(values, first).items():
            rows[f"stats/{name}/{key}"] = statistic.tolist()
    nowhere_else = np.zeros(len(first), np.int64)  # all episodes stand in one file
    return pa.table({**rows, "meta/episodes/chunk_index": nowhere_else, "meta/episodes/file_index": nowhere_else})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """What info.json says of a column."""
    vector = columns.is_vector(kind)
    number = str(kind.value_type if vector else kind)
    return {
        "dtype": {"float": "float32"}.get(number, number),
        "shape": [kind.list_size if vector else 1],
        "names": None,
    }
