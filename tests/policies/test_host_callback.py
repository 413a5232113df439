"""A NumPy function called from within compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.policies import foreign, host_callback


@pytest.mark.parametrize("rows", [1, 3, 700])
def test_the_function_gets_its_arguments_whole(rows):
    """700 rows of 40 numbers are more than go over in one part."""

    def weighed(arguments):
        assert isinstance(arguments["weight"], np.ndarray)
        assert arguments["weight"].shape == ()
        return arguments["rows"] * arguments["weight"] + arguments["offset"]

    values = {"rows": jnp.arange(rows * 40.0).reshape(rows, 40), "weight": jnp.int32(3), "offset": jnp.ones((1, 40))}
    assert (rows == 700) is (values["rows"].nbytes > host_callback.SMALL)
    called = jax.jit(lambda values: host_callback.call(weighed, values["rows"], values))
    np.testing.assert_array_equal(called(values), 3 * values["rows"] + 1)


FILE = """
import numpy as np
from rtc_bench.policies import host_callback

class Network:
    horizon = 4

    def chunk(self, params, obs, noise):
        return host_callback.call(self.infer, noise, {"obs": obs, "noise": noise})

    def infer(self, arrays):
        return FORMULA

def load(task):
    return Network()
"""


@pytest.mark.parametrize("formula", ["arrays['noise'] + arrays['obs'][:, None, :1]", "arrays['nois']"])
def test_a_network_of_another_framework(tmp_path, formula):
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("FORMULA", formula))
    source = foreign.load(f"{path}:load", "mjc_swimmer")
    if formula == "arrays['nois']":
        with pytest.raises(foreign.BrokenPolicy, match=rf"{path}:12, policy={path}:load: KeyError: 'nois'"):
            foreign.adapt(source, obs_size=3, action_size=2)
        return
    policy = foreign.adapt(source, obs_size=3, action_size=2)
    obs, noise = jnp.ones((5, 3)), jnp.ones((5, 4, 2))
    np.testing.assert_array_equal(policy.sample(obs, noise, 5), np.full((5, 4, 2), 2.0))


def test_under_vmap_the_function_gets_each_entry_s_arguments():
    def weighed(arguments):
        assert {name: value.shape for name, value in arguments.items()} == {"x": (2, 40_000), "weight": ()}
        return arguments["x"] * arguments["weight"]

    x, weight = jnp.arange(240_000.0).reshape(3, 2, 40_000), jnp.array([1.0, 2.0, 3.0])
    called = jax.jit(jax.vmap(lambda x, w: host_callback.call(weighed, x, {"x": x, "weight": w})))
    np.testing.assert_array_equal(called(x, weight), x * weight[:, None, None])


def test_under_vmap_whole_batches_go_at_once():
    shapes = []

    def added(shared, x, same, number):
        return host_callback.call(summed, x, {"shared": shared, "x": x, "same": same, "number": number})

    def summed(arguments):
        shapes.append({name: value.shape for name, value in arguments.items()})
        return arguments["shared"] + arguments["x"] + arguments["same"] + arguments["number"][:, None]

    shared, x, same = jnp.ones(40), jnp.arange(960.0).reshape(4, 3, 2, 40), jnp.arange(80.0).reshape(2, 40)
    number = 1000 * jnp.arange(3.0)
    inner = jax.vmap(lambda x, number: host_callback.whole_batches(added)(shared, x, same, number))
    expected = 1 + np.asarray(x) + np.asarray(same) + np.asarray(number)[:, None, None]
    np.testing.assert_array_equal(jax.jit(jax.vmap(inner, (0, None)))(x, number), expected)
    assert shapes == [{"shared": (40,), "x": (24, 40), "same": (24, 40), "number": (24,)}]
