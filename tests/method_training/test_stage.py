"""A training stage: it learns, goes on after a kill, and is done again where something that decides its weights changed."""

import contextlib
import dataclasses
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shift_strategy

from rtc_bench.common import errors
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.evaluation import sweep_inputs
from rtc_bench.method_training import moments, settings, stage
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import base
from rtc_bench.strategies.trained import tt_rtc


def train(config, strategy=None):
    """Train one strategy for the track's policy; returns the file of its weights."""
    sweep_config = evaluation_settings.SweepConfig(task=config.task, policy=config.policy)
    ((task, path),) = sweep_inputs.checkpoint_files(sweep_config).items()
    sources = stage.Sources(config, sweep_inputs.load_task_policy(sweep_config, task, path))
    return stage.train(config, "Shift", strategy or shift_strategy.Shift(), sources)


def shift(file):
    arrays, header = checkpoint.load(file, kind="weights")
    return float(arrays["shift"].squeeze()), header


@pytest.fixture
def rounds(monkeypatch):
    """Numbers of the rounds that were trained, here one an epoch; one in ``dies_in`` is cut."""
    trained, whole_round = [], stage.MethodTrainer.round

    def counted(self, state, number):
        if number == counted.dies_in:
            raise KeyboardInterrupt
        trained.append(number)
        return whole_round(self, state, number)

    counted.dies_in = None
    monkeypatch.setattr(stage.MethodTrainer, "round", counted)
    return types.SimpleNamespace(numbers=trained, patched=counted)


def test_it_learns_what_the_loss_says(config):
    """Chunks are noise of 0.1 around 0, the data's actions are 0.4: so is the best shift, which leaves 0.1 squared."""
    file = train(dataclasses.replace(config, epochs=40))
    assert file == pathlib.Path(config.out) / "shift" / "catapult.safetensors"
    value, header = shift(file)
    assert value == pytest.approx(0.4, abs=0.02)
    losses = [entry["loss"] for entry in header["log"]]
    assert losses[0] == pytest.approx(0.4**2 + 0.1**2, rel=0.3)
    assert losses[-1] == pytest.approx(0.1**2, rel=0.3)
    assert header["recipe"]["stage"]["epochs"] == len(losses) == 40
    assert (header["task"], header["method"]) == ("catapult", "shift")


def test_killed_and_continued_it_ends_as_an_undisturbed_one(config, tmp_path, rounds):
    whole = train(dataclasses.replace(config, out=str(tmp_path / "whole")))
    rounds.numbers.clear()
    rounds.patched.dies_in = 1
    with pytest.raises(KeyboardInterrupt):
        train(config)
    folder = pathlib.Path(config.out) / "shift"
    assert [path.name for path in folder.iterdir()] == ["catapult.resume"]
    rounds.patched.dies_in = None
    continued = train(config)
    assert rounds.numbers == [0, 1, 2]
    assert [path.name for path in folder.iterdir()] == ["catapult.safetensors"]
    assert shift(continued)[0] == shift(whole)[0] != 0.0
    assert [entry["loss"] for entry in shift(continued)[1]["log"]] == [
        entry["loss"] for entry in shift(whole)[1]["log"]
    ]


def test_rounds_shorter_than_an_epoch_change_nothing(config, tmp_path, monkeypatch, rounds):
    config = dataclasses.replace(config, batch=40)  # five updates an epoch
    whole = train(dataclasses.replace(config, out=str(tmp_path / "whole")))
    rounds.numbers.clear()
    monkeypatch.setattr(stage, "ROUND", 3)  # three updates, then two and one that does not count
    parts = train(config)
    assert rounds.numbers == list(range(6))
    assert shift(parts)[0] == pytest.approx(shift(whole)[0], rel=1e-3)
    losses = [entry["loss"] for entry in shift(parts)[1]["log"]]
    assert (3 * losses[0] + 2 * losses[1]) / 5 == pytest.approx(shift(whole)[1]["log"][0]["loss"], rel=1e-4)


