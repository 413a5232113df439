"""Data that others read: what is recorded is a LeRobot data set, older recordings become one; and policies of foreign data."""

import dataclasses
import json
import pathlib
import shutil

import foreign_data
import jax
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from rtc_bench import envs
from rtc_bench.commands import command_line
from rtc_bench.common import errors, files
from rtc_bench.common.lerobot import reader
from rtc_bench.policies import checkpoint, normalised
from rtc_bench.training import expert_data, flow_training, pipeline, settings


def test_what_is_recorded_is_a_lerobot_data_set(data):
    config, manifest_file = data
    folder = manifest_file.parent
    steps, manifest = expert_data.load(config.out, "catapult")
    names = [part["file"] for part in manifest["parts"]]
    assert names == [f"data/chunk-000/file-{number:03d}.parquet" for number in range(len(names))]
    assert len(names) > 1
    info = json.loads((folder / "meta/info.json").read_text())
    columns = parquet.read_schema(folder / names[0]).names
    assert list(info["features"]) == columns
    assert {"timestamp", "frame_index", "episode_index", "index", "task_index"} <= set(columns)
    assert (info["total_frames"], info["total_episodes"], info["fps"]) == (manifest["steps"], manifest["episodes"], 30)
    rows = parquet.read_table(folder / "meta/episodes/chunk-000/file-000.parquet")
    index = np.concatenate([parquet.read_table(folder / name)["index"].to_numpy() for name in names])
    np.testing.assert_array_equal(index, np.arange(manifest["steps"]))  # goes on from file to file
    np.testing.assert_array_equal(np.bincount(steps.episode), rows["length"].to_numpy())
    assert rows["tasks"].to_pylist() == [["catapult"]] * manifest["episodes"]
    task = envs.TASKS.index("catapult")
    assert parquet.read_table(folder / names[0])["task_index"].to_pylist()[0] == task
    assert parquet.read_table(folder / "meta/tasks.parquet").to_pandas().iloc[task].name == "catapult"
    frames = reader.load(folder, state_keys=["observation.state"], action_key="action")
    np.testing.assert_array_equal(frames.state, steps.obs)


