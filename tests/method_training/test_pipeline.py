"""From settings to weights, and on to a sweep: several strategies, a foreign one from a file, and what is refused."""

import dataclasses
import pathlib
import shutil

import pytest
import shift_strategy

from rtc_bench.common import errors
from rtc_bench.evaluation import run_folder, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.method_training import pipeline, settings
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import contract, registry

BROKEN = """
import dataclasses
import jax.numpy as jnp
import shift_strategy

class Vector(shift_strategy.Shift):
    def loss(self, policy, weights, batch, key):  # Vector
        return weights["shift"][0]

class Typo(shift_strategy.Shift):
    training = dataclasses.replace(shift_strategy.Shift.training, name="typo")

    def loss(self, policy, weights, batch, key):
        return batch.observation.sum()  # Typo

class Bare(shift_strategy.Shift):
    def initial_weights(self, policy, key):  # Bare
        return jnp.zeros(3)

class Whole(shift_strategy.Shift):
    def initial_weights(self, policy, key):  # Whole
        return {"shift": jnp.zeros((1, 1), int)}

class Twin(shift_strategy.Shift):
    pass
"""


def sweep_of(config, folder, **changes):
    """Settings of a sweep that plays what ``config`` trained."""
    values = {"task": config.task, "strategy": config.strategy, "policy": config.policy, "weights": config.out}
    values |= {"delay": [0, 1], "episodes": 4, "out": str(folder)}
    return evaluation_settings.SweepConfig(**{**values, **changes})


def test_a_foreign_strategy_is_trained_and_then_swept(config, tmp_path, capsys):
    """From a file outside the repository, beside one that learns nothing."""
    file = tmp_path / "mine" / "own.py"
    file.parent.mkdir()
    shutil.copy(shift_strategy.__file__, file)
    config = dataclasses.replace(config, strategy=f"{file}:Shift")
    sweep_config = sweep_of(config, tmp_path / "run", strategy=("naive", config.strategy))
    with pytest.raises(errors.ConfigError, match=rf"weights={config.out}: {config.out} is no folder"):
        sweeps.prepare(sweep_config)
    pathlib.Path(config.out).mkdir()
    with pytest.raises(errors.ConfigError, match=r"train them: rtc-bench train-method task=catapult"):
        sweeps.prepare(sweep_config)
    pipeline.train_methods(config)
    weights = pathlib.Path(config.out) / "shift" / "catapult.safetensors"
    assert f"-> {weights}" in capsys.readouterr().out
    sweep = sweeps.prepare(sweep_config)
    assert {"policy catapult", "weights shift catapult", "strategy Shift"} == set(sweep.identity)
    assert sweeps.fill_run_folder(sweep, tmp_path / "run")
    rows = run_folder.load([tmp_path / "run"]).rows
    assert [(row.strategy, row.delay, row.episodes) for row in rows] == [
        (name, delay, 4) for name in ("naive", "Shift") for delay in (0, 1)
    ]
    # Other weights are another run.
    pipeline.train_methods(dataclasses.replace(config, epochs=1))
    with pytest.raises(errors.ConfigError, match=r"holds a run with weights shift catapult="):
        sweeps.fill_run_folder(sweeps.prepare(sweep_config), tmp_path / "run")


def test_two_classes_of_one_stage_name_share_no_weights(config, tmp_path):
    """They are of one file, so that its digest does not tell them apart."""
    file = tmp_path / "own.py"
    file.write_text(pathlib.Path(shift_strategy.__file__).read_text() + "\n\nclass Other(Shift):\n    pass\n")
    config = dataclasses.replace(config, strategy=f"{file}:Shift", epochs=1)
    pipeline.train_methods(config)
    other = dataclasses.replace(config, strategy=f"{file}:Other")
    for call in (lambda: pipeline.train_methods(other), lambda: sweeps.prepare(sweep_of(other, tmp_path / "run"))):
        with pytest.raises(checkpoint.CheckpointError, match="holds what the class Shift learned, not Other"):
            call()


def test_weights_that_lie_one_folder_deeper_are_pointed_at(config, tmp_path):
    pipeline.train_methods(dataclasses.replace(config, out=str(tmp_path / "runs" / "methods"), epochs=1))
    runs = tmp_path / "runs"
    with pytest.raises(errors.ConfigError, match=f"weights={runs} holds none of shift; give weights={runs}/methods"):
        sweeps.prepare(sweep_of(config, tmp_path / "run", weights=str(runs)))


def test_help_names_all_that_learn():
    text = (pathlib.Path(__file__).parents[2] / "configs" / "train_method.yaml").read_text()
    assert f"Those that learn: {', '.join(registry.trained_names())};" in text


def test_a_changed_file_is_trained_again(config, tmp_path):
    file = tmp_path / "own.py"
    shutil.copy(shift_strategy.__file__, file)
    config = dataclasses.replace(config, strategy=f"{file}:Shift", epochs=1)
    weights = pathlib.Path(config.out) / "shift" / "catapult.safetensors"
    stamps = []
    for change in ("", "", "\nSCALE = 2.0\n"):
        file.write_text(file.read_text() + change)
        pipeline.train_methods(config)
        stamps.append(weights.stat().st_mtime_ns)
    assert stamps[0] == stamps[1] < stamps[2]


