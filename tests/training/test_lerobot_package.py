"""Data sets to and from the real package lerobot, which has a Python of its own: `make test-lerobot`."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from rtc_bench import envs
from rtc_bench.common import files
from rtc_bench.common.lerobot import metadata, reader
from rtc_bench.training import expert_data

PYTHON = os.environ.get("RTC_BENCH_LEROBOT", "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="lerobot is not installed; make test-lerobot installs it and runs this"
)
SCRIPT = pathlib.Path(__file__).with_name("lerobot_package.py")
CHUNK = 4


@pytest.fixture
def lerobot(tmp_path):
    """(command, folder): what ``lerobot_package.py`` prints."""

    def run(command, folder):
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "huggingface"), "PYTHONWARNINGS": "ignore"}
        arguments = [PYTHON, str(SCRIPT), command, str(folder)]
        done = subprocess.run(arguments, env=os.environ | offline, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def assert_is_read(facts, steps, task):
    """What LeRobot says of a data set is what we recorded."""
    episodes = len(np.unique(steps.episode))
    lengths = np.bincount(steps.episode)
    assert (facts["frames"], facts["episodes"], facts["fps"]) == (len(steps.episode), episodes, 30)
    assert facts["features"]["observation.state"] == [steps.obs.shape[1]]
    assert facts["features"]["action"] == [steps.action.shape[1]]
    assert facts["types"]["observation.state"] == facts["types"]["action"] == "torch.float32"
    assert facts["task"] == [task]
    np.testing.assert_array_equal(np.float32(facts["state"]), steps.obs)
    assert facts["episode"] == steps.episode.tolist()
    assert facts["rows"]["length"] == lengths.tolist()
    assert facts["rows"]["dataset_to_index"] == np.cumsum(lengths).tolist()
    assert facts["rows"]["dataset_from_index"] == (np.cumsum(lengths) - lengths).tolist()
    assert facts["rows"]["data/file_index"] == sorted(facts["rows"]["data/file_index"])
    assert facts["frames_of_last"] == lengths[-1]
    np.testing.assert_allclose(facts["mean"], steps.obs.mean(0), rtol=1e-4, atol=1e-5)
    end = expert_data.episode_ends(steps.episode)
    index = np.arange(len(end))[:, None] + np.arange(CHUNK)
    assert facts["pad"] == (index >= end[:, None]).tolist()  # no chunk crosses an episode's edge
    chunks = steps.action[np.minimum(index, end[:, None] - 1)]
    np.testing.assert_array_equal(np.float32(facts["chunk"]).reshape(chunks.shape), chunks)


def test_what_is_recorded_opens(data, lerobot):
    """Two files, one action."""
    config, manifest_file = data
    steps, manifest = expert_data.load(config.out, "catapult")
    facts = lerobot("open", manifest_file.parent)
    assert set(facts["rows"]["data/file_index"]) == set(range(len(manifest["parts"])))
    assert_is_read(facts, steps, "catapult")


def test_several_actions_open(tmp_path, lerobot):
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(6), (5, 1, 7, 3, 4, 9))
    obs, action = (rng.normal(size=(len(episode), size)).astype(np.float32) for size in (5, 2))
    steps = expert_data.ExpertSteps(obs, action, episode, np.zeros(len(episode), bool))
    table = expert_data._table(steps, first_episode=0, first_index=0, task=6, dt=1 / 30)
    files.write_parquet(tmp_path / "set/data/chunk-000/file-000.parquet", table)
    metadata.write(tmp_path / "set", ["data/chunk-000/file-000.parquet"], tasks=envs.TASKS, fps=30)
    assert_is_read(lerobot("open", tmp_path / "set"), steps, envs.TASKS[6])


def test_what_lerobot_records_is_read(tmp_path, lerobot):
    lengths = lerobot("record", tmp_path / "set")["lengths"]
    states = ["observation.state", "observation.environment_state"]
    frames = reader.load(tmp_path / "set", state_keys=states, action_key="action")
    numbers = np.concatenate([100 * number + np.arange(length) for number, length in enumerate(lengths)])
    np.testing.assert_array_equal(frames.state, np.repeat(numbers[:, None], 4, axis=1))
    np.testing.assert_array_equal(frames.action, np.repeat(numbers[:, None], 2, axis=1))
    np.testing.assert_array_equal(frames.episode, np.repeat(np.arange(len(lengths)), lengths))
    assert frames.fps == 10
