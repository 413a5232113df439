"""When a chunk is asked for and which action is executed, against a simulation that knows no state."""

import functools

import numpy as np
import pytest

from rtc_bench.realtime import estimates, execution

STEPS, INITIAL, REMEMBERED = 60, 2, 3
RNG = np.random.default_rng(0)
DELAYS = {
    "constant 0": [0] * STEPS,
    "constant 1": [1] * STEPS,
    "constant 3": [3] * STEPS,
    "jitter": RNG.integers(1, 5, STEPS).tolist(),
    "jitter around H": RNG.integers(1, 13, STEPS).tolist(),
    "beyond H": [9, 8, 20, 8] * STEPS,
}


def chunk_of(origin, config):
    """The chunk of the request at step ``origin``, -1 for the first chunk: every number says where it came from."""
    index = np.arange(config.prediction_horizon)[:, None]
    return (100.0 * (origin + 2) + index + 0.25 * np.arange(config.action_size)).astype(np.float32)


def settings(h=8, s=2, **options):
    options = {"initial_delay": INITIAL, "remembered_delays": REMEMBERED, **options}
    return execution.ControllerConfig(prediction_horizon=h, action_size=2, execution_horizon=s, **options)


def play(config, delays, steps=STEPS):
    """Drive the state machine: what was executed, the requests, and the machine."""
    machine, executed, requests, arrival = execution.Execution(config), [], [], None
    machine.begin(chunk_of(-1, config))
    for step in range(steps):
        for arrives in (True, False):  # before this step's request, and for a delay of 0 after it
            if arrival == step:
                machine.arrive(chunk_of(requests[-1].step, config), seconds=delays[len(requests) - 1] / 30)
                arrival = None
            if arrives and machine.is_due:
                requests.append(machine.request(f"obs {step}"))
                arrival = step + delays[len(requests) - 1]
        executed.append(machine.action())
    return np.array(executed), requests, machine


def simulate(config, delays, steps=STEPS):
    """By definition: request k + 1 is max(s, D_k) steps after request k, and a step belongs to the newest chunk that is there.

    Returns executed [T, A], underruns [T], and the requests' control steps [K].
    """
    h = config.prediction_horizon
    asked = np.cumsum([0, *np.maximum(config.execution_horizon, delays)])[: len(delays)]
    executed, underruns = np.zeros((steps, config.action_size), np.float32), np.zeros(steps, bool)
    for step in range(steps):
        there = np.flatnonzero(asked + delays <= step)
        origin = asked[there[-1]] if there.size else -1
        index = step - max(origin, 0)
        underruns[step] = index >= h
        past_end = {
            "hold": executed[step - 1],
            "zero": np.zeros(config.action_size),
            "repeat": chunk_of(origin, config)[-1],
        }
        executed[step] = past_end[config.underrun] if underruns[step] else chunk_of(origin, config)[index]
    return executed, underruns, asked[asked < steps]


@pytest.mark.parametrize("underrun", execution.UNDERRUNS)
@pytest.mark.parametrize(("h", "s"), [(8, 1), (8, 2), (8, 5), (8, 8), (1, 1)])
@pytest.mark.parametrize("delays", DELAYS.values(), ids=DELAYS)
def test_the_state_machine_is_what_the_definition_says(delays, h, s, underrun):
    config = settings(h, s, underrun=underrun)
    executed, requests, machine = play(config, delays)
    expected, underruns, asked = simulate(config, delays)
    np.testing.assert_array_equal(executed, expected)
    assert [request.step for request in requests] == asked.tolist()
    assert machine.counts[:3] == (STEPS, len(asked), underruns.sum())


@pytest.mark.parametrize("delays", DELAYS.values(), ids=DELAYS)
def test_what_a_request_holds(delays):
    config = settings(8, 3)
    _, requests, machine = play(config, delays)
    queue, origin, misestimates = [INITIAL], None, 0
    for number, request in enumerate(requests):
        shift = 0 if origin is None else request.step - origin
        old = chunk_of(-1 if origin is None else origin, config)
        expected = [old[shift + i] if shift + i < 8 else [0, 0] for i in range(8)]
        np.testing.assert_array_equal(request.previous, np.array(expected, np.float32))
        assert request.previous.dtype == np.float32
        assert request.obs == f"obs {request.step}"
        assert request.elapsed == (3 if origin is None else shift)
        estimate = max(queue[-REMEMBERED:])
        assert request.delay == min(estimate, max(8 - shift, 0))
        if number < len(machine.records):
            record = (request.step, estimate, request.delay, delays[number], delays[number] / 30)
            assert machine.records[number] == record
            misestimates += estimate != delays[number]
        queue.append(delays[number])
        origin = request.step
    assert len(requests) - len(machine.records) in (0, 1)  # the last one may be on its way
    assert machine.counts.misestimates == misestimates


