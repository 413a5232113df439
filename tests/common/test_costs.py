"""The line before a command: counts, words and times of what was measured."""

import jax
import pytest

from rtc_bench import envs
from rtc_bench.common import costs
from rtc_bench.strategies import registry


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(costs, "cores", lambda: 2)


@pytest.mark.parametrize(
    ("arguments", "more", "text"),
    [
        ((240, 240, "cell", "out", 361), {}, "240 cells, some 6 minutes on 2 cores -> out"),
        ((240, 140, "cell", "out", 30), {}, "240 cells, 100 of them done before, some 30 seconds on 2 cores -> out"),
        ((240, 0, "cell", "out", 0), {}, "240 cells, 240 of them done before -> out"),
        ((1, 1, "flow policy", "out", None), {}, "1 flow policy, on 2 cores -> out"),
        ((2, 2, "flow policy", "out", 1), {"at_least": True}, "2 flow policies, at least 10 seconds on 2 cores -> out"),
        (
            (1, 1, "cell", "out", 9000),
            {"compiling": 61},
            "1 cell, some 2.5 hours on 2 cores, 1 minute more where programs must be compiled -> out",
        ),
    ],
)
def test_the_line(arguments, more, text):
    assert costs.line(*arguments, **more) == text


def test_an_accelerator_has_counts_alone(monkeypatch):
    class Gpu:
        device_kind = "NVIDIA H200"

    monkeypatch.setattr(costs, "cores", lambda: 0)
    monkeypatch.setattr(jax, "devices", lambda: [Gpu()])
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert costs.scaled(100.0) is None
    assert costs.line(240, 240, "cell", "out", costs.scaled(100.0)) == "240 cells, on one NVIDIA H200 -> out"


def test_time_scales_with_cores(monkeypatch):
    monkeypatch.setattr(costs, "cores", lambda: 8)
    assert costs.scaled(100.0) == 25.0


def test_what_cannot_be_done_is_not_counted(capsys):
    parts = [costs.Part("a", 8, 8, 60.0), costs.Part("b", 8, 2, None), costs.Part("c", 8, 8, 60.0, "no data")]
    costs.show("expert", parts, "runs", each=True)
    out = capsys.readouterr().out
    assert "16 experts, 6 of them done before, at least 1 minute on 2 cores -> runs" in out
    assert [line.split()[-1] for line in out.splitlines() if " of 8 " in line] == ["60", "?", "cannot"]


def test_the_shipped_table_has_every_task_and_strategy_of_ours():
    for kind in ("length", "step", "compile", "expert", "record"):
        assert all(costs.value(kind, task) is not None for task in envs.TASKS), kind
    assert {name for name in registry.NAMES if costs.value("chunk", name) is None} == {
        "served"
    }  # by a server, whose cost nobody knows
    assert all(costs.value("method", name) for name in registry.trained_names())
