"""Importer of published flow-policy checkpoints, which are pickles of nested dicts of JAX arrays.

A pickle can run any code. This reader admits the few names that rebuild arrays and refuses every other by name.
"""

import pathlib
import pickle

import numpy as np

from policies import checkpoint, flow

_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("jax._src.array", "_reconstruct_array"),
}


def _array(rebuild, arguments, array_state, _jax_state) -> np.ndarray:
    """What jax._src.array._reconstruct_array does, but staying with NumPy."""
    array = rebuild(*arguments)
    array.__setstate__(array_state)
    return array


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ADMITTED:
            raise checkpoint.CheckpointError(
                f"the pickle asks for {module}.{name}; only arrays are admitted; do not trust it"
            )
        if name == "_reconstruct_array":
            return _array
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def arrays(path: checkpoint.Path) -> dict:
    """The nested dict of arrays in a published checkpoint. Raises CheckpointError for anything else."""
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            tree = _ArraysOnly(file).load()
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise checkpoint.CheckpointError(f"{path}: no such file; check the path") from None
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise checkpoint.CheckpointError(f"{path}: not a whole pickle of arrays ({error}); copy it again") from None
    return _checked(path, tree)


def _checked(path: pathlib.Path, tree) -> dict:
    """Only string-keyed dicts, arrays and None (layers without bias or scale, which are left out)."""
    if not isinstance(tree, dict):
        raise checkpoint.CheckpointError(f"{path}: holds a {type(tree).__name__}, not a nested dict of arrays")
    result = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            inner = _checked(path, value)
            if inner:
                result[str(name)] = inner
        elif isinstance(value, np.ndarray) and value.dtype != object:
            result[str(name)] = value
        elif value is not None and not (isinstance(value, np.ndarray) and value.dtype == object):
            raise checkpoint.CheckpointError(f"{path}: entry {name!r} is a {type(value).__name__}, not an array")
    return result


def load(path: checkpoint.Path, *, action_size: int) -> flow.FlowPolicy:
    """A published checkpoint as a policy; observations enter it unnormalised. Raises CheckpointError."""
    params = arrays(path)
    try:
        first = params["mlp_stack"]["0"]
        inputs, channels = params["in_proj"]["kernel"].shape
        horizon, token_hidden = first["token_mix_in"]["kernel"].shape
        channel_hidden = first["channel_mix_in"]["kernel"].shape[1]
        layers, outputs = len(params["mlp_stack"]), params["out_proj"]["kernel"].shape[1]
    except KeyError as error:
        raise checkpoint.CheckpointError(f"{path}: not a flow policy: {error} is missing") from None
    if outputs != action_size:
        raise checkpoint.CheckpointError(f"{path}: predicts {outputs} action dimensions, not {action_size}")
    obs_size = inputs - action_size
    config = flow.FlowConfig(obs_size, action_size, horizon, layers, channels, channel_hidden, token_hidden)
    return flow.FlowPolicy(params, config, np.zeros(obs_size, np.float32), np.ones(obs_size, np.float32))
