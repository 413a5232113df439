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
