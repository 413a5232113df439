"""Published checkpoints are pickles; only arrays come out of them, and nothing in them ever runs."""

import builtins
import contextlib
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.policies import checkpoint, flow, import_reference

CONFIG = flow.FlowConfig(5, 2, horizon=4, layers=2, channels=8, channel_hidden=12, token_hidden=6)


def published(seed=0):
    """What the published code pickles: layers without bias hold None."""
    params = flow.init(jax.random.key(seed), CONFIG)
    return {**params, "final_norm": {"bias": None, "scale": None}}


def pickled(path, tree):
    path.write_bytes(pickle.dumps(tree))
    return path


class Calls:
    """A pickle of this calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def test_pickled_jax_arrays_become_a_policy(tmp_path):
    policy = import_reference.load(pickled(tmp_path / "p.pkl", published()))
    assert policy.config == CONFIG
    expected = checkpoint.flatten(flow.init(jax.random.key(0), CONFIG))
    arrays = checkpoint.flatten(policy.params)
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        assert type(arrays[name]) is np.ndarray
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)
    assert policy.velocity(jnp.zeros((1, 5)), jnp.zeros((1, 4, 2)), jnp.float32(0.0)).shape == (1, 4, 2)


def test_pickled_numpy_arrays_do_as_well(tmp_path):
    tree = jax.tree.map(np.asarray, published())
    assert import_reference.load(pickled(tmp_path / "p.pkl", tree)).config == CONFIG


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (builtins.eval, "builtins.eval"),
        (builtins.getattr, "builtins.getattr"),
        (np.load, "numpy.load"),
    ],
)
def test_a_pickle_that_holds_code_is_refused_by_name_and_does_not_run(tmp_path, function, name):
    proof = tmp_path / "ran"
    argument = f"touch {proof}" if function is os.system else f"open({str(proof)!r}, 'w')"
    path = pickled(tmp_path / "evil.pkl", {**published(), "in_proj": Calls(function, argument)})
    with pytest.raises(checkpoint.CheckpointError, match=rf"evil\.pkl.*asks for {name}; only arrays"):
        import_reference.load(path)
    assert not proof.exists()


def test_a_damaged_pickle_is_a_checkpoint_error_wherever_it_is_cut(tmp_path):
    data = pickle.dumps(jax.tree.map(np.asarray, published()))
    for length in (0, 1, 5, 40, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.pkl").write_bytes(data[:length])
        with pytest.raises(checkpoint.CheckpointError, match=r"cut\.pkl: not a whole pickle.*copy it again"):
            import_reference.load(tmp_path / "cut.pkl")


def test_bytes_turned_over_never_raise_anything_else(tmp_path):
    data = bytearray(pickle.dumps(jax.tree.map(np.asarray, published())))
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[int(generator.integers(400))] = int(generator.integers(256))
        (tmp_path / "bad.pkl").write_bytes(damaged)
        with contextlib.suppress(checkpoint.CheckpointError):
            import_reference.load(tmp_path / "bad.pkl")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1, 2], "holds a list"),
        ({"in_proj": 3}, "entry 'in_proj' is of type int"),
        ({"in_proj": np.array([None])}, "array of object"),
        ({"in_proj": {"kernel": np.zeros((7, 8), np.float32)}}, "not a flow policy"),
    ],
)
def test_other_contents_are_refused(tmp_path, tree, message):
    with pytest.raises(checkpoint.CheckpointError, match=message):
        import_reference.load(pickled(tmp_path / "p.pkl", tree))


def test_a_policy_with_one_layer_missing_is_refused(tmp_path):
    tree = published()
    del tree["time_mlp"]["layers"]["2"]
    with pytest.raises(checkpoint.CheckpointError, match=r"params/time_mlp/layers/2/bias is absent"):
        import_reference.load(pickled(tmp_path / "p.pkl", tree))


def test_missing_files_and_no_permission(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="no such file"):
        import_reference.load(tmp_path / "absent.pkl")
    with pytest.raises(OSError, match="directory"):
        import_reference.load(tmp_path)


def test_conversion_ends_in_a_checkpoint_that_loads(tmp_path, capsys):
    strong, weak = pickled(tmp_path / "strong.pkl", published()), pickled(tmp_path / "weak.pkl", published(1))
    out = tmp_path / "out.safetensors"
    import_reference.main([str(strong), str(out), "task=catapult", f"weak={weak}"])
    policy, card = checkpoint.load_flow(out, task="catapult", interface="kinetix", obs_size=5, action_size=2)
    assert card["data"] == "imported from strong.pkl"
    np.testing.assert_array_equal(policy.weak["in_proj"]["kernel"], published(1)["in_proj"]["kernel"])
    for arguments, message in (
        ([str(strong)], "usage"),
        ([str(tmp_path / "no.pkl"), str(out), "task=x"], "no such file"),
    ):
        with pytest.raises(SystemExit, match=message):
            import_reference.main(arguments)
