"""Methods side by side: means over the baseline's delays, paired differences, and the published orders."""

import math

import example_runs
import pytest

from rtc_bench.analysis import method_ranking
from rtc_bench.common import errors
from rtc_bench.evaluation import run_folder

RATES = {"naive": {0: 0.8, 2: 0.4}, "rtc": {0: 0.8, 2: 0.6}, "late": {0: 0.7, 2: 0.8, 6: 0.5}, "half": {0: 0.9}}
ROWS = [
    example_runs.row(task, strategy, delay, rate=rate)
    for task in ("a", "b")
    for strategy, rates in RATES.items()
    for delay, rate in rates.items()
]
PUBLISHED = "method,delay,solve_rate,naive,rtc,source\nlate,0,0.5,0.6,0.4,x\nlate,2,0.9,0.5,,x\nlate,6,0.1,,,x\n"
PUBLISHED += "naive,2,0.5,0.5,0.8,x\nrtc,2,0.8,0.5,0.8,x\n"


@pytest.fixture
def ranked(tmp_path):
    (tmp_path / "published.csv").write_text(PUBLISHED)
    runs = run_folder.load([example_runs.write(tmp_path / "run", ROWS, strategy=list(RATES))])
    return method_ranking.rank(runs, method_ranking.read_published(tmp_path / "published.csv"))


def test_methods_are_ranked_by_their_mean_over_the_delays_that_the_baseline_has(ranked):
    means = {item.strategy: item.solve_rate for item in ranked if item.delay is None}
    assert list(means) == ["late", "rtc", "naive"]  # d = 6 does not count, and "half" was not run everywhere
    assert means["late"] == pytest.approx(0.75)
    assert {item.delay for item in ranked if item.strategy == "late"} == {None, 0, 2, 6}
    assert {item.delay for item in ranked if item.strategy == "half"} == {0}


def test_differences_are_those_of_pairs(ranked):
    late = {item.delay: item.comparisons for item in ranked if item.strategy == "late"}
    assert late[2]["naive"].difference == pytest.approx(0.4)
    assert late[2]["rtc"].difference == pytest.approx(0.2)
    assert late[None]["naive"].difference == pytest.approx(0.15)
    assert not late[6]  # nothing to compare it with
    (record,) = (row for row in method_ranking.records(ranked) if (row["strategy"], row["delay"]) == ("late", 6))
    assert (record["solve_rate"], record["published"], record["difference_to_naive"]) == (0.5, 0.1, "")
    assert math.isfinite(record["low"])


def test_a_published_order_holds_or_not(ranked):
    orders = method_ranking.published_orders(ranked)
    verdicts = {
        (order.strategy, order.delay, order.baseline): (round(order.published, 3), order.verdict) for order in orders
    }
    assert verdicts == {
        ("late", 0, "naive"): (-0.1, "holds"),
        ("late", 0, "rtc"): (0.1, "does not hold"),
        ("late", 2, "naive"): (0.4, "holds"),
        ("rtc", 2, "naive"): (0.3, "holds"),  # and not naive less rtc once more
    }


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("method,task\nnaive,a\n")
    for name in ("other.csv", "absent.csv"):
        with pytest.raises(errors.ConfigError, match="not a table of method, delay"):
            method_ranking.read_published(tmp_path / name)