def test_what_was_begun_otherwise_is_not_continued(config, rounds):
    rounds.patched.dies_in = 1
    with pytest.raises(KeyboardInterrupt):
        train(config)
    rounds.patched.dies_in = None
    train(dataclasses.replace(config, seed=1))
    assert rounds.numbers == [0, 0, 1, 2]


def test_a_finished_one_is_left_alone_until_something_changes(config, rounds, data_writer, policy_saver, tmp_path):
    file = train(config)
    before = file.stat().st_mtime_ns
    rounds.numbers.clear()
    assert train(config) == file
    assert (file.stat().st_mtime_ns, rounds.numbers) == (before, [])
    changes = {
        "options": lambda: train(config, shift_strategy.Shift(share=0.5)),
        "data": lambda: data_writer(tmp_path / "data" / "catapult", action=0.6) or train(config),
        "policy": lambda: policy_saver(tmp_path / "policies" / "catapult.safetensors", mean=1.0) or train(config),
        "seed": lambda: train(dataclasses.replace(config, seed=1)),
        "batch": lambda: train(dataclasses.replace(config, batch=64)),
    }
    for name, change in changes.items():
        change()
        assert rounds.numbers == [0, 1, 2], name
        rounds.numbers.clear()


def test_flow_steps_train_a_foreign_one_again_as_its_loss_may_sample(config, rounds):
    train(config)
    rounds.numbers.clear()
    train(config, shift_strategy.Shift(flow_steps=3))
    assert rounds.numbers == [0, 1, 2]
    assert sweep_inputs.training_options(tt_rtc.TtRtc(flow_steps=3)) == {}


class Wide(shift_strategy.Shift):
    """Another size, which no setting tells."""

    def initial_weights(self, policy, key):
        return {"shift": jnp.zeros((2, policy.config.action_size))}

    def loss(self, policy, weights, batch, key):
        return super().loss(policy, {"shift": weights["shift"].mean(0, keepdims=True)}, batch, key)


@pytest.mark.parametrize("dies_in", [None, 1])
def test_weights_of_other_sizes_are_trained_anew(config, rounds, dies_in, monkeypatch):
    monkeypatch.setattr(sweep_inputs, "code_digest", lambda strategy: None)  # as of ours
    rounds.patched.dies_in = dies_in
    with contextlib.suppress(KeyboardInterrupt):
        train(config)
    rounds.numbers.clear()
    rounds.patched.dies_in = None
    arrays, _ = checkpoint.load(train(config, Wide()), kind="weights")
    assert rounds.numbers == [0, 1, 2]
    assert arrays["shift"].shape == (2, 1)


def test_an_average_of_the_weights_is_kept_where_the_stage_says(config, tmp_path):
    class Averaged(shift_strategy.Shift):
        training = dataclasses.replace(shift_strategy.Shift.training, average=0.9)

    last = train(config)
    averaged = train(dataclasses.replace(config, out=str(tmp_path / "averaged")), Averaged())
    assert 0 < shift(averaged)[0] < shift(last)[0]  # on the way up


