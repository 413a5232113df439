"""Calls of a notebook: what a strategy may be given as, and what is refused before anything is played."""

import dataclasses

import pytest

import rtc_bench
from rtc_bench.commands import notebook
from rtc_bench.common import errors
from rtc_bench.strategies import base, limits, rtc


@dataclasses.dataclass(frozen=True)
class Half(base.Strategy):
    share: float = 0.5

    def plan(self, policy, request, memory):
        return self.share * request.previous, memory


def spec(strategy, flow_steps=5):
    return notebook._spec(strategy, flow_steps)


def test_what_a_strategy_may_be_given_as():
    assert spec("rtc") == ("rtc", {})
    assert spec("my/file.py:Class") == ("my/file.py:Class", {})
    assert spec(rtc.Rtc) == ("rtc", {})
    assert spec(rtc.Rtc(schedule="linear", flow_steps=5)) == ("rtc", {"schedule": "linear"})
    assert spec(rtc.Rtc(flow_steps=5), flow_steps=10) == ("rtc", {"flow_steps": 5})
    assert spec(limits.Oracle()) == ("oracle", {})
    assert spec(Half) == (f"{__name__}:Half", {})
    assert spec(Half(share=0.25)) == (f"{__name__}:Half", {"share": 0.25})


class Local(Half):
    """Another class has its name by the time that it is given."""


Old, Local = Local, Half


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"strategy": Old()}, "strategy Local is not what .* has by this name now; define the class at the top"),
        ({"strategy": dict}, "strategy=<class 'dict'> is none; give a name, file.py:Class, a class derived from"),
        ({"strategy": 3}, "strategy=3 is none"),
        ({"strategy": []}, r"strategy=\[\] is empty"),
        ({"strategy": Half(share={1})}, "options of Half: .*set is not JSON serializable; use numbers, texts"),
        ({"strategy": "rtcc"}, r"unknown strategy 'rtcc' \(did you mean 'rtc'\?\)"),
        ({"strategy": "rtc", "dealy": 2}, r"unknown setting 'dealy' \(did you mean 'delay'\?\)"),
        ({"strategy": "rtc", "delay": range(3, 6)}, r"delay=5 does not fit a chunk of 8"),
        ({"strategy": "rtc", "wandb": {"mode": "offline"}}, "wandb= is given, and no folder that keeps the run"),
    ],
)
def test_what_is_refused(arguments, answer):
    with pytest.raises(errors.ConfigError, match=answer) as refused:
        rtc_bench.evaluate(**arguments)
    assert "\n" not in str(refused.value)


def test_a_comparison_with_itself_is_refused():
    with pytest.raises(errors.ConfigError, match="'rtc' is both strategy= and baseline="):
        rtc_bench.compare(rtc.Rtc, baseline=["naive", "rtc"])
