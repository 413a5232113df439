"""What holds of every strategy, and how strategies are found."""

import dataclasses
import functools
import pathlib
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.policies import flow
from rtc_bench.strategies import base, bid, registry, rtc

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
H, A, OBS, B = 8, 2, 3, 4
PAIRS = [(d, s) for d in range(5) for s in range(max(d, 1), H - d + 1)]
SMALL = {"bid": {"samples": 4, "keep": 2}, "bid_no_weak": {"samples": 4, "keep": 2}}


def params(seed):
    """Random and nowhere zero, so that observation, flow time and every step of a chunk matter."""
    config = flow.FlowConfig(OBS, A, H, layers=1, channels=8, channel_hidden=8, token_hidden=8)
    leaves, tree = jax.tree.flatten(flow.init(jax.random.key(seed), config))
    keys = jax.random.split(jax.random.key(seed + 100), len(leaves))
    noisy = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return config, jax.tree.unflatten(tree, noisy)


@functools.cache
def policy(*, weak=True):
    sizes, strong = params(0)
    return flow.FlowPolicy(strong, sizes, jnp.zeros(OBS), jnp.ones(OBS), params(1)[1] if weak else None)


def requests(d, s, *, seed=0, episodes=range(B)):
    """A request in which each episode's entries come from its number alone."""
    return drawn(jnp.int32(d), jnp.int32(s), jnp.int32(seed), jnp.array(episodes))


@jax.jit
def drawn(d, s, seed, episodes):
    def episode_entries(number):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), 4)
        ahead = (jnp.arange(H) < H - s)[:, None]
        previous = jnp.where(ahead, jax.random.normal(keys[1], (H, A)), 0.0)
        return jax.random.normal(keys[0], (OBS,)), previous, jax.random.normal(keys[2], (H, A)), keys[3]

    obs, previous, noise, key = jax.vmap(episode_entries)(episodes)
    return base.Request(obs, previous, d, s, noise, key)


@functools.cache
def planner(name, **options):
    strategy = registry.build(name, **{**SMALL.get(name, {}), **options})
    return strategy, jax.jit(strategy.plan)


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_readme_lists_it(name):
    table = README.partition("| name | what it does | source |")[2].partition("\n\n")[0]
    assert f"`{name}`" in table


@pytest.mark.parametrize("name", registry.NAMES)
def test_contract(name):
    strategy, plan = planner(name)
    everyone, alone = strategy.init(policy(), B), strategy.init(policy(), 1)
    chunks = []
    for number, (d, s) in enumerate(PAIRS):
        chunk, everyone = plan(policy(), requests(d, s, seed=number), everyone)
        assert (chunk.shape, chunk.dtype) == ((B, H, A), jnp.float32)
        assert np.isfinite(chunk).all(), (d, s)
        chunks.append(chunk)
    assert plan._cache_size() == 1  # d and s are traced
    for number, (d, s) in enumerate(PAIRS):
        chunk, alone = plan(policy(), requests(d, s, seed=number, episodes=[2]), alone)
        np.testing.assert_allclose(
            chunk[0], chunks[number][2], atol=1e-5, err_msg=f"episode 2 depends on others at {d, s}"
        )
    assert jax.tree.structure(everyone) == jax.tree.structure(strategy.init(policy(), B))
    request = requests(1, 2)
    action = jnp.ones((B, A))
    np.testing.assert_array_equal(strategy.correct(policy(), request.obs, action, jnp.int32(0), everyone), action)


@pytest.mark.parametrize("name", registry.NAMES)
def test_flow_steps_can_be_set(name):
    request = requests(1, 2)
    one_step_chunk, five_step_chunk = (
        planner(name, flow_steps=steps)[1](policy(), request, registry.build(name).init(policy(), B))[0]
        for steps in (1, 5)
    )
    assert np.abs(one_step_chunk - five_step_chunk).max() > 1e-3


@pytest.mark.parametrize(
    ("same", "d", "s"),
    [
        (rtc.Rtc(max_guidance_weight=0.0), 2, 3),  # no guidance
        (rtc.Rtc(schedule="zeros"), 0, 1),  # nothing is held
        (rtc.Rtc(), 0, 8),  # nothing is left of the old chunk
        (bid.Bid(samples=1, keep=1), 2, 3),  # no choice
        (bid.Bid(samples=4, use_weak=False), 0, 8),  # all samples are alike; the first is the one everybody gets
        (registry.build("temporal_ensembling"), 2, 3),  # nothing to average yet
    ],
)
def test_where_a_strategy_is_naive(same, d, s):
    request = requests(d, s)
    expected, _ = registry.build("naive").plan(policy(), request, ())
    chunk, _ = same.plan(policy(), request, same.init(policy(), B))
    np.testing.assert_allclose(chunk, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["rtc", "rtc_hard", "rtc_linear", "rtc_ones", "bid", "bid_no_weak"])
def test_elsewhere_it_is_not(name):
    request = requests(2, 3)
    expected, _ = registry.build("naive").plan(policy(), request, ())
    chunk, _ = planner(name)[1](policy(), request, ())
    assert np.abs(chunk - expected).max() > 1e-2


def test_soft_masking_is_hard_masking_where_nothing_is_between():
    soft, hard = (planner(name)[1](policy(), requests(4, 4), ())[0] for name in ("rtc", "rtc_hard"))
    np.testing.assert_allclose(soft, hard, atol=1e-5)
    soft, hard = (planner(name)[1](policy(), requests(3, 3), ())[0] for name in ("rtc", "rtc_hard"))
    assert np.abs(soft - hard).max() > 1e-3


def test_bid_without_weak_policy_draws_as_the_published_code_does():
    strategy = registry.build("bid_no_weak")
    assert (strategy.samples, strategy.use_weak) == (16, False)


def test_bid_says_that_it_needs_an_early_checkpoint():
    registry.build("bid").check(policy())
    registry.build("bid_no_weak").check(policy(weak=False))
    with pytest.raises(errors.ConfigError, match=r"holds none; use strategy=bid_no_weak"):
        registry.build("bid").check(policy(weak=False))


# --- how strategies are found ---


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
    request = requests(1, 2)
    expected, _ = registry.build("naive").plan(policy(), request, ())
    np.testing.assert_allclose(strategy.plan(policy(), request, ())[0], 2 * expected, rtol=1e-6)
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

    assert Still().plan(policy(), requests(1, 2), Still().init(policy(), B))[0].sum() == 0


def test_looking_names_up_is_light():
    code = """
        import sys
        from rtc_bench.strategies import registry
        registry.check_spec("rtc")
        sys.exit("jax" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == 0
