"""Delays drawn and estimated: shapes of the distributions, memories by definition, traces, and what is refused."""

import math
import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from rtc_bench.common import errors
from rtc_bench.evaluation.latency import estimates, models, schedule, traces

COUNT = {"seed": 0, "first": 0, "episodes": 200, "requests": 100}


def drawn(model="constant", estimate="exact", delay=2, **options):
    return schedule.build(model, estimate, options).draw(delay=delay, **COUNT)


def test_constant_is_d_and_does_not_vary():
    assert (drawn(delay=3).actual == 3).all()
    varying = {
        (model, estimate): schedule.build(model, estimate, {}).varies
        for model in ("constant", "uniform")
        for estimate in ("exact", "constant", "max", "quantile", "offset")
    }
    assert [key for key, varies in varying.items() if not varies] == [
        ("constant", "exact"),
        ("constant", "constant"),
        ("constant", "max"),
        ("constant", "quantile"),
    ]


def test_uniform_has_equal_shares():
    actual = drawn("uniform", spread=2, delay=2).actual
    shares = np.bincount(actual.ravel()) / actual.size
    assert shares == pytest.approx([0.2] * 5, abs=0.015)
    assert (drawn("uniform", spread=2, delay=0).actual == 0).mean() == pytest.approx(0.6, abs=0.015)


def test_lognormal_has_the_mean_and_the_median_of_its_formula():
    actual = drawn("lognormal", sigma=0.5, delay=20).actual
    assert actual.mean() == pytest.approx(20, abs=0.3)
    assert np.median(actual) == pytest.approx(20 * math.exp(-(0.5**2) / 2), abs=0.6)


def test_bursts_last_and_begin_calm():
    actual = drawn("bursts", extra=5, enter=0.1, leave=0.25, delay=1).actual
    assert set(np.unique(actual)) == {1, 6}
    assert (actual[:, 0] == 1).all()
    late = actual[:, 50:] == 6
    assert late.mean() == pytest.approx(0.1 / 0.35, abs=0.02)
    assert (late[:, 1:] & late[:, :-1]).sum() / late[:, :-1].sum() == pytest.approx(0.75, abs=0.02)  # stays


def test_spikes_are_each_for_itself():
    high = drawn("spikes", extra=8, share=0.1, delay=1).actual == 9
    assert high.mean() == pytest.approx(0.1, abs=0.01)
    assert high[:, 1:][high[:, :-1]].mean() == pytest.approx(0.1, abs=0.02)


def test_no_delay_is_longer_than_counted():
    assert drawn("spikes", extra=500, share=1.0, delay=1).actual.max() == models.LARGEST
    assert models.LARGEST < 256  # a delay is a byte in the run folder


def test_an_episodes_delays_are_its_own_whatever_is_drawn_with_it():
    latency = schedule.build("lognormal", "max", {})
    whole = latency.draw(seed=3, first=0, episodes=6, requests=20, delay=2)
    part = latency.draw(seed=3, first=4, episodes=2, requests=20, delay=2)
    np.testing.assert_array_equal(whole.actual[4:], part.actual)
    np.testing.assert_array_equal(whole.told[4:], part.told)
    assert (whole.actual[0] != whole.actual[1]).any()


@pytest.mark.parametrize("window", [1, 3, 10])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 1.0])
def test_quantiles_of_what_was_observed(window, quantile):
    options = {"window": window, "quantile": quantile}
    actual, told = schedule.build("uniform", "quantile", {"spread": 3, **options}).draw(delay=3, **COUNT)
    for row, estimate in zip(actual[:5].tolist(), told[:5].tolist(), strict=True):
        queue = [3, *row]  # it begins with d
        for request in range(len(row)):
            seen = sorted(queue[: request + 1][-window:])
            at_least = [value for value in seen if sum(v <= value for v in seen) >= quantile * len(seen)]
            assert estimate[request] == at_least[0]


def test_max_is_algorithm_1():
    actual, told = drawn("uniform", "max", spread=2, window=4)
    for row, estimate in zip(actual[:5].tolist(), told[:5].tolist(), strict=True):
        assert estimate == [max([2, *row][: k + 1][-4:]) for k in range(len(row))]


