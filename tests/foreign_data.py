"""A LeRobot data set of format v3.0 as others leave it, written here without any of our own writing code."""

import json

import numpy as np
import pyarrow as pa
from pyarrow import parquet

FPS = 10
LENGTHS = (9, 14, 11, 30, 12)  # of episodes
FILES = {"chunk-000/file-000": (0, 1), "chunk-000/file-001": (2,), "chunk-001/file-000": (3, 4)}  # -> episodes


def features():
    """info.json's, with an image that lies in a video, and a state that is one number."""
    vectors = {"observation.state": 3, "observation.environment_state": 1, "action": 2}
    vectors |= {"timestamp": 1}
    entries = {name: {"dtype": "float32", "shape": [size], "names": None} for name, size in vectors.items()}
    whole = ("frame_index", "episode_index", "index", "task_index")
    entries |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in whole}
    return entries | {"observation.images.top": {"dtype": "video", "shape": [96, 96, 3], "names": ["h", "w", "c"]}}


def frames():
    """Actions in pixels and millimetres, both told by a state that hardly moves in an episode; another state counts down.

    [N, 3], [N, 1], [N, 2], and the episode [N].
    """
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    state = rng.normal(size=(len(LENGTHS), 3))[episode] + 0.05 * rng.normal(size=(len(episode), 3))
    state = state.astype(np.float32)
    action = np.stack([300 + 100 * state[:, 0], 0.001 * state[:, 1]], axis=1).astype(np.float32)
    left = np.concatenate([np.arange(length)[::-1] for length in LENGTHS]).astype(np.float32)
    return state, left[:, None], action, episode


def write(folder, **info):
    """The whole data set; ``info`` changes what info.json says."""
    state, number, action, episode = frames()
    first = np.cumsum((0, *LENGTHS))
    for name, episodes in FILES.items():
        own = np.isin(episode, episodes)
        index = np.flatnonzero(own)
        table = pa.table(
            {
                "observation.state": pa.array(state[own].tolist(), pa.list_(pa.float32(), 3)),
                "observation.environment_state": pa.array(number[own, 0], pa.float32()),
                "action": pa.array(action[own].tolist(), pa.list_(pa.float32())),  # of no fixed size
                "timestamp": ((index - first[episode[own]]) / FPS).astype(np.float32),
                "frame_index": index - first[episode[own]],
                "episode_index": episode[own],
                "index": index,
                "task_index": np.zeros(len(index), int),
            }
        )
        path = folder / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, path)
    said = {"codebase_version": "v3.0", "fps": FPS, "total_frames": len(episode), "total_episodes": len(LENGTHS)}
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta" / "info.json").write_text(json.dumps({**said, "features": features(), **info}))
    return folder
