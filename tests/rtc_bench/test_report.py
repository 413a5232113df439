"""Tables and pictures of a run."""

import itertools

import pytest

from rtc_bench import config as configs
from rtc_bench import pictures, report, results, statistics


def row(task, strategy, delay, horizon=None, rate=0.5, episodes=100):
    low, high = statistics.wilson_interval(round(rate * episodes), episodes)
    measured = {"solve_rate": rate, "ci_low": low, "ci_high": high, "mean_return": rate, "mean_length": 9.0}
    rest = {"action_change": 0.1, "boundary_change": 0.2, "seed": 0, "policy": "p", "seconds": 1.0}
    horizon = max(delay, 1) if horizon is None else horizon
    return results.Row(task, strategy, delay, horizon, episodes, **measured, **rest)


ROWS = [
    row(task, strategy, delay, rate=0.9 - 0.1 * delay - 0.2 * (strategy == "naive"))
    for task, strategy, delay in itertools.product(("a", "b"), ("naive", "rtc"), (0, 2, 4))
]


def test_the_curve_over_delay_takes_the_default_horizon():
    every = [row("a", "rtc", d, s, rate=s / 10) for d in range(5) for s in range(max(d, 1), 9 - d)]
    assert [(r.delay, r.horizon) for r in report.default_rows(every)] == [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4)]


def test_the_mean_over_tasks_leaves_out_delays_that_a_task_lacks():
    some = [row("a", "rtc", 0, rate=0.2), row("b", "rtc", 0, rate=0.6), row("a", "rtc", 1, rate=0.2)]
    points = report.mean_curve(some, "rtc")
    assert [point[0] for point in points] == [0]
    assert points[0][1] == pytest.approx((0.2 + 0.6) / 2)


def test_the_table_has_every_cell_and_the_mean():
    text = report.markdown(ROWS)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| task | strategy | d=0 | d=2 | d=4 |"
    assert len(lines) == 2 + 2 * 2 + 2
    assert lines[2].startswith("| a | naive | 0.70 [")
    assert lines[-1].startswith("| mean | rtc | 0.90 [")


def test_the_page_says_what_made_it():
    text = report.markdown(ROWS, ["`sweep.py delay=0` at commit `abc`"])
    assert "Made by:\n\n- `sweep.py delay=0` at commit `abc`" in text
    assert "100 episodes a cell" in text


def test_the_terminal_shows_every_rate(capsys):
    report.show(ROWS)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("0.90 [", "0.70 [", "naive", "mean", "d=4"))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:3], ROWS[:1]], ids=["tasks", "one task", "one cell"])
def test_pictures_are_written_whole(tmp_path, rows):
    report.write(rows, tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "curves.png"]


def test_styles_differ_in_grey():
    assert len({style[1:] for style in pictures.STYLES[:7]}) == len(pictures.STYLES[:7])


@pytest.mark.parametrize(
    ("text", "answer"), [(None, r"no results\.csv"), (",".join(results.COLUMNS) + "\n", "no rows yet")]
)
def test_a_folder_without_results_is_refused(tmp_path, text, answer):
    if text is not None:
        (tmp_path / "results.csv").write_text(text)
    with pytest.raises(configs.ConfigError, match=answer):
        report.run(configs.ReportConfig(run=str(tmp_path)))
