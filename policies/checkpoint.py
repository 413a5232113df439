"""Checkpoint files: safetensors with a JSON header. Written whole or not at all; nothing is ever unpickled."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from rtc_bench.common import files
from rtc_bench.policies import flow

Path = pathlib.Path | str
HEADER_KEY = "rtc_bench"  # the metadata key that holds the JSON header
ZOO_FOLDER = pathlib.Path(__file__).parent / "zoo"
CONVERT_COMMAND = "python -m rtc_bench.policies.import_reference in.pkl out.safetensors task=<name> [weak=early.pkl]"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what is wrong and what to do."""


def flatten(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Nested dict of arrays -> {"a/b/c": array}; None is left out."""
    return {name: np.asarray(leaf, order="C") for name, leaf in _leaves(tree).items()}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _leaves(value, f"{prefix}{name}/")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of ``flatten``."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def pack_leaves(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of any pytree, numbered, so that they can be saved; typed keys as their data."""
    leaves = jax.tree.leaves(tree)
    raw_leaves = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves]
    return {f"{i:04d}": np.asarray(leaf) for i, leaf in enumerate(raw_leaves)}


def unpack_leaves(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of ``pack_leaves``, given a pytree of the same structure."""
    leaves, tree = jax.tree.flatten(template)
    values = [arrays[f"{i:04d}"] for i in range(len(leaves))]
    values = [
        jax.random.wrap_key_data(value) if _is_key(leaf) else jnp.asarray(value)
        for value, leaf in zip(values, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, values)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def save(path: Path, arrays: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Save a nested dict of arrays. ``header`` is JSON-able and has a "kind"."""
    data = safetensors.numpy.save(flatten(arrays), metadata={HEADER_KEY: json.dumps(header, sort_keys=True)})
    files.write_whole(path, data)


def read_header(path: Path) -> dict[str, Any]:
    """The header alone. Raises CheckpointError."""
    return _read(path, arrays=False)[1]


def load(path: Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays, header) of a checkpoint of this kind ("flow", "expert", ...). Raises CheckpointError."""
    flat, header = _read(path, arrays=True)
    if header.get("kind") != kind:
        raise CheckpointError(f"{path}: holds a {header.get('kind')!r} checkpoint, not {kind!r}; give a {kind!r} one")
    return unflatten(flat), header


def _read(path: Path, *, arrays: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    path = pathlib.Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path.absolute()}: no such checkpoint file; check the path, or train one first")
    if path.suffix == ".pkl":
        raise CheckpointError(f"{path}: pickles are not loaded; convert it once: {CONVERT_COMMAND}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()} if arrays else {}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); copy or train it again") from None
    except (TypeError, KeyError, AttributeError) as error:  # of numbers that NumPy does not know, such as float8
        raise CheckpointError(
            f"{path}: holds numbers of a kind that NumPy does not know ({error}); save float32"
        ) from None
    if HEADER_KEY not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not one of rtc_bench's; give one that rtc_bench saved")
    try:
        header = json.loads(metadata[HEADER_KEY])
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: its header is damaged ({error}); copy or train it again") from None
    return flat, header


def save_flow(path: Path, policy: flow.FlowPolicy, model_card: Mapping[str, Any]) -> None:
    """Save a flow policy. ``model_card`` says task, interface, data, epochs, solve rate, commit."""
    save(path, flow_arrays(policy), {**model_card, "kind": "flow", "config": dataclasses.asdict(policy.config)})


def flow_arrays(policy: flow.FlowPolicy) -> dict[str, Any]:
    """What is stored of a flow policy."""
    return {"params": policy.params, "obs_mean": policy.obs_mean, "obs_std": policy.obs_std, "weak": policy.weak}


def load_flow(
    path: Path, *, task: str, interface: str, obs_size: int, action_size: int
) -> tuple[flow.FlowPolicy, dict[str, Any]]:
    """A flow policy made for this task, and its model card. Raises CheckpointError naming what does not fit."""
    arrays, header = load(path, kind="flow")
    try:
        config = flow.FlowConfig(**header["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its configuration does not describe a flow policy ({error}); train it again"
        ) from None
    wanted = {"task": task, "interface": interface}
    for name, value in wanted.items():
        if header.get(name) != value:
            raise CheckpointError(
                f"{path}: made for {name} {header.get(name)!r}, not {value!r}; give a checkpoint for {name} {value!r}"
            )
    sizes = {"obs_size": obs_size, "action_size": action_size}
    for name, size in sizes.items():
        if getattr(config, name) != size:
            raise CheckpointError(
                f"{path}: {name} is {getattr(config, name)}, task {task!r} has {size}; train it again"
            )
    check_arrays(path, arrays, config)
    # Training stores the early weights in half precision.
    weak = jax.tree.map(lambda leaf: leaf.astype(np.float32), arrays.get("weak"))
    return flow.FlowPolicy(arrays["params"], config, arrays["obs_mean"], arrays["obs_std"], weak), header


def check_arrays(path: Path, arrays: Mapping[str, Any], config: flow.FlowConfig) -> None:
    """Raise CheckpointError unless the arrays are those of a policy with this configuration."""
    params = jax.eval_shape(lambda: flow.init(jax.random.key(0), config))
    vector = jax.ShapeDtypeStruct((config.obs_size,), np.float32)
    expected = {"params": params, "obs_mean": vector, "obs_std": vector}
    if arrays.get("weak") is not None:
        expected["weak"] = params
    _check_shapes(path, arrays, expected)
    check_weights(path, arrays)


def _check_shapes(path: Path, arrays: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless both are nested dicts of the same names and shapes."""
    wanted = {name: leaf.shape for name, leaf in _leaves(expected).items()}
    shapes = {name: leaf.shape for name, leaf in _leaves(arrays).items()}
    for name in sorted(wanted.keys() | shapes.keys()):
        if wanted.get(name) != shapes.get(name):
            has, needs = (f"of shape {side[name]}" if name in side else "absent" for side in (shapes, wanted))
            raise CheckpointError(f"{path}: {name} is {has}, its configuration says {needs}; copy or train it again")


def check_weights(path: Path, arrays: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless all arrays are finite floating-point numbers."""
    for name, leaf in _leaves(arrays).items():
        if not jnp.issubdtype(leaf.dtype, np.floating):
            raise CheckpointError(f"{path}: {name} holds {leaf.dtype} numbers; weights are float32, save them as such")
        if not np.isfinite(leaf).all():
            raise CheckpointError(f"{path}: {name} holds inf or nan; train it again, at a lower learning rate")


def weights_file(folder: Path, name: str, task: str) -> pathlib.Path:
    """Where the weights lie that a strategy learned for a task's policy."""
    return pathlib.Path(folder) / name / f"{task}.safetensors"


def save_weights(path: Path, weights: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Save what a strategy learned, in half precision. ``card`` holds the recipe, with the policy's digest and the options."""
    halves = {name: np.asarray(leaf, np.float16) for name, leaf in _leaves(weights).items()}
    save(path, halves, {**card, "kind": "weights"})


def load_weights(
    path: Path,
    expected: Any,
    *,
    policy: str,
    options: Mapping[str, Any],
    code: str | None,
    class_name: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """What a strategy learned for the policy of this digest. Raises CheckpointError for other weights.

    ``expected``: a nested dict of arrays, or their shapes, that they must be like. ``code``: the digest of a foreign
    strategy's file; where the file has changed since, that is told. ``class_name``: a foreign strategy's. ``command``
    trains it again.
    """
    arrays, header = load(path, kind="weights")
    recipe = header.get("recipe", {})
    again = "train it again" + (f": {command}" if command else "")
    if class_name is not None:
        check_class(path, header, class_name)
    for name, value in {"policy": policy, "options": dict(options)}.items():
        if recipe.get(name) != value:
            raise CheckpointError(f"{path}: trained for {name} {recipe.get(name)}, not {value}; {again}")
    if code is None and "code" in recipe:
        raise CheckpointError(f"{path}: a foreign strategy's of the same name; give another weights=, or {again}")
    if recipe.get("code") not in (None, code):
        print(f"{path}: trained when the strategy's file was another; train it again if its training has changed")
    _check_shapes(path, arrays, expected)
    check_weights(path, arrays)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, np.float32), arrays)


def check_class(path: Path, header: Mapping[str, Any], class_name: str) -> None:
    """Raise CheckpointError for weights that a foreign class of another name learned."""
    owner = header.get("recipe", {}).get("class", class_name)
    if owner != class_name:
        raise CheckpointError(
            f"{path}: holds what the class {owner} learned, not {class_name}; name each class's TrainingStage differently, "
            "or delete the file"
        )


def zoo_files() -> dict[str, pathlib.Path]:
    """The policies that ship with the package: task -> file."""
    return {path.stem: path for path in sorted(ZOO_FOLDER.glob("*.safetensors"))}
