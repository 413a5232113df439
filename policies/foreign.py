"""Policies made elsewhere: what a user's object offers, and the policy that strategies act by.

``policy=path/to/file.py:load`` or ``policy=my_package.my_module:load`` names a function. It is called with a task's name and
returns an object with these attributes; for a task that it has nothing for it raises ValueError, KeyError or
FileNotFoundError::

    horizon                                             H, control steps in a chunk
    velocity(params, obs, x_t, time) -> velocity        of a flow policy; flow time runs from 0 (noise) to 1 (action)
    chunk(params, obs, noise) -> chunk                  of a policy without a velocity
    params                                              optional: a pytree of arrays, which is passed to compiled programs
                                                        instead of becoming a part of them

``obs`` [B, O] is as the task gives it; ``x_t``, ``noise``, velocity and chunk are [B, H, A] in the task's units of action;
``time`` is [B], and [B, H] under the few strategies that give every action a flow time of its own. All are float32. The
functions are traced by JAX; what another framework computes goes through ``host_callback.call``. Same noise, same chunk.
"""

import dataclasses
import functools
import hashlib
import inspect
import logging
import os
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import errors, foreign_code
from rtc_bench.policies import flow, host_callback, sampling

BATCH = 3  # episodes of the trial before anything runs
REFUSALS = (ValueError, KeyError, FileNotFoundError)  # of a function that has nothing for a task


class BrokenPolicy(errors.ConfigError):
    """A policy's own code fails or breaks a rule; the message names file, function and rule."""


class NoPolicyForTask(errors.ConfigError):
    """The function has nothing for a task."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a policy, named as in ``flow.FlowConfig``."""

    obs_size: int  # O
    action_size: int  # A
    horizon: int  # H


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A user's object, before the task's sizes are known."""

    policy: Any
    name: str  # what messages call it
    label: str  # what the policy column calls it, with the digest
    file: str  # of the user's code
    digest: str  # of the file and of params
    task: str | None = None  # where the object itself says it

    @property
    def horizon(self) -> int:
        """H."""
        return int(self.policy.horizon)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params", "weights"], meta_fields=["config", "source", "on_host"]
)
@dataclasses.dataclass(frozen=True)
class ForeignPolicy:
    """A user's policy, with the attributes of ``flow.FlowPolicy`` that strategies use; a pytree."""

    params: Any
    config: Sizes
    source: Source
    weights: dict[str, Any] = dataclasses.field(default_factory=dict)  # what strategies learned, by stage
    on_host: bool = False  # its functions leave the compiled program, so whole batches go at a time
    weak = None  # no early checkpoint, so no contrast for BID

    @property
    def gives_velocity(self) -> bool:
        """Or chunks alone."""
        return callable(getattr(self.source.policy, "velocity", None))

    @property
    def continues_chunks(self) -> bool:
        """The object holds new chunks to old ones itself, as a policy server does."""
        return hasattr(self.source.policy, "continued")

    def velocity(self, obs: Array, x_t: Array, time: "Array | flow.TimeModulation") -> Array:
        """As ``flow.FlowPolicy.velocity``. Raises ConfigError for a policy that has none."""
        if not self.gives_velocity:
            raise errors.ConfigError(f"{self.source.name} gives chunks and no velocity; use a strategy without one")
        time = jnp.asarray(time.time if isinstance(time, flow.TimeModulation) else time, x_t.dtype)
        shape = x_t.shape[:2] if time.ndim == 2 else x_t.shape[:1]
        return self._calls(self.source.policy.velocity)(self.params, obs, x_t, jnp.broadcast_to(time, shape))

    def embedded(self, obs: Array) -> Array:
        """Observations as they are: what a user's network makes of them is its own affair."""
        return obs

    def sample(self, obs: Array, noise: Array, steps: int) -> Array:
        """A chunk [B, H, A]: the policy's own, or by Euler steps."""
        if not self.gives_velocity:
            return self._calls(self.source.policy.chunk)(self.params, obs, noise)
        times = self.time_modulations(steps)
        return sampling.euler(lambda x_t, time: self.velocity(obs, x_t, time), noise, times)

    def continued(self, obs: Array, noise: Array, previous: Array, delay: Array, horizon: Array) -> Array:
        """A chunk [B, H, A] that the policy itself holds to ``previous``; the arguments are those of a request.

        ``delay`` and ``horizon`` are [], or under ``jax.vmap`` the object gets [B].
        """
        return self._calls(self.source.policy.continued)(self.params, obs, noise, previous, delay, horizon)

    def _calls(self, function: Callable[..., Array]) -> Callable[..., Array]:
        return host_callback.whole_batches(function) if self.on_host else function

    def time_modulations(self, steps: int) -> "flow.TimeModulation":
        """Flow times and nothing else: what a user's network makes of them is its own affair."""
        return flow.TimeModulation(jnp.asarray(sampling.times(steps)), (), ())

    def with_time_modulations(self, steps: Iterable[int]) -> "ForeignPolicy":
        """The same policy: there is nothing to compute once."""
        del steps
        return self

    def with_params(self, params: Any) -> "ForeignPolicy":
        """The same policy with other parameters."""
        return dataclasses.replace(self, params=params)

    def normalised(self, obs: Array) -> Array:
        """Observations as they are: normalising is the user's own affair."""
        return obs

    @property
    def obs_mean(self) -> Array:
        """[O], unknown."""
        return jnp.zeros(self.config.obs_size)

    @property
    def obs_std(self) -> Array:
        """[O], unknown."""
        return jnp.ones(self.config.obs_size)


