"""What holds of every strategy, and how strategies are found."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.policies import flow, foreign
from rtc_bench.strategies import base, bid, registry, rtc
from rtc_bench.strategies.inpainting import served

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text()
H, A, OBS, B = 8, 2, 3, 4
PAIRS = [(d, s) for d in range(5) for s in range(max(d, 1), H - d + 1)]
OWN = jnp.array([True, False, True])  # of an observation's numbers
SMALL = {"bid": {"samples": 4, "keep": 2}, "bid_no_weak": {"samples": 4, "keep": 2}}


def params(seed):
    """Random and nowhere zero, so that observation, flow time and every step of a chunk matter."""
    config = flow.FlowConfig(OBS, A, H, layers=1, channels=8, channel_hidden=8, token_hidden=8)
    return config, jittered(flow.init(jax.random.key(seed), config), seed + 100)


def jittered(tree, seed):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noisy = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


@functools.cache
def policy(*, weak=True):
    sizes, strong = params(0)
    return flow.FlowPolicy(strong, sizes, jnp.zeros(OBS), jnp.ones(OBS), params(1)[1] if weak else None)


def first_weights(strategy):
    """Those that its training begins with."""
    return strategy.initial_weights(policy(), jax.random.key(2))


class Continuing:
    """In the place of a policy server: it holds chunks to one another by RTC."""

    horizon = H

    def chunk(self, params, obs, noise):
        return policy().sample(obs, noise, 5)

    def continued(self, params, obs, noise, previous, delay, horizon):
        return rtc.Rtc().plan(policy(), base.Request(obs, previous, delay, horizon, noise, None), ())[0]


@functools.cache
def acting(strategy):
    """The policy as the strategy prepares it, with random weights in the place of those that it would have learned."""
    if isinstance(strategy, served.Served):
        source = foreign.Source(Continuing(), "a server", "server", __file__, "")
        return foreign.adapt(source, obs_size=OBS, action_size=A)
    weights = {}
    if strategy.training is not None:
        weights = {strategy.training.name: jittered(first_weights(strategy), 3)}
    return strategy.prepare(dataclasses.replace(policy(), weights=weights))


def requests(d, s, *, seed=0, episodes=range(B), ahead=False):
    """A request in which each episode's entries come from its number alone; one that looks ahead gets what it sees there."""
    request = drawn(jnp.int32(d), jnp.int32(s), jnp.int32(seed), jnp.array(episodes))
    return request if ahead else request._replace(ahead=None)


@jax.jit
def drawn(d, s, seed, episodes):
    def episode_entries(number):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), number), 4)
        left = (jnp.arange(H) < H - s)[:, None]
        previous = jnp.where(left, jax.random.normal(keys[1], (H, A)), 0.0)
        obs, ahead = jax.random.normal(keys[0], (2, OBS))
        return obs, previous, jax.random.normal(keys[2], (H, A)), keys[3], ahead

    obs, previous, noise, key, ahead = jax.vmap(episode_entries)(episodes)
    return base.Request(obs, previous, d, s, noise, key, ahead, OWN)


@functools.cache
def planner(name, **options):
    strategy = registry.build(name, **{**SMALL.get(name, {}), **options})
    return strategy, jax.jit(strategy.plan)


@pytest.mark.parametrize("name", registry.NAMES)
def test_the_readme_lists_it(name):
    table = README.partition("| name | what it does | source |")[2].partition("\n\n")[0]
    assert f"`{name}`" in table


@pytest.mark.parametrize("name", ["inpaint", "remac", "tt_rtc"])
def test_what_is_held_is_in_the_chunk(name):
    """Where a chunk comes earlier than the strategy was told, these actions are executed."""
    strategy, plan = planner(name)
    request = requests(3, 4)
    chunk, _ = plan(acting(strategy), request, ())
    np.testing.assert_allclose(chunk[:, :3], request.previous[:, :3], atol=1e-6)
    assert not np.allclose(chunk[:, 3], request.previous[:, 3])


