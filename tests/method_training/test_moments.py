"""What training stages learn from: moments of data, and of roll-outs that an expert labels."""

import jax.numpy as jnp
import line_task
import numpy as np
import pytest
import track_task

from rtc_bench.method_training import moments
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data
from rtc_bench.training import settings as training_settings

EPISODE = np.array([0, 0, 0, 1, 1, 5])
OWN = jnp.array([False, True])


def data_moments():
    """An observation says which step it is of; an action, which episode and frame (from 1 on)."""
    frame = np.array([1, 2, 3, 1, 2, 1], np.float32)
    obs = np.arange(6, dtype=np.float32)[:, None] + np.array([[0.0, 0.5]], np.float32)
    action = (10 * EPISODE + frame).astype(np.float32)[:, None]
    return moments.of_data(expert_data.ExpertSteps(obs, action, EPISODE, np.zeros(6, bool)))


def test_a_moment_of_data_never_sees_another_episode():
    source = data_moments()
    assert source.size == 6
    batch = source.batch(jnp.array([0, 4, 5, 3]), horizon=3, own=OWN, progress=jnp.float32(0.25))
    assert batch.obs[..., 0].tolist() == [[0, 1, 2], [4, 4, 4], [5, 5, 5], [3, 4, 4]]
    assert (batch.obs[..., 1] == batch.obs[..., 0] + 0.5).all()
    assert batch.action[..., 0].tolist() == [
        [1, 2, 3, 0, 0, 0],
        [12, 0, 0, 0, 0, 0],
        [51, 0, 0, 0, 0, 0],
        [11, 12, 0, 0, 0, 0],
    ]
    assert batch.inside.tolist() == [[True] * 3, [True, False, False], [True, False, False], [True, True, False]]
    assert (batch.chunk, float(batch.progress)) == (None, 0.25)
    np.testing.assert_array_equal(batch.own, OWN)


H = 8


@pytest.fixture
def rollouts(tmp_path, expert_saver, monkeypatch):
    """Of a policy whose chunk is the noise, under an expert whose mean is tanh(0.5); 16 episodes a part."""
    monkeypatch.setattr(moments, "EPISODES", 16)
    expert_saver(tmp_path / "experts" / "catapult" / "seed0.safetensors", 0.5)
    expert, header = moments.best_expert(str(tmp_path / "experts"), "catapult")
    expert_config = training_settings.TrainExpertConfig.from_mapping(header["config"])

    def play(noise_std=0.0, steps=1, seed=0):
        env, policy = track_task.Track(noise_std, name="catapult"), line_task.policy(H, obs_size=7)
        return moments.of_rollouts(env, policy, expert, expert_config, steps=steps, seed=seed)

    return play


def test_roll_outs_execute_the_policy_s_chunks_and_hold_what_the_expert_would_have_done(rollouts):
    source = rollouts()
    label, chunk, obs, inside = (np.asarray(leaf) for leaf in (source.action, source.chunk, source.obs, source.inside))
    np.testing.assert_allclose(label[inside], np.tanh(0.5), rtol=1e-5)
    assert chunk.std() == pytest.approx(1.0, abs=0.15)  # the flow noise, which is this policy's chunk
    assert len(np.unique(chunk[:, 0])) == len(chunk)  # never the same draw twice
    # Where the policy's actions led, 0.25 of each within its bounds, and not the expert's.
    both = inside[:, 1:] & inside[:, :-1]
    moved = np.diff(obs[..., 0])
    np.testing.assert_allclose(moved[both], 0.25 * np.clip(chunk[:, :-1, 0], -1, 1)[both], atol=1e-5)


def test_a_roll_out_is_inside_until_its_episode_s_end(rollouts):
    source = rollouts()
    inside, obs, chunk = np.asarray(source.inside), np.asarray(source.obs), np.asarray(source.chunk)
    assert inside[:, 0].all()  # chunks that no episode saw are left out
    assert (np.diff(inside.astype(int)) <= 0).all()  # once over, over
    position = obs[..., 0]
    assert ((position >= -1) & (position <= 3))[inside].all()  # beyond, an episode is over
    after = position + 0.25 * np.clip(chunk[..., 0], -1, 1)
    ended = inside[:, :-1] & ~inside[:, 1:]  # not by the time limit, 40 steps, which is 5 whole chunks
    assert ended.any()
    assert ((after[:, :-1] > 3) | (after[:, :-1] < -1))[ended].all()
    starts = (position[:, 0] == 0).sum()
    assert starts == 16
    assert inside.sum() <= 16 * 40


def test_there_are_as_many_steps_as_asked_for_and_no_part_is_like_another(rollouts):
    once, more = rollouts(noise_std=0.1), rollouts(noise_std=0.1, steps=1000)
    assert more.inside.sum() >= 1000
    np.testing.assert_array_equal(more.chunk[: once.size], once.chunk)
    assert len(np.unique(np.asarray(more.chunk)[:, 0])) == more.size
    assert not np.array_equal(rollouts(noise_std=0.1, seed=1).chunk[:16], once.chunk[:16])


def test_a_batch_of_roll_outs(rollouts):
    source = rollouts()
    index = jnp.array([3, 0])
    batch = source.batch(index, horizon=H, own=OWN, progress=jnp.float32(1.0))
    assert batch.action.shape == (2, 2 * H, 1)
    assert not batch.action[:, H:].any()
    for name in ("inside", "chunk"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(source, name)[index], err_msg=name)


def test_a_batch_of_roll_outs_ends_with_the_episode_as_one_of_data_does(rollouts):
    source = rollouts()
    whole = np.asarray(source.inside).all(1)
    index = jnp.array([np.argmin(whole), np.argmax(whole)])  # one that ends, one that does not
    batch = source.batch(index, horizon=H, own=OWN, progress=jnp.float32(1.0))
    length = int(source.inside[index[0]].sum())
    assert 0 < length < H
    obs, action = source.obs[index], source.action[index]
    np.testing.assert_array_equal(batch.obs[0, :length], obs[0, :length])
    np.testing.assert_array_equal(batch.obs[0, length:], np.repeat(obs[0, length - 1 : length], H - length, 0))
    np.testing.assert_array_equal(batch.action[0, :length], action[0, :length])
    assert not batch.action[0, length:].any()
    np.testing.assert_array_equal(batch.obs[1], obs[1])
    np.testing.assert_array_equal(batch.action[1, :H], action[1])


def test_the_best_expert_labels(tmp_path, expert_saver):
    for seed, (push, rate) in enumerate([(0.1, 0.7), (0.2, 0.9), (0.3, 0.8)]):
        expert_saver(tmp_path / "catapult" / f"seed{seed}.safetensors", push, rate, seed=seed)
    expert, header = moments.best_expert(str(tmp_path), "catapult")
    assert header["solve_rate"] == 0.9
    assert expert.params["params"]["Dense_2"]["bias"].tolist() == pytest.approx([0.2])
    with pytest.raises(checkpoint.CheckpointError, match=r"no expert of car_launch.*train-expert task=car_launch"):
        moments.best_expert(str(tmp_path), "car_launch")
