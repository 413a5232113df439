"""A policy, data and experts of the track, a task with an obvious solution."""

import types

import pytest
import track_files
import track_task

from rtc_bench import envs
from rtc_bench.method_training import settings


@pytest.fixture(autouse=True)
def on_track(monkeypatch):
    def make(name, noise_std=0.0, **rest):
        env = track_task.Track(noise_std, name=name)
        env.scene = types.SimpleNamespace(moving=[0])
        return env

    monkeypatch.setattr(envs, "make", make)


@pytest.fixture
def expert_saver():
    return track_files.save_expert


@pytest.fixture
def data_writer():
    return track_files.write_data


@pytest.fixture
def policy_saver():
    return track_files.save_policy


@pytest.fixture
def config(tmp_path, lenient):
    """Settings that train the shift, of a folder with policies/, data/ and experts/ of the track."""
    track_files.save_policy(tmp_path / "policies" / f"{track_files.TASK}.safetensors")
    track_files.save_expert(tmp_path / "experts" / track_files.TASK / "seed0.safetensors", 0.5)
    track_files.write_data(tmp_path / "data" / track_files.TASK)
    folders = {name: str(tmp_path / name) for name in ("data", "experts")}
    folders |= {"policy": str(tmp_path / "policies"), "out": str(tmp_path / "methods")}
    return settings.TrainMethodConfig(task=track_files.TASK, strategy="shift_strategy:Shift", **folders)
