"""Is a foreign strategy what ``strategies.base`` asks for? Its methods are traced; nothing is computed or compiled."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rtc_bench.common import errors, foreign_code
from rtc_bench.policies import flow
from rtc_bench.strategies import base, registry

BATCH = 3  # episodes

_CALLED = ("check", "prepare", "init", "first", "plan", "correct", "initial_weights", "loss")


class BrokenStrategy(errors.ConfigError):
    """A strategy's own code fails or breaks a rule; the message names file, line, class and rule."""


def is_foreign(strategy: base.Strategy) -> bool:
    """From outside the package."""
    return not type(strategy).__module__.startswith("rtc_bench.")


def check(strategy: base.Strategy, policy: flow.FlowPolicy) -> None:
    """Trace all methods for this policy, and hold what they return to the rules. Raises BrokenStrategy."""
    config = policy.config
    chunk = jax.ShapeDtypeStruct((BATCH, config.horizon, config.action_size), jnp.float32)
    action = jax.ShapeDtypeStruct((BATCH, config.action_size), jnp.float32)
    obs = jax.ShapeDtypeStruct((BATCH, config.obs_size), jnp.float32)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), BATCH))
    seen = {"ahead": obs if strategy.looks_ahead else None, "own": jax.ShapeDtypeStruct((config.obs_size,), bool)}
    request = base.Request(obs, chunk, number, number, chunk, keys, **seen)

    def trace(method: Callable, *arguments: Any) -> Any:
        return calling([strategy], lambda: jax.eval_shape(method, *arguments))

    _require(type(strategy).plan is not base.Strategy.plan, type(strategy), "it has no plan; it must override it")
    rule = f"timing is {strategy.timing!r}; timings: {', '.join(base.TIMINGS)}"
    _require(strategy.timing in base.TIMINGS, type(strategy), rule)
    calling([strategy], lambda: strategy.check(policy))
    prepared = trace(strategy.prepare, policy)
    rule = f"prepare must return a policy, a {type(policy).__name__}"
    _require(isinstance(prepared, type(policy)), strategy.prepare, rule)
    memory = trace(lambda policy: strategy.init(policy, BATCH), prepared)
    rule = f"init must return arrays [B, ...]; it returns {_describe(memory)} for B = {BATCH}"
    _require(all(leaf.shape[:1] == (BATCH,) for leaf in jax.tree.leaves(memory)), strategy.init, rule)

    _require_like(chunk, trace(strategy.first, prepared, obs, chunk), strategy.first, "a chunk [B, H, A]")

    planned = trace(strategy.plan, prepared, request, memory)
    rule = "plan must return two things, the chunk and the memory to keep: return chunk, memory"
    _require(type(planned) is tuple and len(planned) == 2, strategy.plan, rule)
    _require_like(chunk, planned[0], strategy.plan, "a chunk [B, H, A] first")
    _require_like(memory, planned[1], strategy.plan, "memory as init gave it second")

    corrected = trace(strategy.correct, prepared, obs, action, number, memory)
    _require_like(action, corrected, strategy.correct, "an action [B, A]")


def check_stage(strategy: base.Strategy) -> None:
    """Raise ConfigError for a ``training`` that is no training stage, or whose weights another strategy has."""
    cls, stage = type(strategy), strategy.training
    if stage is None:
        return
    if not isinstance(stage, base.TrainingStage):
        raise errors.ConfigError(f"{cls.__name__}.training is {stage!r}; write training = base.TrainingStage(...)")
    if not re.fullmatch(r"\w[\w.-]*", stage.name):
        raise errors.ConfigError(
            f"{cls.__name__}.training is named {stage.name!r}; a folder is named so: letters, digits, _"
        )
    if is_foreign(strategy) and stage.name in registry.trained_names():
        raise errors.ConfigError(
            f"{cls.__name__}.training is named {stage.name!r}, as a built-in strategy's weights are; "
            "write training = base.TrainingStage(...) with another name"
        )
    for method in ("initial_weights", "loss"):
        if getattr(cls, method) is getattr(base.Strategy, method):
            raise errors.ConfigError(f"{cls.__name__} names a training stage, but has no {method}; it must override it")


