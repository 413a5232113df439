"""Curves from rows."""

import example_runs
import pytest

from rtc_bench.analysis import success_curves


def test_the_curve_over_delay_takes_the_default_horizon():
    rows = [example_runs.row("a", "rtc", d, s, rate=s / 10) for d in range(5) for s in range(max(d, 1), 9 - d)]
    assert [(row.delay, row.horizon) for row in success_curves.rows_over_delay(rows)] == [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]


def test_the_mean_over_tasks_leaves_out_delays_that_a_task_lacks():
    rows = [
        example_runs.row("a", "rtc", 0, rate=0.2),
        example_runs.row("b", "rtc", 0, rate=0.6),
        example_runs.row("a", "rtc", 1, rate=0.2),
    ]
    points = success_curves.mean_curve(rows, "rtc")
    assert [point[0] for point in points] == [0]
    assert points[0][1] == pytest.approx((0.2 + 0.6) / 2)
