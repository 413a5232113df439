"""Run by the Python that has lerobot: `open <folder>` prints what LeRobotDataset says of it, `record <folder>` records one."""

import json
import pathlib
import sys

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

CHUNK = 4
FPS, LENGTHS = 10, (9, 14, 11)


def opened(folder):
    """Facts of a data set, with chunks of actions for every frame."""
    root = pathlib.Path(folder)
    fps = json.loads((root / "meta/info.json").read_text())["fps"]
    deltas = {"action": [step / fps for step in range(CHUNK)]}
    dataset = LeRobotDataset("rtc_bench/test", root=root, delta_timestamps=deltas)
    items = [dataset[index] for index in range(len(dataset))]
    columns = ("dataset_from_index", "dataset_to_index", "length", "tasks", "data/file_index")
    last = dataset.num_episodes - 1
    return {
        "frames": len(dataset),
        "episodes": dataset.num_episodes,
        "fps": dataset.fps,
        "features": {name: list(feature["shape"]) for name, feature in dataset.features.items()},
        "types": {name: str(value.dtype) for name, value in items[0].items() if isinstance(value, torch.Tensor)},
        "state": [item["observation.state"].tolist() for item in items],
        "chunk": [item["action"].tolist() for item in items],
        "pad": [item["action_is_pad"].tolist() for item in items],
        "episode": [item["episode_index"].item() for item in items],
        "task": sorted({item["task"] for item in items}),
        "rows": {name: list(dataset.meta.episodes[name]) for name in columns},
        "mean": dataset.meta.stats["observation.state"]["mean"].tolist(),
        "frames_of_last": len(LeRobotDataset("rtc_bench/test", root=root, episodes=[last])),
    }


def record(folder):
    """A data set by LeRobot's own recorder: two states, of which one is a single number."""
    sizes = {"observation.state": 3, "observation.environment_state": 1, "action": 2}
    features = {name: {"dtype": "float32", "shape": (size,), "names": None} for name, size in sizes.items()}
    dataset = LeRobotDataset.create("rtc_bench/test", fps=FPS, features=features, root=folder, use_videos=False)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            number = float(100 * episode + step)
            frame = {name: np.full(size, number, np.float32) for name, size in sizes.items()}
            dataset.add_frame({**frame, "task": "push"})
        dataset.save_episode()
    dataset.finalize()
    return {"lengths": LENGTHS}


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    print(json.dumps({"open": opened, "record": record}[command](folder)))