def check_training(strategy: base.Strategy, policy: flow.FlowPolicy) -> None:
    """Trace the training stage, if it has one, for this policy. Raises BrokenStrategy."""
    if strategy.training is None:
        return
    config = policy.config
    key = jax.eval_shape(lambda: jax.random.key(0))

    def array(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    actions = (config.horizon, config.action_size)
    batch = base.Batch(
        obs=array(BATCH, config.horizon, config.obs_size),
        action=array(BATCH, 2 * config.horizon, config.action_size),
        inside=array(BATCH, config.horizon, dtype=jnp.bool_),
        own=array(config.obs_size, dtype=jnp.bool_),
        progress=array(),
        chunk=array(BATCH, *actions) if strategy.training.source == base.ROLLOUTS else None,
    )
    weights = calling([strategy], lambda: jax.eval_shape(strategy.initial_weights, policy, key))
    rule = f"initial_weights must return a dict of float32 arrays, which may be nested; it returns {_describe(weights)}"
    is_dict = isinstance(weights, dict) and all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(weights))
    _require(is_dict and bool(jax.tree.leaves(weights)), strategy.initial_weights, rule)
    try:
        loss = calling([strategy], lambda: jax.eval_shape(strategy.loss, policy, weights, batch, key))
    except BrokenStrategy as error:
        if batch.chunk is None and "NoneType" in str(error):
            raise BrokenStrategy(f"{error}; if it is batch.chunk: that needs source=base.ROLLOUTS") from None
        raise
    _require_like(array(), loss, strategy.loss, "a number []")


def calling(strategies: Sequence[base.Strategy], call: Callable[[], Any]) -> Any:
    """What a call returns that runs these strategies' code. Raises BrokenStrategy for an error in a foreign one's file."""
    foreign = list(filter(is_foreign, strategies))
    owners = {file: type(strategy).__name__ for strategy in foreign for file in _foreign_files(type(strategy))}
    try:
        return foreign_code.calling(owners, call, BrokenStrategy)
    except errors.ConfigError:
        raise
    except Exception:  # a call that the code does not take leaves no line of it
        for strategy in foreign:
            _check_signatures(strategy)
        raise


def _foreign_files(cls: type) -> set[str]:
    """Of the class, and of all that it is derived from and that is not of the package."""
    own = [part for part in cls.__mro__ if not part.__module__.startswith("rtc_bench.")]
    return {file for part in own for file in foreign_code.source_files(part)}


def _check_signatures(strategy: base.Strategy) -> None:
    """Raise BrokenStrategy for a method that cannot be called as the base class's is."""
    for name in _CALLED:
        method = inspect.unwrap(getattr(strategy, name))
        names = list(inspect.signature(getattr(base.Strategy, name)).parameters)
        try:
            inspect.signature(method).bind(*names[1:])
        except TypeError:
            _require(False, method, f"it must take these arguments: def {name}({', '.join(names)})")


def _require_like(wanted: Any, actual: Any, method: Callable, what: str) -> None:
    rule = f"{method.__name__} must return {what}, {_describe(wanted)}; it returns {_describe(actual)}"
    _require(_describe(actual) == _describe(wanted), method, rule)


def _require(holds: bool, method: Callable, rule: str) -> None:
    if not holds:
        raise BrokenStrategy(f"{foreign_code.place(method)}, {method.__qualname__}: {rule}")


def _describe(tree: Any) -> str:
    """Its structure, with dtypes and shapes for arrays."""
    structure = str(jax.tree.structure(tree)).removeprefix("PyTreeDef")[1:-1]
    texts = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]
    return texts[0] if structure == "*" else f"{structure} of {', '.join(texts)}" if texts else structure
