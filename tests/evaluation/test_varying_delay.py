"""Delays that differ from request to request: who acts when, what is told, and where chunks run out."""

import dataclasses

import jax
import jax.numpy as jnp
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation import evaluator, settings
from rtc_bench.evaluation.latency import schedule
from rtc_bench.policies import foreign, host_callback
from rtc_bench.strategies import base, registry

H, STEPS = 8, 40
SCHEDULES = {
    "constant": [2] * STEPS,
    "jitter": [1, 3, 2, 0, 4, 2, 1, 3, 0, 2] * 4,
    "later than any chunk lasts": [2, 11, 1, 8, 0, 9, 3] * 6,
}


def walk(timing, actual, told, s, underrun):
    """By definition, step by step: what is executed, what requests hold, how many steps found no chunk."""
    calendar = {step: line_task.FIRST + step for step in range(H)}
    newest_last, last, t = line_task.FIRST + H - 1, 0.0, 0
    executed, requests, underruns = [], [], 0
    for delay, estimate in zip(actual, told, strict=True):
        delay = 0 if timing == base.WAITING else delay
        committed = min(max(max(calendar, default=t - 1) + 1 - t, 0), H)
        begin = min(max(estimate, 0), committed) if timing == base.FROM_ARRIVAL else 0
        requests.append((t, [calendar.get(t + i, 0) for i in range(H)]))
        arrival, takeover, asked = t + delay, t + max(delay, begin), t
        new = {asked + begin + i: line_task.entry(asked, i) for i in range(H) if asked + begin + i >= takeover}
        for step in range(t, t + max(s, delay)):
            if step == takeover:
                calendar = {**{k: v for k, v in calendar.items() if k < takeover}, **new}
            if step == arrival:
                newest_last = line_task.entry(asked, H - 1)
            if step not in calendar:
                underruns += step < STEPS
            last = calendar.get(step, {"hold": last, "zero": 0.0, "repeat": newest_last}[underrun])
            executed.append(last)
        t += max(s, delay)
        if takeover >= t:
            calendar = {**{k: v for k, v in calendar.items() if k < takeover}, **new}
        if arrival >= t:
            newest_last = line_task.entry(asked, H - 1)
        if t >= STEPS:
            return executed[:STEPS], requests, underruns
    raise AssertionError("too few delays")


def delays_of(actual, told=None):
    """The same for both episodes."""
    return schedule.Delays(*(np.array([row, row], np.int32) for row in (actual, actual if told is None else told)))


@pytest.mark.parametrize("underrun", settings.UNDERRUNS)
@pytest.mark.parametrize("timing", base.TIMINGS)
def test_what_is_executed_follows_the_calendar(timing, underrun, monkeypatch):
    monkeypatch.setattr(evaluator, "LANES", 1)  # what fills a block up would be noted, too
    log, requests = [], []
    strategies = [
        type("Own", (cls,), {"timing": timing})(requests=requests) for cls in (line_task.Encoded, line_task.Placed)
    ]
    play = evaluator.Evaluator(line_task.Line(max_steps=STEPS, step_log=log), line_task.policy(H), *strategies, batch=2)
    for name, actual in SCHEDULES.items():
        for by in (0, -1, 2):
            for s in (1, 2, 5):
                told = [max(delay + by, 0) for delay in actual]
                expected, asked, underruns = walk(timing, actual, told, s, underrun)
                case = {"seed": 0, "episodes": 2, "delay": 2, "horizon": s, "underrun": underrun}
                log.clear(), requests.clear()
                outcomes = play(**case, delays=delays_of(actual, told))
                action_at = {time: float(action[0]) for time, action in log if time < STEPS}
                assert [action_at[step] for step in range(STEPS)] == expected, (name, by, s)
                previous_at = {time: previous.tolist() for time, previous in requests}
                assert sorted(previous_at.items()) == sorted((t, row) for t, row in asked if t < STEPS), (name, by, s)
                assert outcomes.underruns.tolist() == [underruns] * 2
                assert outcomes.requests.tolist() == [len(previous_at)] * 2
                wrong = sum(a != b for a, b in zip(actual, told, strict=True) if timing != base.WAITING)
                assert (outcomes.misestimates > 0).all() == (wrong > 0)
                if name == "constant" and timing != base.FROM_ARRIVAL:
                    log.clear()
                    play(**case, strategy_index=1, delays=delays_of(actual, told))
                    placed = {time: float(action[0]) for time, action in log if time < STEPS}
                    assert [placed[step] for step in range(STEPS)] == expected, s


def test_what_is_told_is_no_more_than_what_is_committed():
    @dataclasses.dataclass(frozen=True)
    class Told(base.Strategy):
        def plan(self, policy, request, memory):
            value = 100 * request.horizon + request.delay
            return jnp.broadcast_to(value.astype(jnp.float32), request.previous.shape), memory

        def first(self, policy, obs, noise):
            return jnp.zeros_like(noise)

    log = []
    play = evaluator.Evaluator(line_task.Line(max_steps=14, step_log=log), line_task.policy(H), Told(), batch=2)
    # asked at 0, told 2; at 2: 2 steps since, told 3; at 5: 3 steps since, 5 left of the old chunk, told 7
    actual, told = [2, 3, 5, 1, 1, 1], [2, 3, 7, 1, 1, 1]
    play(seed=0, episodes=2, delay=2, horizon=2, delays=delays_of(actual, told))
    action_at = {time: float(action[0]) for time, action in log}
    assert [action_at[step] for step in (0, 2, 5, 10)] == [0.0, 202.0, 203.0, 305.0]


