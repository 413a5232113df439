"""Episodes: what is counted, when it stops, and that nothing but (seed, episode, step) decides the random numbers."""

import collections
import concurrent.futures
import dataclasses
import types
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation import evaluator
from rtc_bench.evaluation.execution import batches
from rtc_bench.strategies import base, registry


@dataclasses.dataclass(frozen=True)
class Constant(base.Strategy):
    """Pushes by the same amount every step."""

    push: float = 1.0

    def plan(self, policy, request, memory):
        return jnp.full_like(request.previous, self.push), memory

    def first(self, policy, obs, noise):
        return jnp.full_like(noise, self.push)


def play(env, strategy, *, episodes=6, batch=4, delay=1, horizon=2, seed=3):
    line_evaluator = evaluator.Evaluator(env, line_task.policy(), strategy, batch=batch)
    return line_evaluator(seed=seed, episodes=episodes, delay=delay, horizon=horizon)


def test_only_the_first_episode_counts():
    # position after n steps is n; beyond 3.5 after 4 steps; the task keeps paying afterwards, until the cycle's end.
    outcomes = play(line_task.Line(goal=3.5), Constant(), delay=0, horizon=8)
    assert outcomes.solved.tolist() == [True] * 6
    assert outcomes.total_reward.tolist() == [1.0] * 6
    assert outcomes.length.tolist() == [4] * 6
    assert outcomes.action_change.tolist() == [0.0] * 6


def test_a_failure_is_not_a_solution():
    outcomes = play(line_task.Line(goal=3.5), Constant(push=-1.0))
    assert not outcomes.solved.any()
    assert outcomes.total_reward.tolist() == [-1.0] * 6


def test_the_time_limit_ends_an_episode_without_reward():
    outcomes = play(line_task.Line(), Constant(), delay=1, horizon=7)  # 7 does not divide 256
    assert outcomes.length.tolist() == [256] * 6
    assert outcomes.total_reward.tolist() == [0.0] * 6


def test_it_stops_when_every_episode_is_over():
    executed_actions = []
    play(line_task.Line(goal=3.5, step_log=executed_actions), Constant(), delay=1, horizon=2)
    assert max(time for time, _ in executed_actions) == 3  # solved by the action of step 3, the last of its cycle


