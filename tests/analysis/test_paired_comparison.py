"""Comparisons of strategies, on episodes whose ends are written down."""

import example_runs
import numpy as np
import pytest

from rtc_bench.analysis import paired_comparison
from rtc_bench.common import errors
from rtc_bench.evaluation import run_folder
from rtc_bench.reporting import result_tables


def ended(solved):
    count = len(solved)
    numbers = {"seed": np.zeros(count, np.uint32), "episode": np.arange(count), "length": np.full(count, 9)}
    return {**numbers, "solved": solved, "total_reward": 2 * solved.astype(np.int8) - 1}


def loaded(ends):
    """(task, strategy, delay) -> which episodes were solved."""
    rows, episodes = [], {}
    for (task, strategy, delay), solved in ends.items():
        solved = np.asarray(solved, bool)
        row = example_runs.row(task, strategy, delay, rate=float(solved.mean()), episodes=len(solved))
        rows.append(row)
        episodes[row.cell] = ended(solved)
    return run_folder.LoadedRuns(rows, episodes, [], [])


HALF = np.arange(100) % 2 == 0
TEN_MORE = HALF | (np.arange(100) < 20)  # ten episodes more, and no other
ENDS = {
    ("a", "naive", 0): HALF,
    ("a", "rtc", 0): HALF,
    ("a", "naive", 2): HALF,
    ("a", "rtc", 2): TEN_MORE,
}


def test_the_film_is_of_a_delay_that_all_strategies_have():
    ends = {**ENDS, ("a", "oracle", 0): HALF, ("a", "rtc", 7): HALF | True, ("a", "naive", 7): HALF & False}
    telling = paired_comparison.most_telling_episode
    assert telling(paired_comparison.PairedOutcomes(loaded(ends)))[:3] == ("a", 0, 1)
    without = {key: solved for key, solved in ends.items() if key != ("a", "oracle", 0)}
    assert telling(paired_comparison.PairedOutcomes(loaded(without)))[:3] == ("a", 7, 7)
    nothing_shared = {("a", "naive", 0): HALF, ("a", "rtc", 2): HALF}
    assert telling(paired_comparison.PairedOutcomes(loaded(nothing_shared)))[:3] == ("a", 0, 1)


def test_pairs_decide_where_rates_alone_would_not():
    (level, ahead, overall) = paired_comparison.against_baseline(
        paired_comparison.PairedOutcomes(loaded(ENDS)), "naive"
    )
    assert (level.delay, level.verdict, level.difference) == (0, "undecided", 0.0)
    assert (ahead.delay, ahead.verdict, ahead.tasks, ahead.episodes) == (2, "ahead", 1, 100)
    assert ahead.difference == pytest.approx(0.1)
    # ten wins, ninety ties: standard error sqrt(0.1 * 0.9 / 100) = 0.03; two rates of 0.5 and 0.6 would have 0.07
    assert ahead.low == pytest.approx(0.1 - 1.96 * 0.03, abs=0.015)
    assert (overall.delay, overall.difference) == (None, pytest.approx(0.05))
    assert ahead.improvement == pytest.approx(0.55)  # 0.5 + (0.6 - 0.5) / 2
    unpaired = paired_comparison.against_baseline(
        paired_comparison.PairedOutcomes(loaded({**ENDS, ("a", "rtc", 2): np.roll(TEN_MORE, 1)})), "naive"
    )[1]
    assert unpaired.verdict == "undecided"


def test_behind_is_said_as_plainly_as_ahead():
    comparisons = paired_comparison.against_baseline(paired_comparison.PairedOutcomes(loaded(ENDS)), "rtc")
    assert [comparison.verdict for comparison in comparisons] == ["undecided", "behind", "behind"]
    sentence = result_tables.verdict_sentence(
        [comparison for comparison in comparisons if comparison.delay is not None]
    )
    assert sentence == "naive is behind rtc at d = 2 (-0.100); is not told apart from rtc at d = 0 (+0.000)."


