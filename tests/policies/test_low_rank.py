"""Low-rank adapters: what they change, and how large they are."""

import jax
import jax.numpy as jnp
import numpy as np

from rtc_bench.policies import flow, low_rank

SHIPPED = flow.FlowConfig(30, 4, layers=3, channels=64, channel_hidden=128, token_hidden=32)


def network():
    """A large matrix, one that is too small for a product of rank 2, one that is just small enough, and biases."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"large": (12, 10), "small": (4, 4), "edge": (4, 5), "bias": (10,)}
    leaves = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}
    return {"layer": {"kernel": leaves["large"], "bias": leaves["bias"]}, "more": [leaves["small"], leaves["edge"]]}


def test_at_first_adapters_change_nothing():
    params = network()
    jax.tree.map(
        np.testing.assert_array_equal, low_rank.apply(params, low_rank.init(jax.random.key(1), params, 2)), params
    )


def test_what_adapters_are_made_of():
    adapters = low_rank.init(jax.random.key(1), network(), 2)
    shapes = jax.tree.map(jnp.shape, adapters, is_leaf=lambda leaf: isinstance(leaf, jax.Array))
    assert shapes["layer"] == {"kernel": {"in": (12, 2), "out": (2, 10)}, "bias": {"added": (10,)}}
    # 2 (4 + 4) = 16 is no less than 4 * 4; 2 (4 + 5) = 18 is less than 4 * 5.
    assert shapes["more"] == [{"added": (4, 4)}, {"in": (4, 2), "out": (2, 5)}]


def test_adapters_are_added():
    params = network()
    adapters = jax.tree.map(lambda leaf: leaf + 1.0, low_rank.init(jax.random.key(1), params, 2))
    adapted = low_rank.apply(params, adapters)
    kernel, factors = params["layer"]["kernel"], adapters["layer"]["kernel"]
    product = np.float64(factors["in"]) @ np.ones((2, 10))
    np.testing.assert_allclose(adapted["layer"]["kernel"], kernel + product, atol=1e-5)
    np.testing.assert_allclose(adapted["layer"]["bias"], params["layer"]["bias"] + 1)
    np.testing.assert_allclose(adapted["more"][0], params["more"][0] + 1)


def test_every_matrix_has_a_key_of_its_own():
    params = {"one": jnp.zeros((12, 10)), "other": jnp.zeros((12, 10))}
    adapters = low_rank.init(jax.random.key(1), params, 2)
    assert np.abs(adapters["one"]["in"] - adapters["other"]["in"]).max() > 1e-2


def test_an_adapter_is_a_fraction_of_a_shipped_network():
    params = jax.eval_shape(lambda: flow.init(jax.random.key(0), SHIPPED))
    adapters = jax.eval_shape(lambda: low_rank.init(jax.random.key(1), flow.init(jax.random.key(0), SHIPPED), 8))
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, adapters)]
    assert sizes[1] < 40_000 < sizes[0]
