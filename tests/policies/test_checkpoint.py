"""Checkpoint files: whole or absent, described by their header, refused with a reason."""

import errno
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from rtc_bench.policies import checkpoint, flow

CONFIG = flow.FlowConfig(5, 2, horizon=4, layers=2, channels=8, channel_hidden=12, token_hidden=6)
CARD = {"task": "catapult", "interface": "compact", "epochs": 3, "solve_rate": 0.5, "commit": "abc"}
FITTING = {"task": "catapult", "interface": "compact", "obs_size": 5, "action_size": 2}


def policy(*, weak=True):
    early = flow.init(jax.random.key(1), CONFIG) if weak else None
    mean, std = jnp.arange(5.0), jnp.arange(1.0, 6.0)
    return flow.FlowPolicy(flow.init(jax.random.key(0), CONFIG), CONFIG, mean, std, early)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "deep" / "policy.safetensors"
    checkpoint.save_flow(path, policy(), CARD)
    return path


@pytest.mark.parametrize("weak", [True, False])
def test_a_policy_comes_back_as_it_was(tmp_path, weak):
    path = tmp_path / "policy.safetensors"
    checkpoint.save_flow(path, policy(weak=weak), CARD)
    loaded, card = checkpoint.load_flow(path, **FITTING)
    assert jax.tree.structure(loaded) == jax.tree.structure(policy(weak=weak))
    for loaded_leaf, expected in zip(jax.tree.leaves(loaded), jax.tree.leaves(policy(weak=weak)), strict=True):
        np.testing.assert_array_equal(loaded_leaf, expected)
    assert {name: card[name] for name in CARD} == CARD
    assert checkpoint.read_header(path) == card


def test_the_header_is_json_in_one_metadata_key(saved):
    with safetensors.safe_open(saved, framework="numpy") as file:
        metadata = file.metadata()
    assert list(metadata) == [checkpoint.HEADER_KEY]
    head = json.loads(metadata[checkpoint.HEADER_KEY])
    assert (head["kind"], head["config"]["token_hidden"]) == ("flow", 6)


def test_the_same_policy_is_the_same_file(saved, tmp_path):
    checkpoint.save_flow(tmp_path / "again", policy(), CARD)
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"task": "catcher_v3"}, ["task 'catapult'", "not 'catcher_v3'", "give a checkpoint for"]),
        ({"interface": "kinetix"}, ["interface 'compact'", "not 'kinetix'"]),
        ({"obs_size": 35}, ["obs_size is 5", "has 35", "train it again"]),
        ({"action_size": 1}, ["action_size is 2", "has 1"]),
    ],
)
def test_a_checkpoint_for_something_else_is_refused(saved, wanted, words):
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.load_flow(saved, **{**FITTING, **wanted})
    for word in [str(saved), *words]:
        assert word in str(caught.value)