@pytest.mark.parametrize("name", registry.NAMES)
def test_contract(name):
    strategy, plan = planner(name)
    prepared, ahead = acting(strategy), strategy.looks_ahead
    everyone, alone = strategy.init(prepared, B), strategy.init(prepared, 1)
    chunks = []
    for number, (d, s) in enumerate(PAIRS):
        chunk, everyone = plan(prepared, requests(d, s, seed=number, ahead=ahead), everyone)
        assert (chunk.shape, chunk.dtype) == ((B, H, A), jnp.float32)
        assert np.isfinite(chunk).all(), (d, s)
        chunks.append(chunk)
    assert plan._cache_size() == 1  # d and s are traced
    for number, (d, s) in enumerate(PAIRS):
        chunk, alone = plan(prepared, requests(d, s, seed=number, episodes=[2], ahead=ahead), alone)
        np.testing.assert_allclose(
            chunk[0], chunks[number][2], atol=1e-5, err_msg=f"episode 2 depends on others at {d, s}"
        )
    assert jax.tree.structure(everyone) == jax.tree.structure(strategy.init(prepared, B))
    request = requests(1, 2, ahead=ahead)
    first = strategy.first(prepared, request.obs, request.noise)
    assert (first.shape, first.dtype) == ((B, H, A), jnp.float32)
    assert np.isfinite(first).all()
    check_correction(strategy, prepared, request.obs, everyone)
    if strategy.training is not None:
        check_learning(strategy)


def check_correction(strategy, prepared, obs, memory):
    """An action stays as it is, unless the strategy says how it changes; then each episode's by itself."""
    action = jax.random.normal(jax.random.key(4), (B, A))
    corrected = strategy.correct(prepared, obs, action, jnp.int32(3), memory)
    assert (corrected.shape, corrected.dtype) == ((B, A), jnp.float32)
    if type(strategy).correct is base.Strategy.correct:
        np.testing.assert_array_equal(corrected, action)
        return
    assert np.isfinite(corrected).all()
    assert np.abs(corrected - action).max() > 1e-2
    memory = jax.tree.map(lambda leaf: leaf[2:3], memory)
    alone = strategy.correct(prepared, obs[2:3], action[2:3], jnp.int32(3), memory)
    np.testing.assert_allclose(alone[0], corrected[2], atol=1e-5)


