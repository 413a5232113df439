"""A policy under a strategy: a request's answer is what the strategy plans here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.realtime.serving import model
from rtc_bench.strategies import base, registry

OBS, A, H = 3, 2, 8
OWN = np.array([True, False, True])


def arrays(count):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((count, *shape), np.float32) for shape in ((OBS,), (H, A), (H, A)))


@pytest.fixture(scope="module")
def served(policy):
    served = model.Model(policy, registry.build("rtc"), OWN)
    served.warm_up()
    return served


def test_it_answers_as_the_strategy_plans(policy, served):
    strategy = registry.build("rtc")
    obs, noise, previous = arrays(5)
    request = base.Request(obs, previous, jnp.int32(2), jnp.int32(3), noise, jax.random.split(jax.random.key(0), 5))
    planned, _ = strategy.plan(strategy.prepare(policy), request, ())
    asked = {"observation.state": obs, "noise": noise, "previous": previous, "delay": 2, "horizon": 3}
    np.testing.assert_allclose(served(asked), planned, atol=1e-5)
    plain = {"observation.state": obs, "noise": noise}
    np.testing.assert_allclose(served(plain), strategy.sample(policy, obs, noise), atol=1e-5)
    assert np.abs(served(asked) - served(plain)).max() > 1e-2


@pytest.mark.parametrize("count", [1, 2, model.GROUP, model.GROUP + 3])
def test_one_episode_s_chunk_is_the_same_among_many(served, count):
    obs, noise, previous = arrays(count)
    together = served({"observation.state": obs, "noise": noise, "previous": previous, "delay": 1, "horizon": 2})
    last = {"observation/state": obs[-1], "noise": noise[-1], "previous": previous[-1], "delay": 1, "horizon": 2}
    assert together.shape == (count, H, A)
    assert served(last).shape == (H, A)
    np.testing.assert_allclose(served(last), together[-1], atol=1e-5)


def test_after_warming_up_nothing_compiles(served):
    for count in (1, 7, 100):
        obs, noise, previous = arrays(count)
        served({"observation.state": obs})
        served({"observation.state": obs, "noise": noise, "previous": previous, "delay": np.int64(3), "horizon": 4})
    assert (served._first._cache_size(), served._plan._cache_size()) == (2, 2)


def test_without_noise_every_chunk_is_another_draw(served):
    obs, _, _ = arrays(1)
    assert np.abs(served({"observation.state": obs[0]}) - served({"observation.state": obs[0]})).max() > 1e-3


def test_a_strategy_that_draws_more_answers_the_same_request_alike(policy):
    served = model.Model(policy, registry.build("bid_no_weak", samples=4), OWN)
    obs, noise, previous = arrays(3)
    request = {"observation.state": obs, "noise": noise, "previous": previous}
    np.testing.assert_array_equal(served(request), served(request))


def good():
    obs, noise, previous = arrays(1)
    return {"observation.state": obs[0], "noise": noise[0], "previous": previous[0], "delay": 1, "horizon": 2}


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"observation.state": np.zeros(4)}, "observation.state is of shape [4]; it must be [3], or [B, 3]"),
        ({"observation.state": np.zeros((0, 3))}, "observation.state is of shape [0, 3]"),
        ({"observation.state": np.zeros((5000, 3))}, "with B from 1 to 4096"),
        ({"observation.state": np.float32(1)}, "observation.state is of shape []"),
        ({"observation.state": "left"}, "observation.state is no array of numbers"),
        ({"observation.state": [[1.0], [2.0, 3.0]]}, "observation.state is no array of numbers"),
        ({"observation.state": np.array([0, np.nan, 0])}, "observation.state holds inf or nan"),
        ({"noise": np.zeros((8, 3))}, "noise is of shape [8, 3]; it must be [8, 2]"),
        ({"previous": np.zeros((2, 8, 2))}, "previous is of shape [2, 8, 2]; it must be [8, 2]"),
        ({"delay": -1}, "delay is -1; it must be a whole number from 0 to 8"),
        ({"delay": [[1], [1, 2]]}, "delay is [[1], [1, 2]]; it must be a whole number"),
        ({"delay": "1\n2"}, "delay is 1 2; it must be a whole number"),
        ({"delay": 1.5}, "delay is 1.5"),
        ({"horizon": 9}, "horizon is 9; it must be a whole number from 1 to 8"),
        ({"horizon": "long"}, "horizon is long"),
    ],
)
def test_what_cannot_be_answered(served, changes, answer):
    with pytest.raises(model.BadRequest) as raised:
        served({**good(), **changes})
    assert answer in str(raised.value)


def test_a_request_without_an_observation(served):
    with pytest.raises(model.BadRequest, match=r"lacks 'observation.state', an observation \[3\]; it has: image"):
        served({"image": 1})


@pytest.mark.parametrize(
    ("name", "obstacle"),
    [
        ("temporal_ensembling", "it keeps memory between chunks"),
        ("oracle", "it asks a simulator"),
        ("synchronous", "its timing is 'waiting'"),
        ("a2c2", "it corrects every action"),
    ],
)
def test_what_cannot_be_served(policy, name, obstacle):
    with pytest.raises(errors.ConfigError, match=rf"{name} cannot be served: {obstacle}.*; serve one of naive, .*rtc,"):
        model.check_servable(name, registry.build(name), policy)


@pytest.mark.parametrize("name", ["naive", "bid_no_weak", "rtc", "inpaint", "paint", "tt_rtc"])
def test_what_can_be_served(policy, name):
    model.check_servable(name, registry.build(name), policy)
