"""A policy under a strategy, as a server asks it: one request at a time, by programs that are compiled beforehand."""

import threading
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.common import devices, errors
from rtc_bench.realtime.serving import wire
from rtc_bench.strategies import base, registry

GROUP = 32  # episodes that are planned together; fewer are filled up, so that no request compiles anything
MOST_EPISODES = 4096  # of a request
SIZES = ("horizon", "obs_size", "action_size")  # H, O, A


class BadRequest(ValueError):
    """A request that cannot be answered; the message says what is wrong with it."""


def check_servable(name: str, strategy: base.Strategy, policy: Any) -> None:
    """Raise ConfigError for a strategy that needs more than single requests tell."""
    if obstacle := _obstacle(strategy, policy):
        servable = [spec for spec in registry.NAMES if spec != "served" and not _obstacle(registry.build(spec), policy)]
        raise errors.ConfigError(f"{name} cannot be served: {obstacle}; serve one of {', '.join(servable)}")


def _obstacle(strategy: base.Strategy, policy: Any) -> str:
    if strategy.looks_ahead:
        return "it asks a simulator what the committed actions lead to"
    if strategy.timing != base.DELAYED:
        return f"its timing is {strategy.timing!r}, and a client executes chunks from the step of its request on"
    if type(strategy).correct is not base.Strategy.correct:
        return "it corrects every action at its own step"
    memory = type(strategy).init is not base.Strategy.init and jax.eval_shape(lambda: strategy.init(policy, 1))
    return "it keeps memory between chunks" if jax.tree.leaves(memory or ()) else ""


class Model:
    """Answers requests, from several threads too."""

    def __init__(self, policy: Any, strategy: base.Strategy, own: Any, seed: int = 0):
        """``own``: [O] bool, as in ``base.Request``. ``seed``: of the noise, where a request brings none."""
        self.strategy, self.policy = strategy, jax.jit(strategy.prepare)(policy)
        self.horizon, self.obs_size, self.action_size = (getattr(policy.config, name) for name in SIZES)
        self._own, self._key, self._noise = jnp.asarray(own), jax.random.key(seed), np.random.default_rng(seed)
        self._lock = threading.Lock()
        options = devices.CPU_COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
        self._first = jax.jit(strategy.first, compiler_options=options)
        self._plan = jax.jit(strategy.plan, compiler_options=options)

    @property
    def sizes(self) -> dict[str, int]:
        """H, O and A, for a client."""
        return {name: getattr(self, name) for name in SIZES}

    def warm_up(self) -> None:
        """Compile all programs."""
        for count in (1, GROUP):
            chunks = np.zeros((count, self.horizon, self.action_size), np.float32)
            request = {wire.STATE: np.zeros((count, self.obs_size), np.float32)}
            self(request)
            self({**request, wire.NOISE: chunks, wire.PREVIOUS: chunks})

    def __call__(self, request: Mapping[str, Any]) -> np.ndarray:
        """A chunk [H, A] for one observation [O], or chunks [B, H, A] for [B, O]. Raises BadRequest."""
        name = next((name for name in wire.STATE_NAMES if name in request), None)
        if name is None:
            keys = ", ".join(sorted(map(str, request))) or "nothing"
            raise BadRequest(f"the request lacks {wire.STATE!r}, an observation [{self.obs_size}]; it has: {keys}")
        obs = _numbers(request, name)
        if obs.shape[-1:] != (self.obs_size,) or obs.ndim > 2 or not 0 < len(obs) <= MOST_EPISODES:
            raise BadRequest(
                f"{name} is of shape {list(obs.shape)}; it must be [{self.obs_size}], or [B, {self.obs_size}] "
                f"with B from 1 to {MOST_EPISODES}"
            )
        shape = (*obs.shape[:-1], self.horizon, self.action_size)
        noise, previous = (
            _numbers(request, name, shape) if name in request else None for name in (wire.NOISE, wire.PREVIOUS)
        )
        delay = _whole_number(request, wire.DELAY, 0, least=0, most=self.horizon)
        horizon = _whole_number(request, wire.HORIZON, max(delay, 1), least=1, most=self.horizon)
        single = obs.ndim == 1
        if single:
            obs, noise, previous = (None if array is None else array[None] for array in (obs, noise, previous))
        with self._lock:
            chunks = self._chunks(obs, noise, previous, jnp.int32(delay), jnp.int32(horizon))
        return chunks[0] if single else chunks

    def _chunks(
        self, obs: np.ndarray, noise: np.ndarray | None, previous: np.ndarray | None, delay: Array, horizon: Array
    ) -> np.ndarray:
        """Chunks [B, H, A], planned in groups of one size."""
        count, size = len(obs), 1 if len(obs) == 1 else GROUP
        if noise is None:
            noise = self._noise.standard_normal((count, self.horizon, self.action_size), np.float32)
        parts = []
        for start in range(0, count, size):
            group = [_filled(array, start, size) for array in (obs, noise, previous)]
            parts.append(self._planned(*group, delay=delay, horizon=horizon))
        return np.concatenate(parts)[:count]

    def _planned(
        self, obs: np.ndarray, noise: np.ndarray, previous: np.ndarray | None, *, delay: Array, horizon: Array
    ) -> np.ndarray:
        if previous is None:
            return np.asarray(self._first(self.policy, obs, noise))
        # More noise follows from an episode's noise, so that the same request has the same answer.
        seeds = np.array([zlib.crc32(own.tobytes()) for own in noise], np.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self._key, seeds)
        request = base.Request(obs, previous, delay, horizon, noise, keys, None, self._own)
        chunk, _ = self._plan(self.policy, request, self.strategy.init(self.policy, len(obs)))
        return np.asarray(chunk)


def _filled(array: np.ndarray | None, start: int, size: int) -> np.ndarray | None:
    """``size`` entries from ``start`` on; beyond the last one 0."""
    if array is None:
        return None
    entries = array[start : start + size]
    return np.pad(entries, ((0, size - len(entries)), *((0, 0),) * (entries.ndim - 1)))


def _numbers(request: Mapping[str, Any], name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An array of finite numbers, as float32. Raises BadRequest."""
    try:
        array = np.asarray(request[name])
    except ValueError:  # lists of several lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise BadRequest(f"{name} is no array of numbers")
    array = array.astype(np.float32)
    if shape is not None and array.shape != shape:
        raise BadRequest(f"{name} is of shape {list(array.shape)}; it must be {list(shape)}")
    if not np.isfinite(array).all():
        raise BadRequest(f"{name} holds inf or nan")
    return array


def _whole_number(request: Mapping[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    value = request.get(name, default)
    try:
        number = np.asarray(value)
    except ValueError:  # lists of several lengths
        number = np.array(None)
    if number.ndim or number.dtype.kind not in "iu" or not least <= number <= most:
        raise BadRequest(
            f"{name} is {' '.join(str(value).split())[:40]}; it must be a whole number from {least} to {most}"
        )
    return int(number)