def as_recorded_before(folder):
    """What earlier versions left: parts beside the manifest, lists of one action, nothing for LeRobot."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for number, part in enumerate(manifest["parts"]):
        table = parquet.read_table(folder / part["file"])
        actions = pa.FixedSizeListArray.from_arrays(table["action"].combine_chunks(), 1)
        part.pop("file_sha256", None)
        part["file"] = f"part-{number:04d}.parquet"
        files.write_parquet(folder / part["file"], table.set_column(1, "action", actions))
        part["sha256"] = files.sha256(folder / part["file"])
    files.write_manifest(folder / "manifest.json", manifest)
    shutil.rmtree(folder / "data")
    shutil.rmtree(folder / "meta")
    return [part["sha256"] for part in manifest["parts"]]


@pytest.fixture
def unplayed(data, monkeypatch):
    """Data that were recorded; from now on nothing plays."""

    def refuse(*_, **__):
        raise AssertionError("it plays")

    monkeypatch.setattr(expert_data, "Recorder", refuse)
    return data


def test_an_older_recording_becomes_one_without_playing_and_keeps_its_digests(unplayed):
    config, manifest_file = unplayed
    folder = manifest_file.parent
    before, manifest = expert_data.load(config.out, "catapult")
    info = (folder / "meta/info.json").read_bytes()
    digests = as_recorded_before(folder)
    np.testing.assert_array_equal(expert_data.load(config.out, "catapult")[0].action, before.action)
    expert_data.generate(config)
    after, manifest = expert_data.load(config.out, "catapult")
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert [part["sha256"] for part in manifest["parts"]] == digests  # which policies' recipes hold
    assert (folder / "meta/info.json").read_bytes() == info
    assert not list(folder.glob("part-*"))
    np.testing.assert_array_equal(
        reader.load(folder, state_keys=["observation.state"], action_key="action").action, before.action
    )


def test_a_conversion_that_is_killed_anywhere_goes_on(unplayed, monkeypatch):
    """After any number of files written, the data can be read, and the next try ends with the whole data set."""
    config, manifest_file = unplayed
    info_file = manifest_file.parent / "meta/info.json"
    before, manifest = expert_data.load(config.out, "catapult")
    write_whole, needed = files.write_whole, len(manifest["parts"]) + 1 + 4  # the manifest, and four files in meta/
    for writes in range(needed):
        as_recorded_before(manifest_file.parent)
        done = []

        def dies(path, content, done=done, writes=writes):
            if len(done) == writes:
                raise KeyboardInterrupt
            done.append(path)
            write_whole(path, content)

        with monkeypatch.context() as patched:
            patched.setattr(files, "write_whole", dies)
            with pytest.raises(KeyboardInterrupt):
                expert_data.generate(config)
        assert not info_file.exists()
        np.testing.assert_array_equal(expert_data.load(config.out, "catapult")[0].obs, before.obs)
        expert_data.generate(config)
        np.testing.assert_array_equal(expert_data.load(config.out, "catapult")[0].obs, before.obs)
        assert info_file.exists()


def test_a_new_recording_leaves_nothing_of_a_longer_one(data):
    config, manifest_file = data
    before = len(json.loads(manifest_file.read_text())["parts"])
    expert_data.generate(dataclasses.replace(config, steps=100))
    manifest = json.loads(manifest_file.read_text())
    assert len(manifest["parts"]) < before
    assert len(list(manifest_file.parent.glob("data/*/*.parquet"))) == len(manifest["parts"])
    assert json.loads((manifest_file.parent / "meta/info.json").read_text())["total_frames"] == manifest["steps"]


@pytest.fixture
def foreign(tmp_path, lenient):
    """Settings that train a small policy of a foreign data set, whose actions its state tells."""
    folder = foreign_data.write(tmp_path / "pusht")
    small = {"channels": 16, "channel_hidden": 32, "token_hidden": 8, "layers": 1, "batch": 16, "weak_epoch": 1}
    return settings.TrainFlowConfig(
        "pusht", data=str(folder), out=str(tmp_path / "flow"), epochs=60, warmup=10**6, **small
    )


def test_a_policy_of_foreign_data_plans_in_the_datas_units(foreign):
    both = ["observation.state", "observation.environment_state"]
    foreign = dataclasses.replace(foreign, learning_rate=5e-3, state_key=both)
    pipeline.train_flows(foreign)
    path = pathlib.Path(foreign.out) / "pusht" / "pusht.safetensors"
    policy = normalised.load(path)
    state, number, action, episode = foreign_data.frames()
    state = np.concatenate([state, number], axis=1)
    card = checkpoint.read_header(path)
    assert (card["config"]["obs_size"], card["config"]["action_size"], card["config"]["horizon"]) == (4, 2, 8)
    assert card["data"]["episodes"] == len(foreign_data.LENGTHS)
    assert "solve_rate" not in card
    np.testing.assert_allclose(policy.action_mean, action.mean(0), rtol=1e-5)
    np.testing.assert_allclose(policy.action_std, action.std(0), rtol=1e-5)
    chunk = policy.sample(state, jax.random.normal(jax.random.key(0), (len(state), 8, 2)))
    error = np.abs(np.asarray(chunk[:, 0]) - action)
    assert (np.median(error, axis=0) < 0.3 * action.std(0)).all()  # in pixels, and in millimetres
    np.testing.assert_allclose(policy.in_data_units(policy.normalised(chunk)), chunk, rtol=1e-4, atol=1e-4)
    last = np.append(episode[1:] != episode[:-1], True)
    error = np.abs(np.asarray(chunk)[last] - action[last][:, None])
    assert (error.mean((0, 1)) < 0.4 * action.std(0)).all()  # the last action is held
    before = path.stat().st_mtime_ns
    pipeline.train_flows(dataclasses.replace(foreign, eval_episodes=7))  # the same policy: nothing is evaluated
    assert path.stat().st_mtime_ns == before


def test_small_numbers_are_scaled_up_and_constants_are_left_alone():
    alternating = np.tile([-1.0, 1.0], 50)
    values = np.stack([1e-4 * alternating, 700 + 0.05 * alternating, np.full(100, 700.0)], axis=1).astype(np.float32)
    values[::2, 2] = np.nextafter(np.float32(700), np.float32(701))
    np.testing.assert_allclose(flow_training.deviation(values), [1e-4, 0.05, 1.0], rtol=1e-3)


def test_the_recipe_of_our_own_data_is_as_it_was(data, small_flow, tmp_path):
    """Or every policy that was trained before would be trained again."""
    config = small_flow(data[0], tmp_path)
    card = checkpoint.read_header(flow_training.train(config))
    left_out = {"out", "data", "state_key", "action_key", "launcher"}
    assert card["recipe"]["settings"].keys() == dataclasses.asdict(config).keys() - left_out
    assert card["recipe"].keys() == {"settings", "data"}
    shipped = checkpoint.read_header(checkpoint.zoo_files()["catapult"])
    assert card["recipe"]["settings"].keys() == shipped["recipe"]["settings"].keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "mjc_walker"}, "task=mjc_walker is a task of ours, and data=.* is itself a LeRobot data set"),
        ({"task": ["a", "b"]}, r"task=\['a', 'b'\] cannot name a policy; give one name"),
        ({"task": "../a"}, "task='../a' cannot name a policy"),
        ({"data": "nowhere"}, "data=nowhere: no such folder; make it with .*or give a LeRobot data set"),
    ],
)
def test_what_cannot_be_trained_is_refused(foreign, changes, message):
    with pytest.raises(errors.ConfigError, match=message):
        pipeline.train_flows(dataclasses.replace(foreign, **changes))


@pytest.mark.parametrize("key", [3, [], ["a", 1]])
def test_a_state_that_is_no_feature_is_refused(key):
    with pytest.raises(errors.ConfigError, match=r"state_key=.* names no feature; give a name or a list of names"):
        settings.TrainFlowConfig("pusht", state_key=key)


def test_a_policy_of_our_own_has_no_units_to_turn_into():
    with pytest.raises(checkpoint.CheckpointError, match="'compact', whose actions are not normalised; load it with"):
        normalised.load(checkpoint.zoo_files()["catapult"])


def test_a_command_trains_one_and_a_sweep_of_it_is_refused(foreign, capfd):
    """From the command line on."""

    def command(name, *arguments):
        with pytest.raises(SystemExit) as left:
            command_line.run(name, list(arguments))
        return left.value.code, capfd.readouterr().err

    sizes = ("channels=8", "layers=1", "batch=32", "epochs=1", "weak_epoch=1")
    folders = (f"data={foreign.data}", f"out={foreign.out}")
    status, _ = command("train-flow", "task=pusht", *folders, *sizes)
    assert status == 0
    policy = f"policy={foreign.out}/pusht/pusht.safetensors"
    status, printed = command("sweep", policy, f"out={foreign.out}/sweep")
    assert status == 2
    assert "is for pusht: no task of ours; give one that is" in printed
    status, printed = command("sweep", "task=catapult", policy, f"out={foreign.out}/sweep")
    assert status == 2
    assert "made for task 'pusht', not 'catapult'" in printed
