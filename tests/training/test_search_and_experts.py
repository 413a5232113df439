"""Search finds a way, training learns it, and goes on after a stop as if there had been none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import track_task

from rtc_bench import envs
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_training, experts, learning_curves, search, settings

SMALL = settings.SearchConfig(population=32, hold=4, successes=3, rounds=60, last_start=36)


def config(**changes):
    base = {"task": "mjc_swimmer", "seeds": 1, "envs": 16, "rollout": 16, "minibatches": 2, "epochs": 2, "width": 16}
    base |= {"steps": 16 * 16 * 8, "eval_episodes": 8, "save_every": 2, "search": SMALL, "keep_every": 0}
    return settings.TrainExpertConfig(**{**base, **changes})


def test_search_finds_states_along_ways_to_success():
    env = track_task.Track()
    solution_paths = search.find_solutions(env, SMALL, seed=0)
    positions = np.asarray(solution_paths.states.sim[0])
    assert positions[0] == 0.0  # the start comes first
    assert positions.max() > 1.5  # states near the goal
    assert (positions <= 3.0).all()
    assert (positions >= -1.0).all()
    # Time and position belong together: nobody is faster than 0.25 a step.
    assert (np.abs(positions) <= 0.25 * np.asarray(solution_paths.states.time) + 1e-5).all()
    assert solution_paths.simulated % (32 * 4) == 0
    assert len(positions) == 1 + SMALL.starts
    assert (np.diff(np.asarray(solution_paths.states.time)) >= 0).all()
    assert 12 <= solution_paths.slowest <= 40  # 3 m at 0.25 m a step


def test_search_says_when_there_is_no_way():
    env = track_task.Track(start=-100.0)
    with pytest.raises(search.SearchFailed, match=r"no success on track in 5 rounds; raise search.rounds"):
        search.find_solutions(env, dataclasses.replace(SMALL, rounds=5), seed=0)


def test_where_starts_differ_some_may_have_no_way():
    """Left of -1 an episode is lost at once: so is the middle of these starts, but not every one."""
    env = track_task.Track(start=-1.5, start_std=0.5)
    solution_paths = search.find_solutions(env, SMALL, seed=0)
    assert np.asarray(solution_paths.states.sim)[0, 1:].min() > -1.0
    with pytest.raises(search.SearchFailed):
        search.find_solutions(track_task.Track(start=-1.5), SMALL, seed=0)


def test_a_real_start_is_drawn_anew_for_every_episode(monkeypatch, lenient):
    env = track_task.Track(start=-0.9, start_std=0.01)  # many are lost soon, so that others begin
    monkeypatch.setattr(envs, "make", lambda *_, **__: env)
    trainer = expert_training.ExpertTrainer(config(along_way=0.0, envs=64))
    state = trainer.initial_state(0, search.find_solutions(env, SMALL, seed=0))
    (state, _), *_ = trainer.advance([state], 1)
    just_begun = np.asarray(state.rollout.state.time) == 0
    starts = np.asarray(state.rollout.state.sim)[0, just_begun]
    assert len(np.unique(starts)) == len(starts) > 2
    assert np.abs(starts + 0.9).max() < 0.05


def test_training_solves_the_track(on_track, tmp_path, lenient):
    (file,) = expert_training.train(config(out=str(tmp_path), steps=16 * 16 * 60, learning_rate=3e-3, shaping=0.3))
    head = checkpoint.read_header(file)
    assert head["solve_rate"] == 1.0
    assert head["steps"] >= 16 * 16 * 60
    log = (tmp_path / "mjc_swimmer" / "seed0.csv").read_text().splitlines()
    assert log[0] == "steps,start_solve_rate,solve_rate"
    assert len(log) == 31
    assert (tmp_path / "mjc_swimmer" / "curves.png").stat().st_size > 1000
    trained_experts, heads = experts.load(tmp_path, "mjc_swimmer", min_solve_rate=0.9)
    assert len(trained_experts) == len(heads) == 1
    before = file.stat().st_mtime_ns
    expert_training.train(config(out=str(tmp_path), steps=16 * 16 * 60, learning_rate=3e-3, shaping=0.3))
    assert file.stat().st_mtime_ns == before  # finished experts are kept


def test_an_interrupted_training_ends_as_an_undisturbed_one(on_track, tmp_path, monkeypatch, lenient):
    (whole,) = expert_training.train(config(out=str(tmp_path / "whole")))
    calls = []
    advance = expert_training.ExpertTrainer.advance

    def dies(self, states, iterations):
        calls.append(iterations)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return advance(self, states, iterations)

    monkeypatch.setattr(expert_training.ExpertTrainer, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        expert_training.train(config(out=str(tmp_path / "cut")))
    (resume,) = (tmp_path / "cut").glob("*/seed0.resume")
    arrays, header = checkpoint.load(resume, kind="expert-resume")
    assert header["seconds"] > 0
    checkpoint.save(resume, arrays, header | {"seconds": 1000.0})
    (cut,) = expert_training.train(config(out=str(tmp_path / "cut")))
    assert checkpoint.read_header(cut)["seconds"] > 1000.0  # both sessions'
    assert calls == [2] * (3 + 2)  # 4 of 8 iterations were saved, the rest ran again
    ours, theirs = (checkpoint.flatten(checkpoint.load(file, kind="expert")[0]) for file in (whole, cut))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_a_search_is_kept_with_the_time_that_it_took(on_track, tmp_path):
    settings_of_training = config(out=str(tmp_path))
    expert_training.load_or_find_solutions(settings_of_training, 0)
    (ways,) = tmp_path.glob("*/seed0.ways")
    arrays, header = checkpoint.load(ways, kind="ways")
    checkpoint.save(ways, arrays, header | {"seconds": 1000.0})
    assert expert_training.load_or_find_solutions(settings_of_training, 0).seconds == 1000.0


def test_seeds_train_together_as_they_would_alone(on_track, tmp_path, monkeypatch, lenient):
    alone = [
        expert_training.train(config(out=str(tmp_path / "alone"), seed=seed, steps=16 * 16 * 6))[0]
        for seed in (0, 1, 2)
    ]
    advance, seed_counts = expert_training.ExpertTrainer.advance, []

    def dies(self, states, iterations):
        seed_counts.append(len(states))
        if len(seed_counts) == 3:
            raise KeyboardInterrupt
        return advance(self, states, iterations)

    monkeypatch.setattr(expert_training.ExpertTrainer, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        expert_training.train(config(out=str(tmp_path / "beside"), seeds=3, steps=16 * 16 * 6))
    beside = expert_training.train(config(out=str(tmp_path / "beside"), seeds=3, steps=16 * 16 * 6))
    assert seed_counts[0] == min(3, jax.device_count())
    for alone_file, beside_file in zip(alone, beside, strict=True):
        assert alone_file.with_suffix(".csv").read_text() == beside_file.with_suffix(".csv").read_text()
        ours, theirs = (
            checkpoint.flatten(checkpoint.load(file, kind="expert")[0]) for file in (alone_file, beside_file)
        )
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-6, err_msg=f"{alone_file} {name}")


def test_weak_experts_are_left_out(tmp_path):
    head = {"kind": "expert", "solve_rate": 0.3, "seed": 0, "config": {}}
    arrays = {"params": {"x": np.zeros(1)}, "obs_mean": np.zeros(1), "obs_std": np.ones(1), "action_std": np.ones(1)}
    checkpoint.save(tmp_path / "catapult" / "seed0.safetensors", arrays, head)
    with pytest.raises(checkpoint.CheckpointError, match=r"no expert of catapult .* solves 0.65 .*found: 0.30"):
        experts.load(tmp_path, "catapult", min_solve_rate=0.65)


def test_memory_holds_frames_in_order_and_the_last_action():
    scaling = experts.Expert({}, jnp.zeros(1), jnp.ones(1), jnp.ones(1))
    memory = experts.initial_history(jnp.array([[1.0]]), scaling, history_length=3, action_size=1)
    memory = experts.append_frame(memory, jnp.array([[2.0]]), jnp.array([[0.5]]), scaling)
    np.testing.assert_array_equal(experts.features(memory), [[1.0, 1.0, 2.0, 0.5]])


def test_episodes_begin_at_the_start_and_along_the_way(on_track, lenient):
    solution_paths = search.find_solutions(track_task.Track(), SMALL, seed=0)
    trainer = expert_training.ExpertTrainer(config(along_way=0.5))
    training = trainer.initial_state(0, solution_paths)
    done = []
    for _ in range(6):
        ((training, progress),) = trainer.advance([training], 1)
        done.append(progress)
    assert sum(p.ended for p in done) > sum(p.start_ended for p in done) > 0
    assert all(p.solved <= p.ended and p.start_solved <= p.start_ended for p in done)
    assert float(training.starts.ended[1:].sum()) > 0
    only = expert_training.ExpertTrainer(config(along_way=0.0))
    ((training, progress),) = only.advance([only.initial_state(0, solution_paths)], 1)
    assert progress.ended == progress.start_ended
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), training.expert))


def test_training_gives_an_episode_up_that_takes_longer_than_the_ways(on_track, lenient):
    solution_paths = dataclasses.replace(search.find_solutions(track_task.Track(), SMALL, seed=0), slowest=5)
    trainer = expert_training.ExpertTrainer(config(along_way=0.0, rollout=30, shaping=0.0))
    ((_, progress),) = trainer.advance([trainer.initial_state(0, solution_paths)], 1)
    assert progress.ended == 16 * 3  # 16 environments, each ten control steps long three times
    assert progress.solved == 0


def test_exploration_stays(on_track, tmp_path, lenient):
    expert_training.train(config(out=str(tmp_path), steps=16 * 16 * 60, learning_rate=3e-3, shaping=0.3, explore=0.7))
    (expert,), (header,) = experts.load(tmp_path, "mjc_swimmer", min_solve_rate=0.9)
    assert expert.action_std == pytest.approx(0.7)
    assert header["seconds"] > 0


def test_a_learned_deviation_is_trained_and_stored(on_track, tmp_path, lenient):
    expert_training.train(config(out=str(tmp_path), learned_std=True, learning_rate=3e-2))
    (expert,), (header,) = experts.load(tmp_path, "mjc_swimmer", min_solve_rate=0.0)
    learned = float(expert.params["params"]["log_std"][0])
    assert learned != 0.0  # it starts there
    assert float(expert.action_std[0]) == pytest.approx(np.exp(learned))
    assert 0.0 <= header["sampled_solve_rate"] <= 1.0


def test_checkpoints_are_kept_and_drawn_from(on_track, tmp_path, lenient):
    settings = {"out": str(tmp_path), "steps": 16 * 16 * 8, "keep_every": 16 * 16 * 3, "save_every": 1}
    expert_training.train(config(**settings))
    kept = sorted(path.name for path in (tmp_path / "mjc_swimmer" / "checkpoints").iterdir())
    assert kept == ["seed0-000000768.safetensors", "seed0-000001536.safetensors"]
    _, headers = experts.load(tmp_path, "mjc_swimmer", min_solve_rate=0.0, checkpoints=True)
    assert [header["steps"] for header in headers] == [16 * 16 * 8, 768, 1536]
    assert len(experts.load(tmp_path, "mjc_swimmer", min_solve_rate=0.0)[0]) == 1
    again = {**settings, "learning_rate": 1e-3, "keep_every": 0}  # the kept ones are now of another training
    expert_training.train(config(**again))
    assert len(experts.load(tmp_path, "mjc_swimmer", min_solve_rate=0.0, checkpoints=True)[0]) == 1


def test_a_kill_between_keeping_and_recording_loses_no_checkpoint(on_track, tmp_path, monkeypatch, lenient):
    settings = {"steps": 16 * 16 * 8, "keep_every": 16 * 16 * 3, "save_every": 1}
    expert_training.train(config(out=str(tmp_path / "whole"), **settings))
    record, calls = expert_training._SeedTraining.record, []

    def dies(self, counts):
        calls.append(self.iterations)
        if len(calls) == 3:  # the first checkpoint has just been kept
            raise KeyboardInterrupt
        return record(self, counts)

    monkeypatch.setattr(expert_training._SeedTraining, "record", dies)
    with pytest.raises(KeyboardInterrupt):
        expert_training.train(config(out=str(tmp_path / "cut"), **settings))
    expert_training.train(config(out=str(tmp_path / "cut"), **settings))
    assert calls[:5] == [1, 2, 3, 3, 4]
    whole, cut = (sorted((tmp_path / run / "mjc_swimmer" / "checkpoints").iterdir()) for run in ("whole", "cut"))
    for ours, theirs in zip(whole, cut, strict=True):
        ours, theirs = (checkpoint.flatten(checkpoint.load(path, kind="expert")[0]) for path in (ours, theirs))
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_an_expert_of_an_older_version_is_named(tmp_path):
    arrays = {"params": {"x": np.zeros(1)}, "obs_mean": np.zeros(1), "obs_std": np.ones(1)}
    checkpoint.save(tmp_path / "catapult" / "seed0.safetensors", arrays, {"kind": "expert", "solve_rate": 1.0})
    with pytest.raises(
        checkpoint.CheckpointError, match=r"seed0\.safetensors: an expert of an older version; train it"
    ):
        experts.load(tmp_path, "catapult", min_solve_rate=0.5)


def test_learning_curves_are_drawn_also_of_a_seed_that_was_given_up(tmp_path):
    points = [
        {"task": "catapult", "seed": seed, "steps": steps, "start_solve_rate": 0.5, "solve_rate": 0.5}
        for seed in (0, 1)
        for steps in (1e6, 2e6)
    ]
    ends = [{"task": "catapult", "seed": 0, "steps": 2e6, "solve_rate": 0.9}]
    learning_curves.plot(points, ends, tmp_path / "curves.png")  # a warning of the layout would be an error
    assert (tmp_path / "curves.png").stat().st_size > 1000
