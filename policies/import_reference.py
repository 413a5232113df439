"""Importer of published flow-policy checkpoints, which are pickles of nested dicts of JAX arrays.

A pickle can run any code. This reader admits the few names that rebuild arrays and refuses every other by name.
"""

import pathlib
import pickle
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np

from rtc_bench.policies import checkpoint, flow

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
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise checkpoint.CheckpointError(f"{path}: not a whole pickle of arrays ({error}); copy it again") from None
    return _checked(path, tree)


def _checked(path: pathlib.Path, tree) -> dict:
    """Only string-keyed dicts, arrays and None (layers without bias or scale, which are left out)."""
    if not isinstance(tree, dict):
        raise checkpoint.CheckpointError(f"{path}: holds a {type(tree).__name__}, not a nested dict of arrays")
    result: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            inner = _checked(path, value)
            if inner:
                result[str(name)] = inner
        elif isinstance(value, np.ndarray) and value.dtype == np.float32:
            result[str(name)] = value
        elif value is not None:
            kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise checkpoint.CheckpointError(f"{path}: entry {name!r} is of type {kind}, not an array of float32")
    return result


def load(path: checkpoint.Path, *, weak: checkpoint.Path | None = None) -> flow.FlowPolicy:
    """A published checkpoint as a policy; observations enter it unnormalised. ``weak`` is one from early in training.

    Raises CheckpointError.
    """
    params = arrays(path)
    config = _config(path, params)
    zeros, ones = jnp.zeros(config.obs_size), jnp.ones(config.obs_size)
    policy = flow.FlowPolicy(params, config, zeros, ones, None if weak is None else arrays(weak))
    checkpoint.check_arrays(path, checkpoint.flow_arrays(policy), config)
    return policy


def _config(path: checkpoint.Path, params: dict) -> flow.FlowConfig:
    try:
        first = params["mlp_stack"]["0"]
        inputs, channels = params["in_proj"]["kernel"].shape
        horizon, token_hidden = first["token_mix_in"]["kernel"].shape
        channel_hidden = first["channel_mix_in"]["kernel"].shape[1]
        layers, action_size = len(params["mlp_stack"]), params["out_proj"]["kernel"].shape[1]
        obs_size = inputs - action_size
        return flow.FlowConfig(obs_size, action_size, horizon, layers, channels, channel_hidden, token_hidden)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise checkpoint.CheckpointError(f"{path}: not a flow policy of the published kind ({error})") from None


def main(arguments: list[str]) -> None:
    """Convert published pickles to a checkpoint file of this project: ``checkpoint.CONVERT_COMMAND`` shows how."""
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    paths = [argument for argument in arguments if "=" not in argument]
    if len(paths) != 2 or "task" not in options or options.keys() - {"task", "weak"}:
        sys.exit(f"usage: {checkpoint.CONVERT_COMMAND}")
    try:
        policy = load(paths[0], weak=options.get("weak"))
        model_card = {
            "task": options["task"],
            "interface": "kinetix",
            "data": f"imported from {pathlib.Path(paths[0]).name}",
        }
        checkpoint.save_flow(paths[1], policy, model_card)
    except (checkpoint.CheckpointError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
