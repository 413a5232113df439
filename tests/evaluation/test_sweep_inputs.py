"""Which checkpoints a sweep takes, which weights, and which delays each strategy plays."""

import dataclasses

import line_task
import numpy as np
import pytest
import track_task

from rtc_bench import envs
from rtc_bench.common import errors, files
from rtc_bench.evaluation import settings, sweep, sweep_inputs
from rtc_bench.policies import checkpoint


def test_a_folder_holds_policies_flat_or_as_training_leaves_them(tmp_path):
    for policy_path in (
        "flow/mjc_walker/mjc_walker",
        "flow/mjc_walker/resume",
        "flow/car_launch/car_launch",
        "flat/catapult",
    ):
        checkpoint.save(tmp_path / f"{policy_path}.safetensors", {}, {"kind": "flow"})
    checkpoint_paths = sweep_inputs.checkpoint_files(settings.SweepConfig(policy=str(tmp_path / "flow")))
    assert list(checkpoint_paths) == ["mjc_walker", "car_launch"]  # in the tasks' order
    assert checkpoint_paths["mjc_walker"] == tmp_path / "flow" / "mjc_walker" / "mjc_walker.safetensors"
    assert list(sweep_inputs.checkpoint_files(settings.SweepConfig(policy=str(tmp_path / "flat")))) == ["catapult"]
    with pytest.raises(errors.ConfigError, match=r"holds no <task>.safetensors"):
        sweep_inputs.checkpoint_files(settings.SweepConfig(policy=str(tmp_path)))


SPEC = "shift_strategy:Shift"


@pytest.fixture
def shelf(monkeypatch, tmp_path):
    """A policy for the track in policies/catapult.safetensors, and sweep settings for a strategy that learns."""
    monkeypatch.setattr(envs, "make", lambda name, noise_std=0.0, **rest: track_task.Track(noise_std, name=name))
    save_policy(tmp_path / "policies")
    config = settings.SweepConfig(
        task="catapult", strategy=SPEC, policy=str(tmp_path / "policies"), weights=str(tmp_path / "weights")
    )
    return config, tmp_path


def save_policy(folder, scale=1.0):
    policy = dataclasses.replace(line_task.policy(obs_size=7), obs_std=np.full(7, scale, np.float32))
    checkpoint.save_flow(folder / "catapult.safetensors", policy, {"task": "catapult", "interface": "compact"})
    return files.sha256(folder / "catapult.safetensors")[:12]


def save_weights(folder, policy, shift=0.25, share=1.0, shape=(1, 1), name="shift", flow_steps=5, **code):
    recipe = {"policy": policy, "options": {"share": share, "flow_steps": flow_steps}, **code}
    file = checkpoint.weights_file(folder, "shift", "catapult")
    checkpoint.save_weights(file, {name: np.full(shape, shift)}, {"task": "catapult", "recipe": recipe})


def loaded(config):
    strategies = sweep_inputs.build_strategies(config)
    (path,) = sweep_inputs.checkpoint_files(config).values()
    return sweep_inputs.load_task_policy(config, "catapult", path, strategies), strategies


def digest_of(config):
    (path,) = sweep_inputs.checkpoint_files(config).values()
    return files.sha256(path)[:12]


@pytest.mark.parametrize("folder", ["weights", "policies/methods", "methods"])
def test_weights_are_found_and_their_digest_is_part_of_a_result_s_identity(shelf, folder):
    config, path = shelf
    save_weights(path / folder, digest_of(config))
    task_policy, strategies = loaded(config)
    assert task_policy.policy.weights["shift"]["shift"].tolist() == [[0.25]]
    file = path / folder / "shift" / "catapult.safetensors"
    identity = sweep_inputs.digests({"catapult": task_policy}, strategies)
    assert identity["weights shift catapult"] == files.sha256(file)[:12]
    assert identity["policy catapult"] == task_policy.digest


def test_of_several_weights_those_for_this_policy_are_taken(shelf):
    config, path = shelf
    save_weights(path / "weights", "another", shift=0.5)
    save_weights(path / "policies" / "methods", digest_of(config), shift=0.75)
    assert loaded(config)[0].policy.weights["shift"]["shift"].tolist() == [[0.75]]
    save_weights(path / "weights", digest_of(config), shift=1.0)  # both fit: the folder that is named comes first
    assert loaded(config)[0].policy.weights["shift"]["shift"].tolist() == [[1.0]]


def test_of_several_weights_those_are_taken_that_fit_in_all(shelf, capsys):
    config, path = shelf
    (strategy,) = sweep_inputs.build_strategies(config).values()
    folders, code = (path / "weights", path / "policies" / "methods", path / "methods"), {"code": "older"}
    save_weights(folders[0], digest_of(config), shift=0.5, share=0.5)
    save_weights(folders[1], digest_of(config), shift=0.75, **code)
    assert loaded(config)[0].policy.weights["shift"]["shift"].tolist() == [[0.75]]  # of the code alone it is only told
    save_weights(folders[2], digest_of(config), shift=1.0, code=sweep_inputs.code_digest(strategy))
    capsys.readouterr()
    assert loaded(config)[0].policy.weights["shift"]["shift"].tolist() == [[1.0]]
    assert not capsys.readouterr().out
    save_weights(folders[0], digest_of(config), shift=1.25, code=sweep_inputs.code_digest(strategy))
    assert loaded(config)[0].policy.weights["shift"]["shift"].tolist() == [[1.25]]
    assert capsys.readouterr().out == f"catapult: Shift acts by {folders[0] / 'shift' / 'catapult.safetensors'}\n"