def is_spec(policy: str) -> bool:
    """It names a function, and not a checkpoint or a folder. Raises ConfigError for what can be none of them."""
    if policy.endswith(".py"):
        raise errors.ConfigError(f"policy={policy} is a file; name the function in it too: policy={policy}:load")
    if re.match(r"\w+:/", policy):
        raise errors.ConfigError(f"policy={policy} is no address of a policy server; write policy=ws://host:port")
    return ":" in policy and not pathlib.Path(policy).exists()


def load(spec: str, task: str) -> Source:
    """What the function returns for a task. Raises BrokenPolicy, and NoPolicyForTask where it refuses the task."""
    if not os.environ.get("RTC_BENCH_DEBUG"):
        logging.getLogger("jax._src.callback").disabled = True  # it would print tracebacks of what is told in one line
    module = foreign_code.load_module(spec, "policy", BrokenPolicy)
    _, name = foreign_code.parts(spec)
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = errors.did_you_mean(name, names)
        raise BrokenPolicy(f"policy={spec}: no function {name!r} there{near}; it holds {', '.join(names) or 'none'}")
    file = inspect.getfile(module)
    try:
        policy = function(task)
    except REFUSALS as error:
        reason = f"{type(error).__name__}: {errors.first_line(error)} ({foreign_code.line_of(error, file)})"
        raise NoPolicyForTask(f"policy={spec} has nothing for task {task!r}: {reason}") from error
    except Exception as error:  # whatever a user's code does
        reason = f"{foreign_code.cause(error)} ({foreign_code.line_of(error, file)})"
        raise BrokenPolicy(f"policy={spec} fails for task {task!r}: {reason}") from error
    where = f"{file}, {name}({task!r})"
    digest = hashlib.sha256(pathlib.Path(file).read_bytes())

    def check() -> None:
        _check_attributes(where, policy)
        _add_params(where, digest, getattr(policy, "params", None))

    foreign_code.calling({file: name}, check, BrokenPolicy)
    return Source(policy, f"policy={spec}", f"{pathlib.Path(file).stem}:{name}", file, digest.hexdigest()[:12])


def _check_attributes(where: str, policy: Any) -> None:
    horizon = getattr(policy, "horizon", None)
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise BrokenPolicy(f"{where}: its object's horizon is {horizon!r}; it must be a whole number, 1 or more")
    if not any(callable(getattr(policy, name, None)) for name in ("velocity", "chunk")):
        raise BrokenPolicy(
            f"{where}: its object, of {type(policy).__name__}, has no function velocity(params, obs, x_t, time) and none "
            "chunk(params, obs, noise); it must have one of them"
        )


def _add_params(where: str, digest: Any, params: Any) -> None:
    """Add names, types and bytes of all arrays to a digest. Raises BrokenPolicy for what is no array, or not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = f"params{jax.tree_util.keystr(path)}"
        kind = getattr(leaf, "dtype", None)
        if kind is None or not (jnp.issubdtype(kind, np.number) or kind == np.bool_):
            raise BrokenPolicy(f"{where}: {name} is of {type(leaf).__name__}; params must hold arrays of numbers alone")
        array = np.asarray(leaf)
        if jnp.issubdtype(kind, np.inexact) and not np.isfinite(array.astype(np.float32)).all():
            raise BrokenPolicy(
                f"{where}: {name} holds inf or nan; train it again, or mend the file that it is read from"
            )
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())


def adapt(source: Source, *, obs_size: int, action_size: int) -> ForeignPolicy:
    """The policy for a task of these sizes; tried once. Raises BrokenPolicy, and ServerError of a server."""
    params = getattr(source.policy, "params", None)
    policy = ForeignPolicy(params, Sizes(obs_size, action_size, source.horizon), source)
    noise = jax.random.normal(jax.random.key(0), (BATCH, source.horizon, action_size))
    obs, time = jnp.zeros((BATCH, obs_size)), jnp.full(BATCH, 0.5)
    if policy.gives_velocity:
        name, call = "velocity", functools.partial(ForeignPolicy.velocity, obs=obs, x_t=noise, time=time)
    else:
        name, call = "chunk", functools.partial(ForeignPolicy.sample, obs=obs, noise=noise, steps=1)
    answer = calling(policy, lambda: jax.eval_shape(call, policy))
    wanted = f"float32{list(noise.shape)}"
    kind = f"{answer.dtype}{list(answer.shape)}" if hasattr(answer, "dtype") else type(answer).__name__
    if kind != wanted:
        sizes = f"B = {BATCH}, H = {source.horizon}, O = {obs_size}, A = {action_size}"
        raise BrokenPolicy(f"{source.file}, {name} must return [B, H, A], {wanted}; it returns {kind} ({sizes})")
    if not np.isfinite(calling(policy, lambda: np.asarray(jax.jit(call)(policy)))).all():
        raise BrokenPolicy(f"{source.file}, {name} returns inf or nan for observations of 0; mend it, or its params")
    return dataclasses.replace(policy, on_host=host_callback.is_used_by(call, policy))


def calling(policy: Any, call: Callable[[], Any]) -> Any:
    """What a call returns that runs a policy's code.

    Raises BrokenPolicy for an error in a user's file, also of one that ``host_callback`` kept.
    """
    if not isinstance(policy, ForeignPolicy):
        return call()

    def whole_call() -> Any:
        try:
            return call()
        finally:
            host_callback.raise_failure()

    return foreign_code.calling({policy.source.file: policy.source.name}, whole_call, BrokenPolicy)