NOISY = {"noise_std": 1.0, "goal": 9.0, "max_steps": 60}
NAMES = ("naive", "temporal_ensembling", "rtc", "bid_no_weak", "oracle", "synchronous")


def played(play, **case):
    return [np.asarray(leaf, float) for leaf in play(**case)[:-1]]


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_a_constant_delay_drawn_is_a_constant_delay(index):
    strategies = [registry.build(name) for name in NAMES]
    env, policy = line_task.Line(**NOISY), line_task.policy(H)
    constant, varying = (evaluator.Evaluator(env, policy, *strategies, batch=8) for _ in range(2))
    for d, s in ((0, 1), (2, 3), (4, 4)):
        case = {"seed": 1, "episodes": 8, "delay": d, "horizon": s, "strategy_index": index}
        delays = schedule.Delays(*(np.full((8, 60), d, np.int32) for _ in range(2)))
        for one, other in zip(played(constant, **case), played(varying, **case, delays=delays), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_neither_the_batch_nor_the_others_in_it_change_an_episode():
    strategies = [registry.build(name) for name in ("naive", "temporal_ensembling")]
    env, policy = line_task.Line(**NOISY), line_task.policy(H)
    actual = np.random.default_rng(0).integers(0, 12, (7, 60)).astype(np.int32)
    delays = schedule.Delays(actual, np.maximum(actual - 1, 0))
    case = {"seed": 1, "delay": 2, "horizon": 2, "strategy_index": 1}
    together = evaluator.Evaluator(env, policy, *strategies, batch=8)(**case, episodes=7, delays=delays)
    in_turn = evaluator.Evaluator(env, policy, *strategies, batch=2)(**case, episodes=7, delays=delays)
    for one, other in zip(together[:-1], in_turn[:-1], strict=True):
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), atol=1e-5)
    assert len({*together.length.tolist()}) > 2  # episodes differ
    assert together.delays.tolist() == in_turn.delays.tolist()
    for row, count, met in zip(actual, together.requests, together.delays, strict=True):
        assert list(met) == row[:count].tolist()


def test_jerk_is_the_second_difference_at_boundaries():
    log = []
    play = evaluator.Evaluator(
        line_task.Line(max_steps=12, step_log=log), line_task.policy(H), line_task.Encoded(), batch=2
    )
    outcomes = play(seed=0, episodes=2, delay=2, horizon=3)
    action_at = {time: float(action[0]) for time, action in log}
    actions = [action_at[step] for step in range(12)]
    boundaries = [2, 5, 8, 11]  # two steps after each request
    second = [abs(actions[i] - 2 * actions[i - 1] + actions[i - 2]) for i in boundaries]
    assert outcomes.boundary_jerk[0] == pytest.approx(np.mean(second), rel=1e-5)


class OfNumpy:
    """A network of NumPy arrays, or the same in JAX; ``kind`` is what it gives, and ``episodes`` how many it is asked for."""

    horizon = H

    def __init__(self, kind, on_host):
        self.on_host, self.episodes = on_host, []
        setattr(self, kind, getattr(self, f"_{kind}"))

    def _asked(self, formula, like, **arrays):
        def on_host(arrays):
            self.episodes.append(len(arrays["obs"]))
            return formula(**arrays)

        return host_callback.call(on_host, like, arrays) if self.on_host else formula(**arrays)

    def _chunk(self, params, obs, noise):
        return self._asked(lambda obs, noise: noise - 0.1 * obs[:, None, 1:], noise, obs=obs, noise=noise)

    def _velocity(self, params, obs, x_t, time):
        def velocity(obs, x_t, time):
            return x_t * time[:, None, None] - 0.1 * obs[:, None, 1:]

        return self._asked(velocity, x_t, obs=obs, x_t=x_t, time=time)

    def _continued(self, params, obs, noise, previous, delay, horizon):
        def continued(obs, noise, previous, delay, horizon):
            own = previous + 0.01 * (delay + 10 * horizon).reshape(-1, 1, 1).astype(np.float32)
            return own + 0.1 * noise - 0.1 * obs[:, None, 1:]

        return self._asked(continued, noise, obs=obs, noise=noise, previous=previous, delay=delay, horizon=horizon)


@pytest.mark.parametrize(
    ("kind", "name"), [("chunk", "naive"), ("velocity", "naive"), ("velocity", "bid_no_weak"), ("continued", "served")]
)
def test_a_policy_outside_of_the_program_plays_as_one_in_it(kind, name):
    batch, strategy = 8, registry.build(name)
    actual = np.random.default_rng(0).integers(0, 5, (batch, 60)).astype(np.int32)
    case = {"seed": 1, "episodes": batch, "delay": 2, "horizon": 2, "delays": schedule.Delays(actual, actual)}
    outcomes, asked = [], []
    for on_host in (True, False):
        own = OfNumpy("chunk" if kind == "continued" else kind, on_host)
        if kind == "continued":
            own.continued = own._continued
        source = foreign.Source(own, "policy=own", "own", __file__, "0")
        policy = foreign.adapt(source, obs_size=2, action_size=1)
        assert policy.on_host is on_host
        own.episodes.clear()
        outcomes.append(played(evaluator.Evaluator(line_task.Line(**NOISY), policy, strategy, batch=batch), **case))
        asked.append(own.episodes)
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert min(asked[0]) >= batch // jax.device_count(), "one episode at a time"