def test_constant_and_offset_estimates():
    actual, told = drawn("uniform", "constant", spread=2, delay=2)
    assert (told == 2).all()
    assert (actual != 2).any()
    actual, told = drawn("uniform", "offset", spread=2, delay=2, by=-1)
    np.testing.assert_array_equal(told, np.maximum(actual - 1, 0))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_trace_is_read_in_turn_from_anywhere(tmp_path, suffix):
    milliseconds, path = [0.0, 1.0, 33.3, 34.0, 66.7, 100.0], tmp_path / f"own.{suffix}"
    if suffix == "csv":
        path.write_text("step,latency\n" + "".join(f"{i},{ms}\n" for i, ms in enumerate(milliseconds)))
    else:
        parquet.write_table(pa.table({"latency": milliseconds}), path)
    latency = schedule.build("trace", "exact", {"file": str(path), "column": "latency"})
    actual = latency.draw(delay=1, **COUNT).actual
    steps = [1, 2, 2, 3, 4, 4]  # a chunk acts from the first control step after its arrival on; d = 1 is added
    assert {tuple(row[:6]) for row in actual.tolist()} == {tuple(steps[i:] + steps[:i]) for i in range(6)}


def test_a_changed_trace_is_another_run(tmp_path):
    path, digests = tmp_path / "own.csv", []
    for text in ("ms\n5\n", "ms\n50\n"):
        path.write_text(text)
        digests.append(schedule.build("trace", "exact", {"file": str(path)}).digests())
    assert digests[0] != digests[1]
    assert schedule.build("uniform", "exact", {}).digests() == {}


def test_the_shipped_traces_are_what_their_page_says():
    assert traces.SHIPPED == ("wired", "wireless")
    page = (traces.FOLDER / "README.md").read_text()
    drawn_anew: dict = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], drawn_anew)
    for name in traces.SHIPPED:
        np.testing.assert_allclose(traces.read(name), drawn_anew[name], atol=0.006)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unifrom", "exact", {}), "did you mean 'uniform'"),
        (("uniform", "maxx", {}), "did you mean 'max'"),
        (("uniform", "exact", {"spraed": 1}), "did you mean 'spread'"),
        (("constant", "exact", {"spread": 1}), "settings: none"),
        (("uniform", "exact", {"spread": -1}), "spread=-1 is too small"),
        (("uniform", "exact", {"spread": 0.5}), "not a whole number"),
        (("bursts", "exact", {"enter": 1.5}), "not a share"),
        (("constant", "quantile", {"quantile": 2.0}), "not a share"),
        (("constant", "max", {"quantile": 0.5}), "delay_options.quantile is no setting"),
        (("constant", "max", {"window": 0}), "window=0 is too small"),
        (("trace", "exact", {}), "delay_options.file"),
        (("trace", "exact", {"file": "absent.csv"}), "wired, wireless"),
        (("trace", "exact", {"file": "wired", "column": "s"}), "no column 's'"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(errors.ConfigError, match=re.escape(message)):
        schedule.build(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ms\n-1\n", "row 1 holds -1.0"),
        ("ms\n5\n9999\n", "row 2"),
        ("ms\n", "no rows"),
        ("ms\nfast\n", "not numbers"),
        ("", "neither"),
    ],
)
def test_a_damaged_trace_is_refused(tmp_path, text, message):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(errors.ConfigError, match=message):
        schedule.build("trace", "exact", {"file": str(path)})


def test_percentiles_are_delays_that_were_met():
    assert models.percentiles(np.array([1] * 94 + [3] * 4 + [7, 9])) == {"delay_p50": 1, "delay_p95": 3, "delay_p99": 7}


def test_an_estimate_never_looks_ahead():
    for cls in (estimates.Max, estimates.Quantile, estimates.Constant):
        early = np.array([1, 2, 3, 9, 9], np.int32)
        late = np.array([1, 2, 3, 0, 4], np.int32)
        one, other = (np.asarray(cls().told(row, np.int32(2))) for row in (early, late))
        np.testing.assert_array_equal(one[:4], other[:4])
