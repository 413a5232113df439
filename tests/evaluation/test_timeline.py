"""Which action of which chunk is executed when, for every cell of a chunk of 8."""

import jax.numpy as jnp
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation import evaluator, timeline

H = 8
CELLS = [(d, s) for d in range(5) for s in range(max(d, 1), H - d + 1)]
STEPS = 21


def executed(step, d, s):
    """DESIGN section 5 for one control step: d actions of the old chunk, then the new one; replan every s steps."""
    cycle, index = divmod(step, s)
    if index >= d:
        return line_task.entry(cycle * s, index)
    return line_task.entry((cycle - 1) * s, index + s) if cycle else line_task.FIRST + index


def test_there_are_24_cells():
    assert len(CELLS) == 24


def test_executed_actions_and_previous_chunks_follow_the_timeline_in_every_cell():
    executed_actions, requests = [], []
    env = line_task.Line(max_steps=STEPS, step_log=executed_actions)
    line_evaluator = evaluator.Evaluator(env, line_task.policy(H), line_task.Encoded(requests=requests), batch=2)
    for d, s in CELLS:
        executed_actions.clear(), requests.clear()
        line_evaluator(seed=0, episodes=2, delay=d, horizon=s)
        action_at = {time: float(action[0]) for time, action in executed_actions if time < STEPS}
        assert action_at == {step: executed(step, d, s) for step in range(STEPS)}, (d, s)
        for time, previous in requests:
            if time == 0:
                assert previous.tolist() == [line_task.FIRST + i for i in range(H)]
            else:
                old = [line_task.entry(time - s, i + s) if i + s < H else 0 for i in range(H)]
                if time > s:  # the first cycle's old chunk has no other origin beyond d either: d <= s
                    assert previous.tolist() == old, (d, s, time)
        assert {time for time, _ in requests} == set(range(0, STEPS, s)), (d, s)


@pytest.mark.parametrize(("d", "s"), [(0, 3), (2, 3), (4, 4), (0, 8)])
def test_merge_then_shift(d, s):
    old, new = (
        jnp.full((1, H, 1), value) + jnp.arange(H, dtype=jnp.float32)[None, :, None] for value in (100.0, 200.0)
    )
    merged = timeline.merge(old, new, jnp.int32(d))
    expected = [100.0 + i if i < d else 200.0 + i for i in range(H)]
    assert merged[0, :, 0].tolist() == expected
    assert timeline.shift(merged, jnp.int32(s))[0, :, 0].tolist() == expected[s:] + [0.0] * s


@pytest.mark.parametrize(("d", "s"), CELLS)
def test_a_boundary_is_where_the_executed_chunk_changes(d, s):
    chunk_of = [executed(step, d, s) // 100 for step in range(STEPS)]
    expected = [step > 0 and chunk_of[step] != chunk_of[step - 1] for step in range(STEPS)]
    boundaries = [
        bool(timeline.is_chunk_boundary(jnp.int32(step % s), jnp.int32(d), jnp.int32(s))) for step in range(STEPS)
    ]
    assert boundaries[1:] == expected[1:]
    assert np.sum(expected) >= STEPS // s - 1