def test_blocks_of_finished_episodes_cost_nothing_and_change_nothing(monkeypatch):
    """Also with a memory, which is sorted along, and with a number of episodes that blocks do not divide."""
    monkeypatch.setattr(evaluator, "BLOCK", 2)
    executed_actions, strategy = [], registry.build("temporal_ensembling", flow_steps=2)
    outcomes = play(
        line_task.Line(goal=6.0, noise_std=0.5, step_log=executed_actions),
        strategy,
        episodes=14,
        batch=14,
        delay=1,
        horizon=1,
    )
    counted = collections.Counter(time for time, _ in executed_actions)
    for time in range(int(outcomes.length.max())):
        busy = [int((device > time).sum()) for device in np.split(outcomes.length, jax.device_count())]
        assert counted[time] == sum(-(-alive // 2) for alive in busy), time
    assert 0 < outcomes.length.min() < outcomes.length.max()
    monkeypatch.setattr(evaluator, "BLOCK", 100)
    whole = play(line_task.Line(goal=6.0, noise_std=0.5), strategy, episodes=14, batch=14, delay=1, horizon=1)
    for field in ("solved", "total_reward", "length"):
        np.testing.assert_array_equal(getattr(outcomes, field), getattr(whole, field), err_msg=field)


class Furthest(line_task.Line):
    """Says how far out any episode of the batch is."""

    def step(self, key, state, action):
        jax.debug.callback(lambda position: self.step_log.append(float(np.abs(position).max())), state.position)
        return line_task.Line(self.goal, self.noise_std).step(key, state, action)


def test_an_episode_that_is_over_waits_at_the_start():
    furthest_positions = []
    outcomes = play(
        Furthest(goal=6.0, noise_std=2.0, step_log=furthest_positions), Constant(push=0.2), delay=0, horizon=1
    )
    assert outcomes.length.max() > outcomes.length.min() + 3
    assert 3.0 < max(furthest_positions) <= 6.0  # nothing that has gone beyond the goal is moved on


def test_parts_plan_the_same_for_fewer(monkeypatch):
    monkeypatch.setattr(batches, "PART", 16)
    strategy = registry.build("temporal_ensembling", flow_steps=2)
    env, cell = line_task.Line(goal=6.0, noise_std=0.5), {"episodes": 16, "batch": 16, "delay": 1, "horizon": 1}
    whole, request_sizes = play(env, strategy, **cell), []
    plan = type(strategy).plan

    def counted(self, policy, request, memory):
        jax.debug.callback(lambda obs: request_sizes.append(len(obs)), request.obs)
        return plan(self, policy, request, memory)

    monkeypatch.setattr(type(strategy), "plan", counted)
    monkeypatch.setattr(batches, "PART", 2)
    parts = play(env, strategy, **cell)
    for field in ("solved", "total_reward", "length"):
        np.testing.assert_array_equal(getattr(parts, field), getattr(whole, field), err_msg=field)
    assert set(request_sizes) == {2}
    needed = [
        -(-int((device > time).sum()) // 2)
        for device in np.split(whole.length, jax.device_count())
        for time in range(int(device.max()))
    ]
    assert len(request_sizes) == sum(needed) < 8 * int(whole.length.max())


def test_strategies_in_one_program_do_what_each_does_alone():
    """With memories, corrections and first chunks of their own."""
    env = line_task.Line(goal=6.0, noise_std=0.5)
    strategies = (
        Constant(push=0.3),
        registry.build("temporal_ensembling", flow_steps=2),
        Pushed(),
        registry.build("rtc"),
    )
    joint_evaluator = evaluator.Evaluator(env, line_task.policy(), *strategies, batch=4)
    joint_outcomes = [
        joint_evaluator(seed=3, episodes=6, delay=1, horizon=2, strategy_index=index)
        for index in range(len(strategies))
    ]
    for strategy, joint in zip(strategies, joint_outcomes, strict=True):
        alone = play(env, strategy)
        np.testing.assert_array_equal(alone.length, joint.length, err_msg=str(strategy))
        np.testing.assert_allclose(alone.action_change, joint.action_change, rtol=1e-5, err_msg=str(strategy))
    assert len({tuple(joint.length) for joint in joint_outcomes}) == len(strategies)


@dataclasses.dataclass(frozen=True)
class Pulled(base.Strategy):
    """Goes back to where it believes to be, and acts on the position alone."""

    gain: float = 0.4
    timing: ClassVar[str] = base.FROM_ARRIVAL
    looks_ahead: ClassVar[bool] = True

    def plan(self, policy, request, memory):
        return self.gain * request.noise + 0.2 * request.ahead[:, None, 1:], memory


def test_timings_and_looking_ahead_are_each_strategy_s_own_affair_in_one_program():
    """A delayed one that corrects, a late one that looks ahead, and a waiting one; at a delay that suits them all."""
    env = line_task.Line(goal=6.0, noise_std=0.5)
    strategies = (Pushed(), Pulled(), registry.build("synchronous"))
    joint = evaluator.Evaluator(env, line_task.policy(), *strategies, batch=4)
    lengths = set()
    for index, strategy in enumerate(strategies):
        together = joint(seed=3, episodes=6, delay=3, horizon=4, strategy_index=index)
        alone = play(env, strategy, delay=3, horizon=4)
        np.testing.assert_array_equal(alone.length, together.length, err_msg=str(strategy))
        for field in ("action_change", "boundary_change"):
            np.testing.assert_allclose(getattr(alone, field), getattr(together, field), rtol=1e-5, err_msg=field)
        lengths.add(tuple(alone.length))
    assert len(lengths) == len(strategies)


@dataclasses.dataclass(frozen=True)
class Foreseeing(base.Strategy):
    """Writes down what it sees, now and ahead, of the first episode."""

    log: Any = None
    looks_ahead: ClassVar[bool] = True

    def plan(self, policy, request, memory):
        seen = (request.obs[0], request.ahead[0], request.previous[0, :, 0])
        jax.debug.callback(lambda *values: self.log.append([np.asarray(value) for value in values]), *seen)
        return request.noise, memory


class ForeseeingLate(Foreseeing):
    timing = base.FROM_ARRIVAL


@pytest.mark.parametrize("cls", [Foreseeing, ForeseeingLate])
@pytest.mark.parametrize(("d", "s"), [(0, 1), (2, 3), (4, 4)])
def test_what_is_seen_ahead_is_where_the_committed_actions_lead_without_noise(cls, d, s):
    log = []
    others = (Blind(), cls(log=log))
    line_evaluator = evaluator.Evaluator(
        line_task.Line(noise_std=0.5, max_steps=12), line_task.policy(), *others, batch=2
    )
    line_evaluator(seed=3, episodes=2, delay=d, horizon=s, strategy_index=1)
    assert len(log) == 2 * len(range(0, 12, s))  # on two devices
    positions = {float(obs[1]) for obs, _, _ in log}
    assert len(positions) > 12 // s  # noise did move them
    for obs, ahead, previous in log:
        np.testing.assert_allclose(ahead, [obs[0] + d, obs[1] + previous[:d].sum()], rtol=1e-5)
    line_evaluator(seed=3, episodes=2, delay=d, horizon=s, strategy_index=0)  # which asserts


@dataclasses.dataclass(frozen=True)
class Blind(base.Strategy):
    """Does not ask for what is ahead, and is not told; but for which numbers are of the robot."""

    def plan(self, policy, request, memory):
        assert request.ahead is None
        assert request.own.shape == request.obs.shape[1:]
        return jnp.where(request.own[None, 1:, None], request.noise, jnp.nan), memory


@dataclasses.dataclass(frozen=True)
class Sampled(base.Strategy):
    """A sampler of its own."""

    def sample(self, policy, obs, noise):
        return jnp.full_like(noise, 0.5)

    def plan(self, policy, request, memory):
        return self.sample(policy, request.obs, request.noise), memory


def test_a_first_chunk_comes_from_the_strategy_s_own_sampler():
    joint_evaluator = evaluator.Evaluator(line_task.Line(max_steps=8), line_task.policy(), Pushed(), Sampled(), batch=4)
    outcomes = joint_evaluator(seed=3, episodes=4, delay=4, horizon=4, strategy_index=1)
    assert outcomes.action_change.tolist() == [0.0] * 4


def test_no_episode_is_played_for_nothing():
    """Runs of the program are of equal size, and no larger than the batch but for what devices leave over."""
    line_evaluator = evaluator.Evaluator(line_task.Line(max_steps=2), line_task.policy(), Constant(), batch=8)
    assert [line_evaluator._episodes_per_run(episodes) for episodes in (1, 2, 7, 8, 9, 16, 17)] == [2, 2, 8, 8, 6, 8, 6]
    line_evaluator.devices, line_evaluator.episodes_per_device = 3, 3
    assert [line_evaluator._episodes_per_run(episodes) for episodes in (8, 9, 10, 18)] == [9, 9, 6, 9]


@dataclasses.dataclass(frozen=True)
class Pushed(base.Strategy):
    """Plain sampling, and a correction that counts."""

    def plan(self, policy, request, memory):
        return self.sample(policy, request.obs, request.noise), memory

    def correct(self, policy, obs, action, index, memory):
        return action + 0.2


@pytest.mark.parametrize("strategy_index", [0, 1, 2])
def test_a_replayed_episode_is_the_one_that_was_counted(strategy_index):
    env = line_task.Line(goal=6.0, noise_std=0.5)
    env.engine = types.SimpleNamespace(bodies=lambda position: (position[None], position[None], 0 * position[None]))
    strategies = (registry.build("temporal_ensembling", flow_steps=2), Pushed(), Pulled())
    line_evaluator = evaluator.Evaluator(env, line_task.policy(), *strategies, batch=4)
    outcomes = line_evaluator(seed=3, episodes=5, delay=1, horizon=2, strategy_index=strategy_index)
    for episode in (0, 4):
        frames, solved = line_evaluator.replay(
            seed=3, episode=episode, delay=1, horizon=2, strategy_index=strategy_index
        )
        assert (len(frames) - 1, solved) == (outcomes.length[episode], outcomes.solved[episode])
        assert abs(frames[-1][0][0]) > 6.0


class Synchronous(line_task.Encoded):
    timing = base.WAITING


@pytest.mark.parametrize("strategy", [line_task.Encoded(), Synchronous()], ids=["delayed", "waiting"])
def test_smoothness_follows_its_definition(strategy):
    d, s, steps = 2, 3, 20
    outcomes = play(line_task.Line(max_steps=steps), strategy, episodes=2, delay=d, horizon=s)
    takeover = 0 if strategy.timing == base.WAITING else d
    actions = []
    for step in range(steps):
        cycle, index = divmod(step, s)
        old = line_task.entry((cycle - 1) * s, index + s) if cycle else line_task.FIRST + index
        actions.append(line_task.entry(cycle * s, index) if index >= takeover else old)
    change = np.abs(np.diff(actions))
    boundary = [change[step - 1] for step in range(1, steps) if step % s == takeover]
    np.testing.assert_allclose(outcomes.action_change, change.mean(), rtol=1e-5)
    np.testing.assert_allclose(outcomes.boundary_change, np.mean(boundary), rtol=1e-5)


@pytest.mark.parametrize("name", ["naive", "bid", "rtc"])
def test_batch_split_and_device_count_change_nothing(name, monkeypatch):
    env, strategy = line_task.Line(goal=6.0, noise_std=0.5), registry.build(name, flow_steps=2)
    whole = play(env, strategy, episodes=10, batch=16)
    assert 0 < whole.solved.sum() < 10
    parts = [play(env, strategy, episodes=10, batch=batch) for batch in (2, 6)]
    first = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: first)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    parts.append(play(env, strategy, episodes=10, batch=16))
    for part in parts:
        for field in ("solved", "total_reward", "length"):
            np.testing.assert_array_equal(getattr(part, field), getattr(whole, field), err_msg=field)
        for field in ("action_change", "boundary_change"):  # XLA rounds a batch of another size differently
            np.testing.assert_allclose(getattr(part, field), getattr(whole, field), rtol=1e-6, err_msg=field)


def test_more_episodes_begin_with_the_same_ones():
    env = line_task.Line(goal=6.0, noise_std=0.5)
    outcomes_of_5, outcomes_of_11 = (play(env, registry.build("naive"), episodes=episodes) for episodes in (5, 11))
    np.testing.assert_array_equal(outcomes_of_5.length, outcomes_of_11.length[:5])


def test_another_seed_is_another_sample():
    env = line_task.Line(goal=6.0, noise_std=0.5)
    outcomes_of_seed_3, outcomes_of_seed_4 = (play(env, registry.build("naive"), seed=seed) for seed in (3, 4))
    assert outcomes_of_seed_3.length.tolist() != outcomes_of_seed_4.length.tolist()


def test_every_strategy_meets_the_same_flow_noise():
    flow_noises = set()

    @dataclasses.dataclass(frozen=True)
    class Listening(base.Strategy):
        push: float = 0.0

        def plan(self, policy, request, memory):
            jax.debug.callback(
                lambda t, n: flow_noises.add((int(t), np.asarray(n).tobytes())), request.obs[0, 0], request.noise
            )
            return jnp.full_like(request.previous, self.push), memory

    play(line_task.Line(max_steps=8), Listening(push=0.0), episodes=2, batch=2)
    unpushed_noises = set(flow_noises)
    flow_noises.clear()
    play(line_task.Line(max_steps=8), Listening(push=1.0), episodes=2, batch=2)
    assert unpushed_noises == flow_noises
    assert {time for time, _ in flow_noises} == {0, 2, 4, 6}
    assert len({noise for _, noise in flow_noises}) == len(flow_noises)  # never the same noise twice


def test_one_compilation_ahead_in_another_thread_serves_every_cell():
    line_evaluator = evaluator.Evaluator(
        line_task.Line(max_steps=8), line_task.policy(), registry.build("rtc"), batch=4
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(line_evaluator.compile, 4).result()
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if "backend_compile" in event else None
    )
    try:
        for delay, horizon in ((0, 1), (1, 1), (2, 5), (4, 4)):
            line_evaluator(seed=1, episodes=4, delay=delay, horizon=horizon)
    finally:
        jax.monitoring.clear_event_listeners()
    assert not compiled


@dataclasses.dataclass(frozen=True)
class Overflowing(base.Strategy):
    """From the third control step on inf, in episodes whose position is on one side."""

    def plan(self, policy, request, memory):
        late = (request.obs[:, 0] >= 3) & (request.obs[:, 1] > 0)
        return jnp.where(late[:, None, None], jnp.inf, request.noise), memory


def test_actions_that_are_not_finite_are_refused_and_never_simulated():
    log = []
    with pytest.raises(evaluator.NotFinite, match=r"control step \d of episode \d \(seed 3\)") as raised:
        play(line_task.Line(noise_std=1.0, max_steps=8, step_log=log), Overflowing(), delay=0, horizon=1)
    assert "inf or nan" in str(raised.value)
    assert log
    assert all(np.isfinite(action).all() for _, action in log)


def test_episodes_can_be_played_from_any_number_on():
    line = evaluator.Evaluator(line_task.Line(noise_std=1.0, goal=3.0), line_task.policy(), Constant(push=0.1), batch=4)
    cell = {"seed": 3, "delay": 1, "horizon": 2}
    whole, rest = line(episodes=10, **cell), line(episodes=7, first=3, **cell)
    np.testing.assert_array_equal(rest.length, whole.length[3:])
    line.compile(6)
    np.testing.assert_array_equal(line(episodes=10, **cell).length, whole.length)