def test_the_average_is_by_its_formula(config):
    """decay min(average, (1 + n) / (10 + n)) at update n."""

    class Averaged(shift_strategy.Shift):
        training = dataclasses.replace(shift_strategy.Shift.training, average=0.3, batch=200, warmup=0)

    config = dataclasses.replace(config, epochs=5)  # one update each
    sweep_config = evaluation_settings.SweepConfig(task=config.task, policy=config.policy)
    ((task, path),) = sweep_inputs.checkpoint_files(sweep_config).items()
    task_policy = sweep_inputs.load_task_policy(sweep_config, task, path)
    source = stage.Sources(config, task_policy).of(base.DATA)
    training = stage.build_stage(Averaged(), config)
    trainer = stage.MethodTrainer(Averaged(), training, task_policy.policy, source, task_policy.env.own, seed=0)
    state = trainer.initial_state()
    expected = 0.0
    for number in range(5):
        state, _ = trainer.round(state, number)
        decay = min(0.3, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * float(state.weights["shift"].squeeze())
        assert float(state.average["shift"].squeeze()) == pytest.approx(expected, rel=1e-5)


def test_progress_goes_from_0_towards_1_and_every_moment_is_seen_once_an_epoch(config):
    seen = []

    class Listening(shift_strategy.Shift):
        def loss(self, policy, weights, batch, key):
            jax.debug.callback(lambda p, o: seen.append((float(p), np.asarray(o))), batch.progress, batch.obs[:, 0, 0])
            return super().loss(policy, weights, batch, key)

    train(dataclasses.replace(config, epochs=2, batch=50), Listening())
    seen.sort(key=lambda item: item[0])
    assert [progress for progress, _ in seen] == pytest.approx([number / 8 for number in range(8)])
    for epoch in (seen[:4], seen[4:]):
        steps = np.sort(np.concatenate([obs for _, obs in epoch]))
        np.testing.assert_allclose(steps, np.arange(200) / 100, atol=1e-6)
    assert not np.array_equal(seen[0][1], seen[4][1])


class OfRollouts(shift_strategy.Shift):
    training = dataclasses.replace(shift_strategy.Shift.training, source=base.ROLLOUTS)

    def loss(self, policy, weights, batch, key):
        error = (batch.chunk + weights["shift"][None] - batch.action[:, : policy.config.horizon]) ** 2
        return error.mean(where=batch.inside[..., None])


def test_from_roll_outs(config, monkeypatch):
    """The expert's mean is tanh(0.5), where the policy's chunks are noise around 0."""
    monkeypatch.setattr(moments, "EPISODES", 64)
    config = dataclasses.replace(config, data="/nowhere", rollout_steps=4000, epochs=10, learning_rate=0.05)
    value, header = shift(train(config, OfRollouts()))
    assert value == pytest.approx(np.tanh(0.5), abs=0.1)  # the policy's own chunk is whole noise
    assert header["recipe"]["rollouts"] == {"steps": 4000, "noise_std": 0.1, "seed": 0}
    assert "data" not in header["recipe"]
    assert header["source_seconds"] > 0


def test_an_expert_that_was_trained_again_is_noticed(config, monkeypatch, rounds, expert_saver, tmp_path):
    monkeypatch.setattr(moments, "EPISODES", 16)
    config = dataclasses.replace(config, rollout_steps=100)
    file = train(config, OfRollouts())
    arrays, header = checkpoint.load(file, kind="weights")
    rounds.numbers.clear()
    train(config, OfRollouts())
    assert not rounds.numbers
    # Its seed, steps and solve rate are the same.
    expert_saver(tmp_path / "experts" / "catapult" / "seed0.safetensors", 0.25)
    train(config, OfRollouts())
    assert rounds.numbers == [0, 1, 2]
    # Weights as the first shipped ones, which do not name the expert's digest, are left alone.
    del header["recipe"]["expert"]["digest"]
    checkpoint.save_weights(file, arrays, header)
    rounds.numbers.clear()
    train(config, OfRollouts())
    assert not rounds.numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_training_that_diverges_saves_nothing(config, monkeypatch, value):
    monkeypatch.setattr(stage.MethodTrainer, "round", lambda self, state, number: (state, value))
    with pytest.raises(errors.ConfigError, match=rf"the loss of Shift is {value} in round 1; lower learning_rate="):
        train(config)
    assert not list(pathlib.Path(config.out).rglob("*"))


def test_a_loss_that_is_not_finite_from_the_first_is_told_from_one_that_diverges(config):
    class Undefined(shift_strategy.Shift):
        def loss(self, policy, weights, batch, key):
            return jnp.log(weights["shift"] - 1.0).mean()

    with pytest.raises(errors.ConfigError, match="the loss of Shift itself is not finite, before any update"):
        train(config, Undefined())


@pytest.mark.parametrize("suffix", ["safetensors", "resume"])
@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_damaged_file_is_replaced(config, tmp_path, rounds, capsys, suffix, content):
    """None: the second half of a good one is missing."""
    whole = train(dataclasses.replace(config, out=str(tmp_path / "whole")))
    rounds.patched.dies_in = 1
    with pytest.raises(KeyboardInterrupt):
        train(config)
    rounds.patched.dies_in = None
    saved = {"safetensors": whole, "resume": pathlib.Path(config.out) / "shift" / "catapult.resume"}[
        suffix
    ].read_bytes()
    file = pathlib.Path(config.out) / "shift" / f"catapult.{suffix}"
    file.write_bytes(saved[: len(saved) // 2] if content is None else content)
    capsys.readouterr()
    assert shift(train(config))[0] == shift(whole)[0]
    lines = capsys.readouterr().out.splitlines()
    assert [
        line for line in lines if line.startswith(str(file)) and "it is damaged, and will be replaced" in line
    ] == lines
    assert len(lines) == 1


def test_weights_of_another_class_are_not_overwritten(config):
    class Other(shift_strategy.Shift):
        pass

    file = train(config)
    before = file.read_bytes()
    with pytest.raises(checkpoint.CheckpointError, match=r"holds what the class Shift learned, not .*Other; name each"):
        train(config, Other())
    assert file.read_bytes() == before


class Large(shift_strategy.Shift):
    def initial_weights(self, policy, key):
        return {"shift": jnp.full((1, 1), 1e6)}


class Listed(shift_strategy.Shift):
    def initial_weights(self, policy, key):
        return {"shift": [jnp.zeros((1, 1))]}


class Slashed(shift_strategy.Shift):
    def initial_weights(self, policy, key):
        return {"a/b": jnp.zeros((1, 1))}


class OfNumpy(shift_strategy.Shift):
    def initial_weights(self, policy, key):
        return {"layer": {"shift": np.zeros((1, 1), np.float32)}}


class OfNumbers(shift_strategy.Shift):
    def initial_weights(self, policy, key):
        return {"shift": 0.0}


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        (Large(), "learned numbers that are inf or nan in half precision"),
        (Listed(), "initial_weights must return a dict of jax.numpy arrays or of such dicts.*it holds list at shift"),
        (Slashed(), "names without '/'; it holds the name 'a/b'"),
        (OfNumpy(), "jax.numpy arrays.*; it holds ndarray at layer/shift"),
        (OfNumbers(), "jax.numpy arrays.*; it holds float at shift"),
    ],
)
def test_weights_that_no_file_can_hold_are_refused(config, strategy, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        train(config, strategy)
    assert not list(pathlib.Path(config.out).rglob("*.safetensors"))


class NoStage(base.Strategy):
    pass


class Named(shift_strategy.Shift):
    training = "shift"


class Outside(shift_strategy.Shift):
    training = base.TrainingStage("../shift")


class Borrowed(tt_rtc.TtRtc):
    pass


class NoLoss(base.Strategy):
    training = base.TrainingStage("shift")

    def initial_weights(self, policy, key):
        return {"shift": jnp.zeros(1)}


class NoWeights(base.Strategy):
    training = base.TrainingStage("shift")


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        (NoStage(), "NoStage has no training stage; one that learns sets `training`"),
        (Named(), r"Named.training is 'shift'; write training = base.TrainingStage\(...\)"),
        (Outside(), r"Outside.training is named '\.\./shift'"),
        (Borrowed(), "Borrowed.training is named 'tt_rtc', as a built-in strategy's weights are"),
        (NoLoss(), "NoLoss names a training stage, but has no loss"),
        (NoWeights(), "NoWeights names a training stage, but has no initial_weights"),
    ],
)
def test_what_is_no_training_stage_is_refused(strategy, answer):
    with pytest.raises(errors.ConfigError, match=answer):
        stage.build_stage(strategy, settings.TrainMethodConfig("catapult"))


def test_the_command_line_changes_a_stage():
    config = settings.TrainMethodConfig("catapult", epochs=7, learning_rate=0.5)
    changed = stage.build_stage(shift_strategy.Shift(), config)
    assert changed == dataclasses.replace(shift_strategy.Shift.training, epochs=7, learning_rate=0.5)
