"""Which action of which chunk is executed when, for every cell of a chunk of 8 and every timing."""

import jax.numpy as jnp
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation import evaluator
from rtc_bench.evaluation.execution import timeline
from rtc_bench.strategies import base

H = 8
STEPS = 21
CELLS = {
    base.DELAYED: [(d, s) for d in range(5) for s in range(max(d, 1), H - d + 1)],
    base.FROM_ARRIVAL: [(d, s) for d in range(H) for s in range(max(d, 1), H + 1)],
    base.WAITING: [(d, s) for d in range(H) for s in range(max(d, 1), H + 1)],
}
TIMED_CELLS = [(timing, *cell) for timing, cells in CELLS.items() for cell in cells]


def timed(cls, timing, **fields):
    """A strategy of this class with this timing."""
    return type(cls.__name__, (cls,), {"timing": timing})(**fields)


def calendar(timing, d, s, until=STEPS + 1):
    """By definition: every request's chunk is written over what stood at its steps. Asked at t, for t = 0, s, 2s ...: the
    calendar before it and after it, {step: encoded action}.
    """
    first, begin = {base.DELAYED: (d, 0), base.FROM_ARRIVAL: (d, d), base.WAITING: (0, 0)}[timing]
    actions = {step: line_task.FIRST + step for step in range(H)}
    for t in range(0, until, s):
        before = dict(actions)
        actions |= {t + step: line_task.entry(t, step - begin) for step in range(first, begin + H)}
        yield t, before, dict(actions)


def executed(timing, d, s):
    """What is executed at steps 0 .. STEPS - 1."""
    actions = {}
    for t, _, after in calendar(timing, d, s):
        actions |= {step: after[step] for step in range(t, t + s)}
    return [actions[step] for step in range(STEPS)]


def test_there_are_24_cells_and_43_where_no_action_is_lost():
    assert [len(cells) for cells in CELLS.values()] == [24, 43, 43]


@pytest.mark.parametrize(
    ("timing", "d", "s", "expected"),
    [  # drawn by hand: (asked at, index), from step 0 on; None is the chunk before any request
        (base.DELAYED, 2, 3, [(None, 0), (None, 1), (0, 2), (0, 3), (0, 4), (3, 2), (3, 3), (3, 4), (6, 2)]),
        (base.DELAYED, 2, 2, [(None, 0), (None, 1), (0, 2), (0, 3), (2, 2), (2, 3), (4, 2), (4, 3)]),
        (base.FROM_ARRIVAL, 2, 3, [(None, 0), (None, 1), (0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2), (6, 0)]),
        (base.FROM_ARRIVAL, 7, 8, [*((None, i) for i in range(7)), *((0, i) for i in range(8)), (8, 0), (8, 1)]),
        (base.WAITING, 2, 3, [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2), (6, 0)]),
        (base.WAITING, 7, 7, [*((0, i) for i in range(7)), (7, 0), (7, 1)]),
    ],
)
def test_the_calendar_is_as_drawn(timing, d, s, expected):
    wanted = [line_task.FIRST + index if t is None else line_task.entry(t, index) for t, index in expected]
    assert executed(timing, d, s)[: len(wanted)] == wanted


@pytest.mark.parametrize("timings", [(timing,) for timing in base.TIMINGS] + [base.TIMINGS], ids="+".join)
def test_what_is_executed_and_what_a_request_holds_follow_the_timeline_in_every_cell(timings):
    """Alone, and all timings in one program; also the index that ``correct`` is told."""
    log, requests = [], []
    strategies = [
        timed(cls, timing, requests=requests) for timing in timings for cls in (line_task.Encoded, line_task.Placed)
    ]
    env = line_task.Line(max_steps=STEPS, step_log=log)
    play = evaluator.Evaluator(env, line_task.policy(H), *strategies, batch=2)
    for index, strategy in enumerate(strategies):
        for d, s in CELLS[strategy.timing]:
            log.clear(), requests.clear()
            play(seed=0, episodes=2, delay=d, horizon=s, strategy_index=index)
            action_at = {time: float(action[0]) for time, action in log if time < STEPS}
            assert [action_at[step] for step in range(STEPS)] == executed(strategy.timing, d, s), (strategy, d, s)
            previous_at = {time: previous.tolist() for time, previous in requests}
            assert sorted(previous_at) == list(range(0, STEPS, s)), (strategy, d, s)
            for t, before, _ in calendar(strategy.timing, d, s, STEPS):
                if isinstance(strategy, line_task.Placed):
                    break  # its chunks do not hold indices
                assert previous_at[t] == [before.get(t + i, 0) for i in range(H)], (strategy, d, s, t)


@pytest.mark.parametrize(("d", "s"), [(0, 3), (2, 3), (4, 4), (0, 8)])
def test_merge_then_shift(d, s):
    old, new = (
        jnp.full((1, H, 1), value) + jnp.arange(H, dtype=jnp.float32)[None, :, None] for value in (100.0, 200.0)
    )
    merged = timeline.merge(old, new, jnp.int32(d))
    expected = [100.0 + i if i < d else 200.0 + i for i in range(H)]
    assert merged[0, :, 0].tolist() == expected
    assert timeline.shift(merged, jnp.int32(s))[0, :, 0].tolist() == expected[s:] + [0.0] * s


@pytest.mark.parametrize("d", [0, 3, 7])
def test_a_late_chunk_is_merged_whole(d):
    old = 100.0 + jnp.arange(2.0 * H)[None, :, None]
    new = 200.0 + jnp.arange(1.0 * H)[None, :, None]
    merged = timeline.merge(old, new, jnp.int32(d), jnp.int32(d))[0, :, 0].tolist()
    assert merged == [100.0 + i for i in range(d)] + [200.0 + i for i in range(H)] + [0.0] * (H - d)


@pytest.mark.parametrize(("timing", "d", "s"), TIMED_CELLS)
def test_a_boundary_is_where_the_executed_chunk_changes(timing, d, s):
    chunk_of = [action // 100 for action in executed(timing, d, s)]
    expected = [step > 0 and chunk_of[step] != chunk_of[step - 1] for step in range(STEPS)]
    takeover = jnp.int32(0 if timing == base.WAITING else d)
    places = {"takeover": takeover, "first": timeline.next_first(takeover, jnp.int32(s))}
    boundaries = [bool(timeline.is_chunk_boundary(jnp.int32(step % s), **places)) for step in range(STEPS)]
    assert boundaries[1:] == expected[1:]
    assert np.sum(expected) >= STEPS // s - 1
