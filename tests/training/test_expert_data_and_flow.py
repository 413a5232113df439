"""Data and the flow policy trained on it: columns, episode edges, checksums, resumed training."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as parquet
import pytest

from rtc_bench.common import errors
from rtc_bench.policies import checkpoint, flow
from rtc_bench.training import expert_data, experts, flow_training, settings


def test_columns_and_manifest(data):
    _, manifest_file = data
    manifest = json.loads(manifest_file.read_text())
    table = parquet.read_table(manifest_file.parent / manifest["parts"][0]["file"])
    wanted = {"observation.state", "action", "episode_index", "frame_index", "next.done", "next.success"}
    assert wanted <= set(table.column_names)
    assert manifest["steps"] >= 400
    assert manifest["steps"] == sum(part["steps"] for part in manifest["parts"])
    assert manifest["solve_rate"] == 1.0
    assert [expert["seed"] for expert in manifest["experts"]] == [0, 1]
    assert manifest["experts_apart"] == pytest.approx(abs(np.tanh(0.6) - np.tanh(1.4)), abs=1e-4)
    assert all(min(part["episodes_per_expert"]) > 0 for part in manifest["parts"])  # a mixture
    episode, frame, done = (table[name].to_numpy() for name in ("episode_index", "frame_index", "next.done"))
    assert frame[0] == 0
    assert (np.diff(frame)[~done[:-1]] == 1).all()
    assert (frame[1:][done[:-1]] == 0).all()
    assert (np.diff(episode) == done[:-1]).all()
    assert done[-1]  # only whole episodes


def test_one_expert_plays_a_whole_episode(data):
    config, _ = data
    episodes, _ = expert_data.load(config.out, "catapult")
    pushes = {round(float(np.tanh(push)), 3) for push in (0.6, 1.4)}
    for number in np.unique(episodes.episode):
        used = {round(float(a), 3) for a in episodes.action[episodes.episode == number, 0]}
        assert len(used) == 1
        assert used <= pushes
    # What was observed is what the actions led to: 0.25 of the action each step.
    first = episodes.obs[episodes.episode == 0, 0]
    np.testing.assert_allclose(np.diff(first), 0.25 * episodes.action[episodes.episode == 0, 0][:-1], atol=1e-5)


@pytest.mark.parametrize(("sample", "std"), [("policy", 0.5), (0.2, 0.2)])
def test_sampled_actions_are_recorded_as_commanded(data, tmp_path, sample, std):
    """Two experts whose means before squashing are 0.6 and 1.4, and whose files say that they explored by 0.5."""
    config, _ = data
    changes = {"sample": sample, "noise_std": 0.1, "min_solve_rate": 0.85, "out": str(tmp_path / "sampled")}
    again = dataclasses.replace(config, **changes)
    manifest = json.loads(expert_data.generate(again).read_text())
    assert [expert["solve_rate"] for expert in manifest["experts"]] == [0.9, 0.9]  # as they explored
    steps, _ = expert_data.load(again.out, "catapult")
    raw = np.arctanh(steps.action[:, 0].astype(float))
    means = [raw[steps.episode == number].mean() for number in np.unique(steps.episode)]
    nearest = np.array([0.6, 1.4])[[int(mean > 1.0) for mean in means]]
    assert np.abs(np.array(means) - nearest).max() < 4 * std / np.sqrt(8)  # an episode is 8 steps or more
    noise = np.concatenate(
        [raw[steps.episode == n] - m for n, m in zip(np.unique(steps.episode), nearest, strict=True)]
    )
    assert noise.std() == pytest.approx(std, rel=0.15)
    inside = steps.episode[1:] == steps.episode[:-1]
    actuation = np.diff(steps.obs[:, 0])[inside] / 0.25 - steps.action[:-1, 0][inside]
    assert actuation.std() == pytest.approx(0.1, rel=0.15)
    assert abs(np.corrcoef(actuation, noise[:-1][inside])[0, 1]) < 0.2  # another draw than the exploration


def test_a_seed_plays_as_every_checkpoint_that_was_kept(data, tmp_path, expert_saver):
    config, _ = data
    expert_saver(tmp_path / "experts" / "catapult" / "checkpoints" / "seed0-000000001.safetensors", seed=0, push=1.0)
    for checkpoints in (True, False):
        again = dataclasses.replace(config, batch=256, checkpoints=checkpoints, out=str(tmp_path / str(checkpoints)))
        manifest = json.loads(expert_data.generate(again).read_text())
        (part,) = manifest["parts"]
        assert sum(part["episodes_per_expert"]) == 256
        assert part["episodes_per_expert"][1] == pytest.approx(128, abs=40)  # of seed 1, which has no other
        assert len(part["episodes_per_expert"]) == 2 + checkpoints
        assert min(part["episodes_per_expert"]) > 30


def test_experts_are_chosen_by_how_they_act_here(data, tmp_path):
    """0.9 is their rate as they explored, 1.0 by their means."""
    config, _ = data
    strict = dataclasses.replace(config, min_solve_rate=0.95, out=str(tmp_path / "strict"))
    assert json.loads(expert_data.generate(strict).read_text())["experts"][0]["solve_rate"] == 1.0
    with pytest.raises(checkpoint.CheckpointError, match=r"no expert of catapult .* \(found: 0.90, 0.90\)"):
        expert_data.generate(dataclasses.replace(strict, sample="policy"))


def test_what_is_good_enough_hangs_on_the_task(data, tmp_path, expert_saver):
    config, manifest_file = data
    assert json.loads(manifest_file.read_text())["made_by"]["settings"]["min_solve_rate"] == 0.65
    expert_saver(tmp_path / "experts" / "trampoline" / "seed0.safetensors", seed=0, push=1.0)
    manifest = json.loads(expert_data.generate(dataclasses.replace(config, task="trampoline")).read_text())
    assert manifest["made_by"]["settings"]["min_solve_rate"] == 0.35


def test_experts_of_different_settings_are_not_mixed(data, tmp_path, expert_saver):
    config, _ = data
    expert_saver(tmp_path / "experts" / "catapult" / "seed2.safetensors", seed=2, push=1.0, learned_std=True)
    with pytest.raises(checkpoint.CheckpointError, match=r"seed2.*other settings \(learned_std\) than seed0"):
        expert_data.generate(config)


@pytest.mark.parametrize("sample", ["means", -0.1, True, None])
def test_what_cannot_be_sampled_is_refused(sample):
    with pytest.raises(errors.ConfigError, match=r"sample=.* sample: mean, policy, or a number from 0 on"):
        settings.GenerateDataConfig("catapult", sample=sample)


@pytest.mark.parametrize("share", [-0.1, 1.2])
def test_shares_outside_0_to_1_are_refused(share):
    with pytest.raises(errors.ConfigError, match=rf"min_solve_rate={share}"):
        settings.GenerateDataConfig("catapult", min_solve_rate=share)
    with pytest.raises(errors.ConfigError, match=rf"along_way={share}"):
        settings.TrainExpertConfig("catapult", along_way=share)


def test_a_learned_deviation_refuses_a_fixed_one():
    with pytest.raises(errors.ConfigError, match=r"explore=0.5 has no say where learned_std=true"):
        settings.TrainExpertConfig("catapult", learned_std=True, explore=0.5)


def test_data_of_other_draws_are_made_again(data, monkeypatch):
    config, manifest_file = data
    before = manifest_file.stat().st_mtime_ns
    monkeypatch.setattr(expert_data, "DRAWN_FOR_EACH_EPISODE", "nothing")
    assert expert_data.generate(config) == manifest_file
    assert manifest_file.stat().st_mtime_ns != before


def test_generating_again_changes_nothing(data):
    config, manifest_file = data
    before = manifest_file.stat().st_mtime_ns
    assert expert_data.generate(config) == manifest_file
    assert manifest_file.stat().st_mtime_ns == before


def test_a_changed_file_is_refused(data):
    config, manifest_file = data
    part = manifest_file.parent / "data" / "chunk-000" / "file-000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(errors.ConfigError, match=r"file-000.parquet: missing or changed"):
        expert_data.load(config.out, "catapult")


def test_missing_data_is_told_with_its_remedy(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"no finished data set; make it with .*generate-data task=catapult"):
        expert_data.load(tmp_path, "catapult")


def test_no_chunk_crosses_an_episodes_edge():
    episode = np.array([0, 0, 0, 1, 1, 5])
    action = jnp.array([[10.0 * e + i] for i, e in enumerate(episode)])  # an entry says episode and frame
    end = expert_data.episode_ends(episode)
    assert end.tolist() == [3, 3, 3, 5, 5, 6]
    chunks = expert_data.action_chunks(action, jnp.asarray(end), jnp.arange(6), horizon=4)[..., 0]
    wanted = [
        [0, 1, 2, 0],
        [1, 2, 0, 0],
        [2, 0, 0, 0],
        [13, 14, 0, 0],
        [14, 0, 0, 0],
        [55, 0, 0, 0],
    ]
    assert chunks.tolist() == wanted
    held = expert_data.action_chunks(action, jnp.asarray(end), jnp.arange(6), horizon=4, holds_last=True)[..., 0]
    assert held.tolist() == [
        [0, 1, 2, 2],
        [1, 2, 2, 2],
        [2, 2, 2, 2],
        [13, 14, 14, 14],
        [14, 14, 14, 14],
        [55, 55, 55, 55],
    ]


def test_training_learns_and_keeps_a_weak_policy(data, small_flow, tmp_path):
    config, _ = data
    file = flow_training.train(small_flow(config, tmp_path, epochs=30, warmup=20, learning_rate=3e-3))
    policy, card = checkpoint.load_flow(file, task="catapult", interface="compact", obs_size=7, action_size=1)
    losses = [entry["loss"] for entry in card["log"]]
    assert losses[-1] < 0.5 * losses[0]
    assert card["solve_rate"] == 1.0  # both experts solve the track, so does their imitator
    assert card["epochs"] == 30
    weak = checkpoint.flatten(policy.weak_policy().params)
    assert {leaf.dtype for leaf in weak.values()} == {np.dtype("float32")}
    stored, _ = checkpoint.load(file, kind="flow")
    assert {leaf.dtype for leaf in checkpoint.flatten(stored["weak"]).values()} == {np.dtype("float16")}
    strong = checkpoint.flatten(policy.params)
    assert any((weak[name] != strong[name]).any() for name in strong)


def test_the_learning_rate_falls_unless_told_to_stay(data, small_flow, tmp_path):
    config, _ = data
    moved = {}
    for anneal in (0.0, 1.0):
        trainer = flow_training.FlowTrainer(
            small_flow(config, tmp_path, anneal=anneal), expert_data.load(config.out, "catapult")[0]
        )
        learners = [trainer.initial_state()]
        for number in range(4):
            learners.append(trainer.epoch(learners[-1], number)[0])
        kernels = [np.asarray(learner.params["in_proj"]["kernel"]) for learner in learners]
        moved[anneal] = np.abs(kernels[4] - kernels[3]).sum() / np.abs(kernels[2] - kernels[1]).sum()
    assert moved[0.0] < 0.5 * moved[1.0]


def test_an_interrupted_training_ends_as_an_undisturbed_one(data, small_flow, tmp_path, monkeypatch):
    config, _ = data
    whole = flow_training.train(small_flow(config, tmp_path / "whole"))
    epoch = flow_training.FlowTrainer.epoch

    def dies(self, learner, number):
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, learner, number)

    with monkeypatch.context() as patched:
        patched.setattr(flow_training.FlowTrainer, "epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            flow_training.train(small_flow(config, tmp_path / "cut"))
    cut = flow_training.train(small_flow(config, tmp_path / "cut"))
    ours, theirs = (checkpoint.flatten(checkpoint.load(file, kind="flow")[0]) for file in (whole, cut))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_a_training_that_diverges_saves_nothing(data, small_flow, tmp_path, monkeypatch):
    monkeypatch.setattr(flow_training.FlowTrainer, "epoch", lambda self, state, number: (state, float("nan")))
    with pytest.raises(errors.ConfigError, match="the loss is nan in epoch 1; lower learning_rate="):
        flow_training.train(small_flow(data[0], tmp_path / "flow"))
    assert not list((tmp_path / "flow").rglob("*.safetensors"))


def test_fresh_blocks_are_the_identity():
    config = flow.FlowConfig(3, 2, layers=2, channels=8, channel_hidden=8, token_hidden=4)
    params = flow.init(experts.jax.random.key(0), config)
    rng = np.random.default_rng(0)
    obs, x_t = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((5, 3), (5, 8, 2)))
    without_blocks = {**params, "mlp_stack": {}}
    np.testing.assert_allclose(
        flow.velocity(params, obs, x_t, jnp.float32(0.3)),
        flow.velocity(without_blocks, obs, x_t, jnp.float32(0.3)),
        atol=1e-6,
    )