def check_learning(strategy):
    """Training begins with the policy as it is, and its loss leads away from there by all weights."""
    with pytest.raises(errors.ConfigError, match="needs weights that it learned, and the policy holds none"):
        strategy.weights(policy())
    first = first_weights(strategy)
    beginning = strategy.prepare(dataclasses.replace(policy(), weights={strategy.training.name: first}))
    jax.tree.map(np.testing.assert_array_equal, beginning.params, policy().params)

    value_and_gradient = jax.jit(jax.value_and_grad(strategy.loss, argnums=1))
    for weights, quantifier in ((first, any), (jittered(first, 3), all)):
        loss, gradient = value_and_gradient(policy(), weights, moments(strategy.training.source), jax.random.key(5))
        assert (loss.shape, loss.dtype) == ((), jnp.float32)
        assert 0 < loss < np.inf
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        assert quantifier(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def moments(source, *, count=16):
    """What a training stage learns from: random, and one to H steps until an episode's end."""
    keys = jax.random.split(jax.random.key(6), 3)
    obs, chunk = jax.random.normal(keys[0], (count, H, OBS)), jax.random.normal(keys[2], (count, H, A))
    action = jax.random.normal(keys[1], (count, 2 * H, A))
    inside = jnp.arange(H)[None] <= (jnp.arange(count) % H)[:, None]
    chunk = chunk if source == base.ROLLOUTS else None
    return base.Batch(obs, action, inside, OWN, jnp.float32(0.5), chunk)


@pytest.mark.parametrize("name", [name for name in registry.NAMES if name != "served"])  # whose server has its own
def test_flow_steps_can_be_set(name):
    one_step_chunk, five_step_chunk = (chunk_of(name, 1, 2, flow_steps=steps) for steps in (1, 5))
    assert np.abs(one_step_chunk - five_step_chunk).max() > 1e-3


def chunk_of(name, d, s, **options):
    """Its answer to a first request."""
    strategy, plan = planner(name, **options)
    prepared = acting(strategy)
    return plan(prepared, requests(d, s, ahead=strategy.looks_ahead), strategy.init(prepared, B))[0]


@pytest.mark.parametrize(
    ("same", "d", "s"),
    [
        (rtc.Rtc(max_guidance_weight=0.0), 2, 3),  # no guidance
        (rtc.Rtc(schedule="zeros"), 0, 1),  # nothing is held
        (rtc.Rtc(), 0, 8),  # nothing is left of the old chunk
        (bid.Bid(samples=1, keep=1), 2, 3),  # no choice
        (bid.Bid(samples=4, use_weak=False), 0, 8),  # all samples are alike; the first is the one everybody gets
        (registry.build("temporal_ensembling"), 2, 3),  # nothing to average yet
        (registry.build("rtc_sigma", max_guidance_weight=0.0), 2, 3),
        (registry.build("rtc_sigma_identity", max_guidance_weight=0.0), 2, 3),
        (registry.build("inpaint"), 0, 1),
        (registry.build("paint"), 0, 1),
        (registry.build("tt_rtc"), 0, 1),
        (registry.build("soft_rtc"), 0, 1),
        (registry.build("remac"), 0, 1),
        (
            registry.build("sft"),
            2,
            3,
        ),  # the others differ in when and from what a naive chunk is made, or what follows it
        (registry.build("a2c2"), 2, 3),
        (registry.build("synchronous"), 2, 3),
    ],
)
def test_where_a_strategy_is_naive(same, d, s):
    request, prepared = requests(d, s), acting(same)
    expected, _ = registry.build("naive").plan(prepared, request, ())
    chunk, _ = same.plan(prepared, request, same.init(prepared, B))
    np.testing.assert_allclose(chunk, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        *("rtc", "rtc_hard", "rtc_linear", "rtc_ones", "rtc_sigma", "rtc_sigma_identity", "bid", "bid_no_weak"),
        *("inpaint", "paint", "tt_rtc", "soft_rtc", "remac", "vlash", "oracle"),
    ],
)
def test_elsewhere_it_is_not(name):
    expected, _ = registry.build("naive").plan(acting(planner(name)[0]), requests(2, 3), ())
    assert np.abs(chunk_of(name, 2, 3) - expected).max() > 1e-2


def test_soft_masking_is_hard_masking_where_nothing_is_between():
    soft, hard = (chunk_of(name, 4, 4) for name in ("rtc", "rtc_hard"))
    np.testing.assert_allclose(soft, hard, atol=1e-5)
    soft, hard = (chunk_of(name, 3, 3) for name in ("rtc", "rtc_hard"))
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


def test_served_needs_a_policy_that_continues_chunks():
    with pytest.raises(
        errors.ConfigError, match=r"served hands the old chunk to a policy server, and this policy is none"
    ):
        served.Served().check(policy())
    served.Served().check(acting(served.Served()))


def test_what_needs_a_velocity_says_so():
    """Under a policy that gives plain chunks alone, the others plan all the same."""
    chunks_only = acting(served.Served())
    for name in registry.NAMES:
        strategy = registry.build(name, **SMALL.get(name, {}))
        if strategy.training is not None or name == "bid":
            continue
        call = functools.partial(strategy.plan, chunks_only, requests(1, 2, ahead=strategy.looks_ahead))
        if strategy.takes_velocity:
            with pytest.raises(errors.ConfigError, match="gives chunks and no velocity"):
                call(strategy.init(chunks_only, B))
        else:
            assert call(strategy.init(chunks_only, B))[0].shape == (B, H, A)