@pytest.mark.parametrize(("underrun", "held"), [("hold", (0, 5)), ("zero", None), ("repeat", (0, 5))])
def test_the_timeline_is_as_drawn(underrun, held):
    config = settings(6, 2, underrun=underrun)
    executed, requests, machine = play(config, [1, 5, 1, 1], steps=10)
    drawn = [(-1, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), held, (2, 5), (7, 1), (7, 2)]
    expected = [chunk_of(place[0], config)[place[1]] if place else np.zeros(2) for place in drawn]
    np.testing.assert_array_equal(executed, expected)
    assert [request.step for request in requests] == [0, 2, 7, 9]
    assert [request.delay for request in requests] == [2, 2, 1, 4]
    assert [record.estimate for record in machine.records] == [2, 2, 5]
    assert machine.counts == (10, 4, 1, 3)


@pytest.mark.parametrize(("underrun", "expected"), [("hold", 7.0), ("repeat", 57.0)])
def test_a_chunk_that_is_over_when_it_arrives_is_still_the_newest(underrun, expected):
    machine = execution.Execution(settings(1, 1, underrun=underrun))
    machine.begin(np.full((1, 2), 7.0, np.float32))
    machine.request(None)
    machine.action(), machine.action()
    machine.arrive(np.full((1, 2), 57.0, np.float32))
    assert machine.action().tolist() == [expected] * 2
    assert machine.counts.underruns == 2


def test_the_cold_start_leaves_no_trace_but_its_chunk():
    machine = execution.Execution(settings())
    cold = machine.cold_request("first")
    assert (cold.obs, cold.delay, cold.elapsed, cold.step) == ("first", 0, 8, 0)
    assert not cold.previous.any()
    assert cold.previous.shape == (8, 2)
    machine.begin(chunk_of(-1, machine.config))
    request = machine.request("first")
    assert (request.delay, request.elapsed, machine.records) == (INITIAL, 2, [])


@pytest.mark.parametrize("underrun", ["hold", "repeat"])
def test_an_action_is_the_callers_own(underrun):
    machine = execution.Execution(settings(1, 1, underrun=underrun))
    machine.begin(np.full((1, 2), 7.0, np.float32))
    machine.request(None)
    for _ in range(3):  # the only action, and twice past the end
        action = machine.action()
        assert action.tolist() == [7.0, 7.0]
        action[:] = np.nan


def test_what_cannot_be_is_refused():
    machine = execution.Execution(settings())
    with pytest.raises(RuntimeError, match="no chunk to execute"):
        machine.action()
    machine.begin(chunk_of(-1, machine.config))
    with pytest.raises(RuntimeError, match="not asked for"):
        machine.arrive(chunk_of(0, machine.config))
    machine.request(None)
    machine.action()
    with pytest.raises(RuntimeError, match="no chunk is due at control step 1"):
        machine.request(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"h": 0}, "prediction_horizon=0 is too small; it must be 1 or more"),
        ({"s": 0}, "execution_horizon=0 is too small"),
        ({"s": 9}, "execution_horizon=9 is too large: a chunk has 8 actions; give 1 to 8"),
        ({"initial_delay": -1}, "initial_delay=-1 is too small; it must be 0 or more"),
        ({"remembered_delays": 0}, "remembered_delays=0 is too small"),
        ({"underrun": "stop"}, "underrun='stop' is not valid; underrun: hold, zero, repeat"),
    ],
)
def test_a_config_that_cannot_be_executed_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        settings(**options)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (estimates.maximum, 9),
        (estimates.quantile(1.0), 9),
        (estimates.quantile(0.8), 3),  # 1 2 2 3 9: four of five do not exceed 3
        (estimates.quantile(0.81), 9),
        (estimates.quantile(0.5), 2),
        (estimates.quantile(0.0), 1),
        (estimates.constant(4), 4),
        (estimates.offset(estimates.maximum, 1), 10),
        (estimates.offset(estimates.constant(1), -3), -2),
    ],
)
def test_estimates(estimate, expected):
    value = estimate((2, 9, 1, 3, 2))
    assert value == expected
    assert isinstance(value, int)


def test_a_quantile_beyond_all_is_refused():
    with pytest.raises(ValueError, match=r"q=1.5 is not a share; give a number from 0 to 1"):
        estimates.quantile(1.5)


@pytest.mark.parametrize(("steps", "delay"), [(-3, 0), (0, 1), (4, 5), (20, 6)])
def test_a_request_is_told_no_less_than_0_and_no_more_than_is_left(steps, delay):
    """The second request: asked 2 steps after the first, so that 6 of 8 actions are left."""
    played = functools.partial(play, delays=[1, 1], steps=3)
    _, requests, machine = played(settings(estimate=estimates.offset(estimates.constant(1), steps)))
    assert requests[1].delay == delay
    assert machine.counts.misestimates == (steps != 0)