def test_a_checkpoint_cut_short_is_refused_wherever_it_is_cut(saved):
    data = saved.read_bytes()
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:length])
        with pytest.raises(checkpoint.CheckpointError, match=r"not a whole safetensors file.*copy or train it again"):
            checkpoint.load_flow(saved, **FITTING)


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(checkpoint.CheckpointError, match="no such checkpoint file"):
        checkpoint.load_flow(path, **FITTING)
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}))
    with pytest.raises(checkpoint.CheckpointError, match="not one of rtc_bench's"):
        checkpoint.load_flow(path, **FITTING)
    checkpoint.save(path, {"a": np.zeros(3)}, {"kind": "expert"})
    with pytest.raises(checkpoint.CheckpointError, match="holds a 'expert' checkpoint, not 'flow'"):
        checkpoint.load_flow(path, **FITTING)
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}, metadata={checkpoint.HEADER_KEY: "{"}))
    with pytest.raises(checkpoint.CheckpointError, match="header is damaged"):
        checkpoint.read_header(path)
    (tmp_path / "file.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(checkpoint.CheckpointError, match="pickles are not loaded; convert it once"):
        checkpoint.load_flow(tmp_path / "file.pkl", **FITTING)


@pytest.mark.parametrize("config", [None, {"obs_size": 5}, {"obs_size": 5, "action_size": 0}, {"colour": 3}])
def test_a_configuration_that_is_none_is_refused(tmp_path, config):
    path = tmp_path / "file.safetensors"
    checkpoint.save(path, checkpoint.flow_arrays(policy()), {**CARD, "kind": "flow", "config": config})
    with pytest.raises(checkpoint.CheckpointError, match="does not describe a flow policy"):
        checkpoint.load_flow(path, **FITTING)


def test_arrays_that_are_not_what_the_configuration_says_are_refused(saved):
    arrays, head = checkpoint.load(saved, kind="flow")
    arrays["weak"]["mlp_stack"]["1"]["adaln_1"]["bias"] = np.zeros(23, np.float32)
    checkpoint.save(saved, arrays, head)
    with pytest.raises(checkpoint.CheckpointError, match=r"weak/mlp_stack/1/adaln_1/bias is of shape \(23,\).*\(24,\)"):
        checkpoint.load_flow(saved, **FITTING)
    del arrays["weak"], arrays["params"]["out_proj"]
    checkpoint.save(saved, arrays, head)
    with pytest.raises(checkpoint.CheckpointError, match="params/out_proj/bias is absent"):
        checkpoint.load_flow(saved, **FITTING)


def test_a_full_disk_passes_through_and_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_flow(saved, policy(weak=False), CARD)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_file_in_the_way_of_a_folder_passes_through(saved):
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        checkpoint.save_flow(saved / "below", policy(), CARD)


def test_flatten_and_unflatten_are_inverse():
    tree = {"a": {"b": np.arange(3), "c": {"d": np.float32(2)}}, "e": np.ones((2, 2))}
    flat = checkpoint.flatten({**tree, "gone": None})
    assert list(flat) == ["a/b", "a/c/d", "e"]
    jax.tree.map(np.testing.assert_array_equal, checkpoint.unflatten(flat), tree)


def test_the_zoo_is_named_by_task(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "ZOO_FOLDER", tmp_path)
    assert checkpoint.zoo_files() == {}
    for name in ("mjc_walker.safetensors", "catapult.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    assert checkpoint.zoo_files() == {
        name: pathlib.Path(tmp_path / f"{name}.safetensors") for name in ("catapult", "mjc_walker")
    }


def test_every_shipped_policy_is_small_and_says_what_it_is():
    for task, path in checkpoint.zoo_files().items():
        head = checkpoint.read_header(path)
        assert (head["kind"], head["task"], head["interface"]) == ("flow", task, "compact")
        sizes = {name: head["config"][name] for name in ("obs_size", "action_size")}
        checkpoint.load_flow(path, task=task, interface="compact", **sizes)
        assert 0 < head["solve_rate"] <= 1
        assert path.stat().st_size < 4 * 2**20


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda leaf: leaf.astype(np.int32), r"in_proj/bias holds int32 numbers"),
        (lambda leaf: leaf * np.nan, r"in_proj/bias holds inf or nan"),
        (lambda leaf: leaf + np.inf, r"in_proj/bias holds inf or nan"),
    ],
)
def test_weights_are_finite_floating_point_numbers(saved, change, answer):
    arrays, header = checkpoint.load(saved, kind="flow")
    arrays["params"]["in_proj"]["bias"] = change(arrays["params"]["in_proj"]["bias"])
    checkpoint.save(saved, arrays, header)
    with pytest.raises(checkpoint.CheckpointError, match=answer):
        checkpoint.load_flow(saved, **FITTING)


def test_numbers_that_numpy_does_not_know_are_one_line(tmp_path):
    head = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "eight.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))
    with pytest.raises(checkpoint.CheckpointError, match="numbers of a kind that NumPy does not know"):
        checkpoint.load(tmp_path / "eight.safetensors", kind="flow")
