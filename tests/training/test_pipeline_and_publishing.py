"""Stages over several tasks, and finished policies becoming the shipped ones with what they came from."""

import csv
import json
import pathlib
import re
import shutil

import pytest

from rtc_bench import envs
from rtc_bench.common import errors
from rtc_bench.policies import checkpoint
from rtc_bench.training import flow_training, pipeline, publishing, settings


def test_all_means_every_task_and_a_failure_does_not_stop_the_others(monkeypatch):
    tasks = []

    def stage(config):
        tasks.append(config.task)
        if config.task in ("catapult", "trampoline"):
            raise checkpoint.CheckpointError("no expert")

    monkeypatch.setattr(pipeline.expert_data, "generate", stage)
    with pytest.raises(
        pipeline.Unfinished,
        match=rf"2 of {len(envs.TASKS)} tasks failed\. catapult: no expert \| trampoline: no expert",
    ):
        pipeline.generate_data(settings.GenerateDataConfig("all"))
    assert tuple(tasks) == envs.TASKS


def test_one_tasks_failure_is_told_as_it_is_and_a_wrong_name_before_anything_runs(monkeypatch):
    def stage(config):
        raise checkpoint.CheckpointError(config.task)

    monkeypatch.setattr(pipeline.expert_training, "train", stage)
    with pytest.raises(checkpoint.CheckpointError, match="mjc_walker"):
        pipeline.train_experts(settings.TrainExpertConfig("mjc_walker"))
    with pytest.raises(envs.tasks.UnknownTask, match="car_lunch"):
        pipeline.train_experts(settings.TrainExpertConfig(("mjc_walker", "car_lunch")))


@pytest.fixture
def finished(data, small_flow, tmp_path):
    """All three stages of one task, and where they are to be published."""
    config, manifest_file = data
    flow_training.train(small_flow(config, tmp_path, epochs=30, warmup=20, learning_rate=3e-3))
    for seed in (0, 1):
        log = "steps,start_solve_rate,solve_rate\n100,0.2,0.5\n200,0.9,0.95\n"
        (tmp_path / "experts" / "catapult" / f"seed{seed}.csv").write_text(log)
    folders = {name: str(tmp_path / name) for name in ("experts", "flow", "zoo", "out")}
    return settings.PublishZooConfig("catapult", data=config.out, **folders), manifest_file


def test_publishing_copies_the_policy_and_tells_where_it_came_from(finished, capsys):
    config, manifest_file = finished
    publishing.publish(config)
    policy_file = pathlib.Path(config.flow) / "catapult" / "catapult.safetensors"
    assert (pathlib.Path(config.zoo) / "catapult.safetensors").read_bytes() == policy_file.read_bytes()
    out = pathlib.Path(config.out)
    assert (out / "data" / "catapult.json").read_bytes() == manifest_file.read_bytes()
    (row,) = csv.DictReader((out / "zoo.csv").open())
    card, manifest = checkpoint.read_header(policy_file), json.loads(manifest_file.read_text())
    assert (row["task"], float(row["solve_rate"]), int(row["data_steps"])) == ("catapult", 1.0, manifest["steps"])
    assert float(row["ci_low"]) == pytest.approx(16 / (16 + 1.96**2), abs=1e-3)  # Wilson's bound for 16 of 16
    assert row["commit"] == card["versions"]["commit"]
    curves = list(csv.DictReader((out / "experts.csv").open()))
    assert [(point["seed"], point["steps"]) for point in curves] == [
        ("0", "100"),
        ("0", "200"),
        ("1", "100"),
        ("1", "200"),
    ]
    assert (out / "experts.png").stat().st_size > 1000
    assert "| catapult | 2, 2 | 1.000 to 1.000 |" in (out / "README.md").read_text()
    printed = capsys.readouterr().out
    assert "minutes: experts 2.0, data 0." in printed  # a minute each, as their files say
    assert "(before:" not in printed
    publishing.publish(config)
    assert "(before: 1.000 [0.806, 1.000])" in capsys.readouterr().out
    assert len(list(csv.DictReader((out / "zoo.csv").open()))) == 1  # its own row is replaced


def test_a_policy_of_other_data_is_not_published(finished):
    config, manifest_file = finished
    manifest = json.loads(manifest_file.read_text())
    manifest["parts"][0]["sha256"] = "0" * 64
    manifest_file.write_text(json.dumps(manifest))
    with pytest.raises(errors.ConfigError, match=r"trained on other data .*rtc-bench train-expert task=catapult && "):
        publishing.publish(config)
    assert not pathlib.Path(config.zoo).exists()


@pytest.mark.parametrize("missing", ["experts", "data", "flow"])
def test_what_is_not_finished_is_named(finished, missing):
    config, _ = finished
    shutil.rmtree(getattr(config, missing))
    with pytest.raises((errors.ConfigError, checkpoint.CheckpointError), match=r"catapult.*train"):
        publishing.publish(config)


ZOO = pathlib.Path(__file__).resolve().parents[2] / "results" / "zoo"


def test_the_zoo_is_complete_and_small():
    shipped = checkpoint.zoo_files()
    assert set(shipped) == set(envs.TASKS)
    assert sum(path.stat().st_size for path in shipped.values()) <= 12e6


@pytest.mark.parametrize("task", envs.TASKS)
def test_a_shipped_policy_fits_its_task_and_says_where_it_came_from(task):
    policy, card = checkpoint.load_flow(checkpoint.zoo_files()[task], **envs.make(task).signature)
    assert policy.config.horizon == 8
    assert policy.weak is not None  # for BID
    good = settings.GOOD_SOLVE_RATES.get(task, settings.GOOD_SOLVE_RATE)
    assert card["solve_rate"] >= good
    assert re.fullmatch("[0-9a-f]{40}", card["versions"]["commit"])  # of a clean checkout
    manifest = json.loads((ZOO / "data" / f"{task}.json").read_text())
    assert card["recipe"]["data"] == [part["sha256"] for part in manifest["parts"]]
    assert manifest["made_by"]["settings"]["sample"] == "policy"
    assert manifest["steps"] >= 500_000
    assert len({expert["seed"] for expert in manifest["experts"]}) >= 6  # of eight that were trained
    assert min(expert["solve_rate"] for expert in manifest["experts"]) >= good
    (row,) = (row for row in csv.DictReader((ZOO / "zoo.csv").open()) if row["task"] == task)
    assert (float(row["solve_rate"]), row["commit"]) == (
        pytest.approx(card["solve_rate"], abs=1e-4),
        card["versions"]["commit"],
    )