def test_all_that_learn_are_trained():
    config = settings.TrainMethodConfig(task="catapult")
    names = pipeline._sweep_config(config).strategies
    assert names == registry.trained_names()
    assert "tt_rtc" in names
    assert not {"naive", "rtc", "oracle"} & set(names)
    assert list(pipeline._strategies(config, pipeline._sweep_config(config))) == list(names)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"strategy": "naive"}, "strategy=naive has no training stage.*those that learn: tt_rtc, soft_rtc"),
        ({"strategy": ("shift_strategy:Shift", "rtc")}, "strategy=rtc has no training stage"),
        ({"batch": 100_000_000}, "batch=100000000 is too large; it must be 65536 or less"),
        ({"strategy": "tt_rtcc"}, r"unknown strategy 'tt_rtcc' \(did you mean 'tt_rtc'\?\)"),
        ({"strategy": "gone.py:Mine"}, "'gone.py:Mine' cannot be imported: no such file"),
        ({"task": "catapul"}, "unknown task 'catapul'; did you mean 'catapult'"),
        ({"task": "car_launch"}, "task 'car_launch' has no policy"),
        ({"policy": "gone.safetensors"}, "gone.safetensors: no such checkpoint file"),
        ({"data": "/nowhere"}, r"/nowhere/catapult: no manifest.json.*generate-data task=catapult"),
        (
            {"options": {"Shift": {"shar": 2.0}}},
            r"^options.Shift.shar: .*has no option 'shar' \(did you mean 'share'\?\)",
        ),
        ({"options": {"Shift": {"share": "x"}}}, r"^options.Shift.share='x' is not a number"),
        ({"options": {"Shfit": {"share": 2.0}}}, r"options.Shfit is set.*\(did you mean 'Shift'\?\)"),
        ({"strategy": "a2c2", "experts": "/nowhere"}, r"no expert of catapult in /nowhere.*train-expert"),
        ({"strategy": ("shift_strategy:Shift", "broken.py:Twin")}, "Shift and Twin both name their weights 'shift'"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(config, tmp_path, monkeypatch, changes, answer):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("broken.py").write_text(BROKEN)
    refused = (errors.ConfigError, checkpoint.CheckpointError, ValueError)
    with pytest.raises(refused, match=answer) as raised:
        pipeline.train_methods(dataclasses.replace(config, **changes))
    assert len(str(raised.value).splitlines()) == 1
    assert type(raised.value).__module__.startswith("rtc_bench")  # or the door would let the traceback through
    assert not pathlib.Path(config.out).exists()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Vector", r"loss must return a number \[\], float32\[\]; it returns float32\[1\]"),
        ("Typo", "AttributeError: 'Batch' object has no attribute 'observation'"),
        ("Bare", r"initial_weights must return a dict of float32 arrays.*it returns float32\[3\]"),
        ("Whole", "initial_weights must return a dict of float32 arrays"),
    ],
)
def test_a_stage_that_breaks_a_rule_is_named_with_its_line(config, tmp_path, name, rule):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    line = 1 + next(number for number, text in enumerate(BROKEN.splitlines()) if text.endswith(f"# {name}"))
    with pytest.raises(contract.BrokenStrategy, match=rf"broken.py:{line}, {name}.*{rule}") as raised:
        pipeline.train_methods(dataclasses.replace(config, strategy=f"{file}:{name}"))
    assert len(str(raised.value).splitlines()) == 1
    assert not pathlib.Path(config.out).exists()


def test_all_stages_are_checked_before_one_is_trained(config, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    both = dataclasses.replace(config, strategy=(config.strategy, f"{tmp_path / 'broken.py'}:Typo"))
    with pytest.raises(contract.BrokenStrategy, match="Typo"):
        pipeline.train_methods(both)
    assert not pathlib.Path(config.out).exists()


def test_one_that_fails_does_not_hold_up_the_others(config, tmp_path, capsys):
    """The experts are missing, which the second alone needs."""
    both = dataclasses.replace(config, strategy=("shift_strategy:Shift", "a2c2"), experts="/nowhere")
    with pytest.raises(pipeline.Unfinished, match=r"1 of 2 failed. catapult, a2c2: no expert of catapult"):
        pipeline.train_methods(both)
    assert (pathlib.Path(config.out) / "shift" / "catapult.safetensors").exists()
    assert "catapult, Shift: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"epochs": 0}, "epochs=0 is too small"),
        ({"batch": 0}, "batch=0 is too small"),
        ({"rollout_steps": 0}, "rollout_steps=0 is too small"),
        ({"noise_std": -1.0}, "noise_std=-1.0 is too small"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is out of range"),
        ({"strategy": ()}, "strategy=.* is empty"),
        ({"seed": -1}, "seed=-1 is out of range"),
        ({"epoch": 3}, "unknown setting 'epoch'.*did you mean 'epochs'"),
    ],
)
def test_wrong_settings_are_named(values, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        settings.TrainMethodConfig.from_mapping({"task": "catapult", **values})


def test_the_sweep_looks_where_training_leaves_weights():
    assert settings.TrainMethodConfig("catapult").out == evaluation_settings.SweepConfig().weights
    assert pathlib.Path(settings.TrainMethodConfig("catapult").out).name == sweep_inputs.METHODS