def test_a_strategy_that_learns_nothing_needs_no_weights(shelf):
    task_policy, strategies = loaded(dataclasses.replace(shelf[0], strategy="naive"))
    assert (task_policy.policy.weights, task_policy.weights) == ({}, {})
    assert list(sweep_inputs.digests({"catapult": task_policy}, strategies)) == ["policy catapult"]


def test_missing_weights_are_told_with_the_command_that_trains_them(shelf):
    config, path = shelf
    with pytest.raises(errors.ConfigError) as raised:
        loaded(config)
    message = str(raised.value)
    assert message.startswith("Shift needs weights that it learns for the policy of catapult")
    assert f"rtc-bench train-method task=catapult strategy={SPEC} policy={path / 'policies'}" in message
    assert str(path / "weights") in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        (
            {"policy": "another"},
            r"trained for policy another, not \w{12}; train it again: rtc-bench train-method task=",
        ),
        ({"share": 0.5}, r"trained for options {.*'share': 0.5}, not {.*'share': 1.0}; train it again"),
        ({"flow_steps": 3}, r"trained for options {'flow_steps': 3, .*}, not {'flow_steps': 5, .*}; train it again"),
        ({"shape": (1, 2)}, r"shift is of shape \(1, 2\), its configuration says of shape \(1, 1\)"),
        ({"name": "offset"}, r"offset is of shape \(1, 1\), its configuration says absent"),
        ({"shift": np.nan}, "shift holds inf or nan; train it again"),
        ({"shift": 1e6}, "shift holds inf or nan; train it again"),  # beyond half precision
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_weights_of_something_else_are_refused(shelf, changes, answer):
    config, path = shelf
    save_weights(path / "weights", **{"policy": digest_of(config), **changes})
    with pytest.raises(checkpoint.CheckpointError, match=answer) as raised:
        loaded(config)
    assert str(raised.value).startswith(str(path / "weights" / "shift" / "catapult.safetensors"))
    assert len(str(raised.value).splitlines()) == 1


def test_a_policy_is_not_taken_for_weights(shelf):
    config, path = shelf
    file = path / "weights" / "shift" / "catapult.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes((path / "policies" / "catapult.safetensors").read_bytes())
    with pytest.raises(checkpoint.CheckpointError, match="holds a 'flow' checkpoint, not 'weights'"):
        loaded(config)


@pytest.mark.parametrize(
    ("base", "training", "answer"),
    [
        ("shift_strategy.Shift", "'shift'", r"Mine.training is 'shift'; write training = base.TrainingStage\(...\)"),
        ("tt_rtc.TtRtc", "tt_rtc.TtRtc.training", "Mine.training is named 'tt_rtc', as a built-in strategy's"),
    ],
)
def test_a_wrong_training_stage_is_told_before_anything_is_loaded(tmp_path, base, training, answer):
    file = tmp_path / "own.py"
    imports = "import shift_strategy\nfrom rtc_bench.strategies.trained import tt_rtc\n"
    file.write_text(f"{imports}class Mine({base}):\n    training = {training}\n")
    with pytest.raises(errors.ConfigError, match=answer):
        sweep_inputs.build_strategies(settings.SweepConfig(strategy=f"{file}:Mine"))


def pairs(delay, horizon, *names, chunk=8):
    config = settings.SweepConfig(strategy=names, delay=delay, horizon=horizon)
    return sweep_inputs.delay_horizon_pairs(config, chunk, sweep_inputs.build_strategies(config))


def test_every_strategy_plays_the_delays_that_its_timing_admits():
    played = pairs("0..7", "auto", "naive", "synchronous", "oracle")
    assert played["naive"] == ((0, 1), (1, 1), (2, 2), (3, 3), (4, 4))
    assert played["synchronous"] == played["oracle"] == ((0, 1), *((d, d) for d in range(1, 8)))
    assert [len(own) for own in pairs("0..4", "all", "naive", "oracle").values()] == [24, 8 + 8 + 7 + 6 + 5]
    assert pairs(4, 6, "naive", "oracle") == {"naive": (), "oracle": ((4, 6),)}


def test_every_strategy_that_leaves_a_delay_out_is_named(capsys):
    config = settings.SweepConfig(
        task="h17_unicycle", strategy=("naive", "tt_rtc", "oracle"), delay=(0, 5, 7), episodes=1
    )
    sweep.prepare(config)
    lines = [line for line in capsys.readouterr().out.splitlines() if "is not played by" in line]
    assert [line.partition(":")[0] for line in lines] == [f"d = {d} is not played by naive, tt_rtc" for d in (5, 7)]


@pytest.mark.parametrize(
    ("delay", "horizon", "names", "answer"),
    [
        ("0..8", "auto", ("naive", "oracle"), r"delay=8 does not fit a chunk of 8"),
        ("0..5", "auto", ("naive", "rtc"), r"delay=5 .*valid: 0\.\.4"),
        (8, "auto", ("synchronous",), r"delay=8 does not fit a chunk of 8 \(d <= s <= 8\); valid: 0\.\.7"),
        (3, 9, ("synchronous",), r"horizon=9 does not fit delay=3 .*valid for delay=3: 3\.\.8"),
    ],
)
def test_a_delay_that_no_strategy_plays_is_refused(delay, horizon, names, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        pairs(delay, horizon, *names)
