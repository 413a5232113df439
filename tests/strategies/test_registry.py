"""Strategies by name, file or dotted path, and their options; what is refused."""

import dataclasses
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest
import test_strategies

from rtc_bench.common import errors
from rtc_bench.strategies import base, bid, registry, rtc


def test_names():
    assert {"naive", "temporal_ensembling", "bid", "bid_no_weak", "rtc"} < set(registry.NAMES)
    assert registry.build("rtc_hard") == rtc.Rtc(schedule="zeros")
    assert registry.build("rtc", max_guidance_weight=2.0, schedule="ones") == rtc.Rtc(
        schedule="ones", max_guidance_weight=2.0
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("rct", ["unknown strategy 'rct'", "did you mean 'rtc'", "temporal_ensembling", "file.py:Class"]),
        ("mine.py", ["name the class in it too", "mine.py:Class"]),
        ("no/such/file.py:Mine", ["cannot be imported", "no such file"]),
        ("no_such_package.module:Mine", ["cannot be imported", "no_such_package", "PYTHONPATH"]),
        ("rtc_bench.strategies.rtc:Rct", ["no strategy 'Rct'", "did you mean 'Rtc'"]),
    ],
)
def test_unknown_strategies(spec, words):
    with pytest.raises(registry.UnknownStrategy) as caught:
        registry.build(spec)
    for word in words:
        assert word in str(caught.value)


def test_options_as_a_config_file_holds_them():
    strategy = registry.build("bid", dimensions=[0, 1], use_weak=False)
    assert strategy.dimensions == (0, 1)
    assert hash(strategy) == hash(bid.Bid(dimensions=(0, 1), use_weak=False))
    assert isinstance(registry.build("rtc", max_guidance_weight=2).max_guidance_weight, float)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "rtc",
            {"schedul": "ones"},
            r"no option 'schedul' \(did you mean 'schedule'\?\); options: flow_steps, schedule",
        ),
        ("rtc", {"schedule": "quadratic"}, "schedule='quadratic' is not valid.*exp, linear, ones, zeros"),
        ("rtc", {"max_guidance_weight": -1.0}, "max_guidance_weight=-1.0 is too small"),
        ("bid", {"samples": 2}, "keep=3 of samples=2"),
        ("naive", {"flow_steps": 0}, "flow_steps=0 is too small"),
        ("naive", {"flow_steps": "five"}, "flow_steps='five' is not a whole number"),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(errors.ConfigError, match=message):
        registry.build(name, **options)


MINE = """
import dataclasses
from rtc_bench.strategies import base

@dataclasses.dataclass(frozen=True)
class Repeat(base.Strategy):
    factor: float = 1.0

    def plan(self, policy, request, memory):
        return self.factor * self.sample(policy, request.obs, request.noise), memory

NOT_ONE = 3
"""


@pytest.fixture
def outside(tmp_path):
    """A file outside the repository that has the name of a module everybody needs."""
    path = tmp_path / "statistics.py"
    path.write_text(MINE)
    return path


def test_a_strategy_in_a_file_outside_the_repository(outside):
    before = sys.modules.get("statistics")
    strategy = registry.build(f"{outside}:Repeat", factor=2.0)
    request = test_strategies.requests(1, 2)
    expected, _ = registry.build("naive").plan(test_strategies.policy(), request, ())
    np.testing.assert_allclose(strategy.plan(test_strategies.policy(), request, ())[0], 2 * expected, rtol=1e-6)
    assert sys.modules.get("statistics") is before
    with pytest.raises(errors.ConfigError, match="options: flow_steps, factor"):
        registry.build(f"{outside}:Repeat", facto=2.0)
    with pytest.raises(registry.UnknownStrategy, match=r"has no strategy 'NOT_ONE'; it holds Repeat"):
        registry.build(f"{outside}:NOT_ONE")


@pytest.mark.parametrize("separator", [":", "."])
def test_a_strategy_by_dotted_path(outside, monkeypatch, separator):
    outside.rename(outside.parent / "strategies_of_mine.py")
    monkeypatch.syspath_prepend(str(outside.parent))
    try:
        assert registry.build(f"strategies_of_mine{separator}Repeat").factor == 1.0
    finally:
        sys.modules.pop("strategies_of_mine", None)


@pytest.mark.parametrize(
    ("code", "message"), [("1 +", r"SyntaxError.*bad\.py:1"), ("\n1 / 0", r"ZeroDivision.*bad\.py:2")]
)
def test_a_file_that_does_not_run_is_told_with_its_line(tmp_path, code, message):
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(registry.UnknownStrategy, match=message):
        registry.build(f"{tmp_path / 'bad.py'}:Mine")


def test_a_strategy_written_here_needs_no_registration():
    @dataclasses.dataclass(frozen=True)
    class Still(base.Strategy):
        def plan(self, policy, request, memory):
            return jnp.zeros_like(request.previous), memory

    assert (
        Still()
        .plan(
            test_strategies.policy(),
            test_strategies.requests(1, 2),
            Still().init(test_strategies.policy(), test_strategies.B),
        )[0]
        .sum()
        == 0
    )


def test_looking_names_up_is_light():
    code = """
        import sys
        from rtc_bench.strategies import registry
        registry.check_spec("rtc")
        sys.exit("jax" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == 0
