"""LeRobot's format v3.0: what is written beside frames, and states and actions of data sets that others wrote."""

import json

import foreign_data
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from rtc_bench.common import errors
from rtc_bench.common.lerobot import columns, metadata, reader

KEYS = {"state_keys": ["observation.state"], "action_key": "action"}
LENGTHS = (3, 1, 4, 2)
TASKS = ("push", "pull")


@pytest.fixture
def written(tmp_path):
    """Two files of two episodes each, all of task 1, with what we write beside them."""
    rng = np.random.default_rng(1)
    episode = np.repeat(np.arange(4), LENGTHS)
    values = {"action": rng.normal(size=(10, 1)), "observation.state": rng.normal(size=(10, 3))}
    frames = {name: columns.column(value.astype(np.float32)) for name, value in values.items()}
    frames |= {"episode_index": episode, "index": np.arange(10), "task_index": np.ones(10, int)}
    table = pa.table({**frames, "next.done": np.append(np.diff(episode) > 0, True)})
    names = ["data/chunk-000/file-000.parquet", "data/chunk-000/file-001.parquet"]
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    for name, part in zip(names, (table[:4], table[4:]), strict=True):
        parquet.write_table(part, tmp_path / name)
    metadata.write(tmp_path, names, tasks=TASKS, fps=30)
    return tmp_path, {name: value.astype(np.float32).astype(float) for name, value in values.items()}, table


def test_the_information_is_what_format_v3_asks(written):
    folder, _, _ = written
    info = json.loads((folder / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": 4,
        "total_frames": 10,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 30,
        "splits": {"train": "0:4"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
    }
    assert features == {
        "action": {"dtype": "float32", "shape": [1], "names": None},
        "observation.state": {"dtype": "float32", "shape": [3], "names": None},
        **{name: {"dtype": "int64", "shape": [1], "names": None} for name in ("episode_index", "index", "task_index")},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
    }


def test_a_feature_of_one_number_is_a_plain_column(written):
    """LeRobot refuses lists of one number."""
    _, _, table = written
    assert table.schema.field("action").type == pa.float32()
    assert table.schema.field("observation.state").type == pa.list_(pa.float32(), 3)


def test_statistics_are_numpys(written):
    folder, values, table = written
    statistics = json.loads((folder / "meta/stats.json").read_text())
    assert statistics.keys() == set(table.column_names)
    for name, value in values.items():
        assert statistics[name].keys() == {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
        for key in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(statistics[name][key], getattr(value, key)(0))
        for percent in (1, 10, 50, 90, 99):
            np.testing.assert_allclose(statistics[name][f"q{percent:02d}"], np.percentile(value, percent, axis=0))
        assert statistics[name]["count"] == [10]
    assert statistics["next.done"]["mean"] == [0.4]


def test_tasks_are_rows_in_the_order_of_their_index(written):
    tasks = pd.read_parquet(written[0] / "meta/tasks.parquet")
    assert [tasks.iloc[index].name for index in range(2)] == list(TASKS)
    assert tasks["task_index"].tolist() == [0, 1]


def test_episodes_say_where_their_frames_lie(written):
    folder, values, _ = written
    table = parquet.read_table(folder / "meta/episodes/chunk-000/file-000.parquet")
    rows = {name: table[name].to_pylist() for name in table.column_names}
    assert rows["episode_index"] == [0, 1, 2, 3]
    assert rows["length"] == list(LENGTHS)
    assert rows["dataset_from_index"] == [0, 3, 4, 8]
    assert rows["dataset_to_index"] == [3, 4, 8, 10]
    assert rows["data/file_index"] == [0, 0, 1, 1]
    assert rows["tasks"] == [["pull"]] * 4
    for name in ("data/chunk_index", "meta/episodes/chunk_index", "meta/episodes/file_index"):
        assert rows[name] == [0] * 4
    for name, value in values.items():
        for number, (begin, end) in enumerate(zip((0, 3, 4, 8), (3, 4, 8, 10), strict=True)):
            for key in ("min", "max", "mean", "std"):
                expected = getattr(value[begin:end], key)(0)
                np.testing.assert_allclose(rows[f"stats/{name}/{key}"][number], expected, atol=1e-12)
            assert rows[f"stats/{name}/count"][number] == [end - begin]


def test_what_we_write_we_read(written):
    folder, values, _ = written
    frames = reader.load(folder, **KEYS)
    np.testing.assert_array_equal(frames.state, values["observation.state"])
    np.testing.assert_array_equal(frames.action, values["action"])


def test_a_foreign_data_set_of_several_chunks_is_read_in_order(tmp_path):
    folder = foreign_data.write(tmp_path)
    assert reader.is_data_set(folder)
    assert not reader.is_data_set(folder / "data")
    frames = reader.load(folder, state_keys=["observation.state", "observation.environment_state"], action_key="action")
    state, number, action, episode = foreign_data.frames()
    np.testing.assert_array_equal(frames.state, np.concatenate([state, number], axis=1))
    np.testing.assert_array_equal(frames.action, action)
    np.testing.assert_array_equal(frames.episode, episode)
    assert frames.state.dtype == frames.action.dtype == np.float32
    assert frames.fps == foreign_data.FPS
    assert len(set(frames.digests)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"codebase_version": "v2.1"},
            r"of format v2.1, v3.0 is read; convert it .*convert_dataset_v21_to_v30 .*--root=.* --repo-id=test_",
        ),
        ({"codebase_version": "v4.0"}, r"of format v4.0; give one of v3.0"),
        ({"total_frames": 80}, r"its 3 files in data/ hold 76 frames, meta/info.json says 80; copy or download it"),
        ({"fps": None}, r"info.json: damaged .*; copy or download it again"),
        (
            {"features": {"observation.images.top": {"dtype": "video", "shape": [9, 9, 3]}}},
            r"it holds no vectors; give",
        ),
    ],
)
def test_what_the_information_says_is_checked(tmp_path, changes, message):
    with pytest.raises(errors.ConfigError, match=message):
        reader.load(foreign_data.write(tmp_path, **changes), **KEYS)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"state_keys": ["observation.sate"]},
            r"state_key=observation.sate is no feature of .* \(did you mean 'observation.state'\?\); its vectors: "
            "observation.state, observation.environment_state, action$",
        ),
        (
            {"action_key": "observation.images.top"},
            r"action_key=observation.images.top is video of shape \[96, 96, 3\]",
        ),
    ],
)
def test_features_that_are_no_vectors_are_refused_with_those_that_are(tmp_path, keys, message):
    with pytest.raises(errors.ConfigError, match=message):
        reader.load(foreign_data.write(tmp_path), **{**KEYS, **keys})