def test_only_tasks_where_both_ran_are_compared_and_only_common_episodes():
    ends = {**ENDS, ("b", "naive", 0): HALF, ("b", "naive", 2): HALF, ("b", "rtc", 2): TEN_MORE[:40]}
    by_delay = {
        comparison.delay: comparison
        for comparison in paired_comparison.against_baseline(paired_comparison.PairedOutcomes(loaded(ends)), "naive")
    }
    assert (by_delay[0].tasks, by_delay[0].episodes) == (1, 100)
    assert (by_delay[2].tasks, by_delay[2].episodes) == (2, 40)
    assert by_delay[2].difference == pytest.approx(0.25)  # the ten more are among the first forty, in both tasks
    assert by_delay[None].tasks == 1


def test_an_unknown_baseline_is_refused():
    with pytest.raises(errors.ConfigError, match=r"baseline='rtcc' was not run.*did you mean 'rtc'.*naive, rtc"):
        paired_comparison.against_baseline(paired_comparison.PairedOutcomes(loaded(ENDS)), "rtcc")


def test_the_episode_to_look_at_is_one_where_the_best_and_the_worst_differ():
    ends = {**ENDS, ("b", "naive", 2): [True, True, False, False], ("b", "rtc", 2): [True, True, True, True]}
    assert paired_comparison.most_telling_episode(paired_comparison.PairedOutcomes(loaded(ends))) == ("b", 2, 2, 0, 2)


def test_a_comparison_is_a_line_of_a_tidy_table():
    line = paired_comparison.records(
        paired_comparison.against_baseline(paired_comparison.PairedOutcomes(loaded(ENDS)), "naive")
    )[1]
    assert (line["strategy"], line["baseline"], line["delay"], line["verdict"]) == ("rtc", "naive", 2, "ahead")


def test_strategies_meet_where_both_ran_whatever_a_third_did():
    rows = [
        example_runs.row("a", name, 2, s)
        for name, s in (("naive", 2), ("rtc", 2), ("naive", 3), ("rtc", 3), ("odd", 4))
    ]
    ends = {row.cell: ended(HALF if row.horizon == 2 else TEN_MORE) for row in rows}
    ends["a", "rtc", 2, 2]["solved"] = TEN_MORE
    all_pairs_outcomes = paired_comparison.PairedOutcomes(run_folder.LoadedRuns(rows, ends, [], []), all_pairs=True)
    (comparison,) = paired_comparison.against_baseline(all_pairs_outcomes, "naive")  # odd was nowhere where naive was
    assert (comparison.strategy, comparison.delay) == ("rtc", 2)
    assert comparison.difference == pytest.approx(0.05)  # s = 2: 0.1; s = 3: 0
    default_outcomes = paired_comparison.PairedOutcomes(run_folder.LoadedRuns(rows, ends, [], []))
    assert paired_comparison.against_baseline(default_outcomes, "naive")[0].difference == pytest.approx(0.1)


@pytest.mark.parametrize(("wins", "verdict"), [(5, "undecided"), (6, "ahead")])
def test_a_handful_of_episodes_decides_nothing(wins, verdict):
    ends = {("a", "naive", 0): np.zeros(64), ("a", "rtc", 0): np.arange(64) < wins}
    (comparison,) = paired_comparison.against_baseline(paired_comparison.PairedOutcomes(loaded(ends)), "naive")
    assert comparison.low > 0  # a bootstrap is sure; the sign test gives 0.06 for five of five, 0.03 for six of six
    assert (comparison.apart, comparison.verdict) == (wins, verdict)


def test_improvement_is_between_single_episodes_also_over_several_delays():
    overall = paired_comparison.against_baseline(paired_comparison.PairedOutcomes(loaded(ENDS)), "naive")[-1]
    assert overall.delay is None
    assert overall.improvement == pytest.approx((0.5 + 0.55) / 2)