def _rewrite(folder, change):
    path = folder / "data/chunk-000/file-001.parquet"
    parquet.write_table(change(parquet.read_table(path)), path)


def _with_action(table, values):
    return table.set_column(table.column_names.index("action"), "action", pa.array(values))


DAMAGES = {
    r"file-001.parquet: not a whole Parquet file but torn": lambda folder: (
        folder / "data/chunk-000/file-001.parquet"
    ).write_bytes(b"PAR1" + bytes(50)),
    r"file-001.parquet: not a whole Parquet file but a Git LFS pointer": lambda folder: (
        folder / "data/chunk-000/file-001.parquet"
    ).write_text("version https://git-lfs.github.com/spec/v1\n"),
    r"its 2 files in data/ hold 65 frames": lambda folder: (folder / "data/chunk-000/file-001.parquet").unlink(),
    r"file-001.parquet: has no column 'action', which": lambda folder: _rewrite(
        folder, lambda table: table.drop_columns(["action"])
    ),
    r"action has gaps": lambda folder: _rewrite(
        folder, lambda table: _with_action(table, [None] + [[1.0, 2.0]] * (len(table) - 1))
    ),
    r"action has vectors of several lengths": lambda folder: _rewrite(
        folder, lambda table: _with_action(table, [[1.0]] + [[1.0, 2.0]] * (len(table) - 1))
    ),
    r"action holds inf or nan in frame 23": lambda folder: _rewrite(
        folder, lambda table: _with_action(table, [[1.0, np.nan]] * len(table))
    ),
    r"not in the order of their `index`": lambda folder: _rewrite(
        folder, lambda table: table.take(list(range(10, -1, -1)))
    ),
    r"info.json: not there, so no whole": lambda folder: (folder / "meta/info.json").unlink(),
    r"info.json: damaged": lambda folder: (folder / "meta/info.json").write_text("{"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_named_with_its_remedy(tmp_path, message):
    folder = foreign_data.write(tmp_path)
    DAMAGES[message](folder)
    with pytest.raises(errors.ConfigError, match=message) as caught:
        reader.load(folder, **KEYS)
    assert "again" in str(caught.value) or "leave that episode out" in str(caught.value)
    assert "\n" not in str(caught.value)
