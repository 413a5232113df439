"""A task as a batched, jittable environment without hidden state."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs import kinetix_engine, observation, tasks
from rtc_bench.envs import scene as scenes

MAX_STEPS = 256  # control steps an episode may take
CONTROL_DT = 1 / 30  # s
START = 1 << 31  # folded into a key for what differs at the start: more than control steps count to


def _in_float32(method: Callable) -> Callable:
    """Results do not depend on whether the caller has turned on JAX's 64 bits."""

    @functools.wraps(method)
    def wrapped(*args, **kwargs):
        with jax.enable_x64(False):
            return method(*args, **kwargs)

    return wrapped


class State(NamedTuple):
    """Every leaf has the batch as its last axis."""

    sim: Any  # the engine's own pytree
    time: Array  # [B] int32, control steps since the episode began


class TaskEnv:
    """One task, natively batched.

    An episode is solved when green touches blue and fails when green touches red; either terminates it. After 256
    control steps it is truncated. There is no automatic reset: a caller that wants one uses ``where``.
    """

    def __init__(
        self,
        scene: scenes.Scene,
        *,
        interface: str = "compact",
        engine: str = "fast",
        noise_std: float = 0.1,
        start_std: float = 0.0,
    ):
        if interface not in tasks.INTERFACES:
            raise ValueError(f"unknown interface {interface!r}; interfaces: {', '.join(tasks.INTERFACES)}")
        if engine not in tasks.ENGINES:
            raise ValueError(f"unknown engine {engine!r}; engines: {', '.join(tasks.ENGINES)}")
        for name, value in (("noise_std", noise_std), ("start_std", start_std)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} is {value}; it must be 0 or more, and finite")
        self.name, self.interface, self.engine_name, self.noise_std = scene.name, interface, engine, float(noise_std)
        self.scene, self.start_std = scene, float(start_std)
        self.max_steps, self.control_dt = MAX_STEPS, CONTROL_DT
        self.engine = _engine(engine, self.scene)
        if interface == "compact":
            self._observe = observation.compact
            self.obs_size = observation.FEATURES * len(self.scene.moving)
            self.own = observation.own_of_compact(self.scene)  # [O] bool: the numbers that are of the robot itself
            self._motors, self._thrusters = self.scene.wired_motors, self.scene.wired_thrusters
        else:
            self._observe = observation.Symbolic(self.scene)
            self.obs_size, self.own = self._observe.size, self._observe.own
            self._motors, self._thrusters = range(scenes.MOTOR_BINDINGS), range(scenes.THRUSTER_BINDINGS)
        motors, thrusters = len(self._motors), len(self._thrusters)
        self.action_size = motors + thrusters
        self.action_low = np.array([-1.0] * motors + [0.0] * thrusters, np.float32)
        self.action_high = np.ones(self.action_size, np.float32)

    @property
    def signature(self) -> dict[str, Any]:
        """What a policy must have been made for: task, interface, obs_size, action_size."""
        sizes = {"obs_size": self.obs_size, "action_size": self.action_size}
        return {"task": self.name, "interface": self.interface, **sizes}

    @_in_float32
    def reset(self, key: Array, batch: int) -> tuple[Array, State]:
        """The start: observation [B, O] and state.

        Moving bodies' positions (m) and angles (rad) differ by Gaussian noise of ``start_std``, which is 0 in most tasks: all
        episodes start alike. ``key`` is one key, or one per episode [B]: then a start depends on its own key alone.
        """
        sim = self.engine.initial(batch)
        if self.start_std:
            displacement = self._noise(_fold_in(_typed(key), START), (batch, 3 * len(self.scene.moving)))
            sim = self.engine.displace(sim, self.start_std * displacement.T.reshape(3, -1, batch))
        state = State(sim, jnp.zeros(batch, jnp.int32))
        return self.observe(state), state

    @_in_float32
    def step(
        self, key: Array, state: State, action: Array
    ) -> tuple[Array, State, Array, Array, Array, dict[str, Array]]:
        """One control step (1/30 s).

        ``action`` is [B, A]; Gaussian actuation noise is added, then it is clipped to [action_low, action_high]. ``key`` is
        one key (``jax.random.key`` or ``PRNGKey``), or one per episode [B]: then an episode's noise depends on its own key
        alone. Returns observation [B, O], state, reward [B] (+1 solved, -1 failed, else 0), terminated [B], truncated [B]
        and info with ``solved`` [B], ``failed`` [B] and ``distance`` [B], green to blue in metres.
        """
        action = jnp.asarray(action, jnp.float32)
        if self.noise_std:
            action = action + self.noise_std * self._noise(_typed(key), action.shape)
        next_state, solved, failed, distance = self._act(state, action)
        terminated = solved | failed
        truncated = (next_state.time >= self.max_steps) & ~terminated
        reward = solved.astype(jnp.float32) - failed.astype(jnp.float32)
        info = {"solved": solved, "failed": failed, "distance": distance}
        return self.observe(next_state), next_state, reward, terminated, truncated, info

    @_in_float32
    def predict(self, state: State, actions: Array, steps: Array) -> State:
        """Where the first ``steps`` ([], or [B] for each episode) of ``actions`` [B, H, A] lead without actuation noise."""

        def act(index: Array, state: State) -> State:
            next_state = self._act(state, jnp.take(actions, index, axis=1))[0]
            return self.where(index < steps, next_state, state) if steps.ndim else next_state

        return jax.lax.fori_loop(0, steps.max() if steps.ndim else steps, act, state)

    def _act(self, state: State, action: Array) -> tuple[State, Array, Array, Array]:
        """One control step without noise: the state, solved [B], failed [B], distance [B]."""
        motors, thrusters = self._wire(jnp.clip(action, self.action_low[None], self.action_high[None]))
        sim, solved, failed, distance = self.engine.step(state.sim, motors, thrusters)
        return State(sim, state.time + 1), solved, failed, distance

    def _noise(self, key: Array, shape: tuple[int, int]) -> Array:
        if key.ndim == 0:
            return jax.random.normal(key, shape)
        return jax.vmap(lambda episode: jax.random.normal(episode, shape[1:]))(key)

    def _wire(self, action: Array) -> tuple[Array, Array]:
        """Actions [B, A] to all motor [4, B] and thruster [2, B] bindings; what is not wired gets 0."""
        columns, idle = list(action.T), jnp.zeros(action.shape[0], action.dtype)
        motors = dict(zip(self._motors, columns, strict=False))
        thrusters = dict(zip(self._thrusters, columns[len(self._motors) :], strict=True))
        return (
            jnp.stack([motors.get(i, idle) for i in range(scenes.MOTOR_BINDINGS)]),
            jnp.stack([thrusters.get(i, idle) for i in range(scenes.THRUSTER_BINDINGS)]),
        )

    @_in_float32
    def observe(self, state: State) -> Array:
        """The observation of a state, [B, O]."""
        return self._observe(self.engine.bodies(state.sim))

    @_in_float32
    def distance(self, state: State) -> Array:
        """Green to blue, metres, [B]."""
        return self.engine.distance(state.sim)

    def take(self, state: State, indices: Array) -> State:
        """The episodes ``indices`` [K] of a batch, as a batch of K."""
        return jax.tree.map(lambda leaf: leaf[..., indices], state)

    def where(self, mask: Array, then: State, otherwise: State) -> State:
        """Episode by episode: ``then`` where ``mask`` [B], else ``otherwise``."""
        return jax.tree.map(lambda a, b: jnp.where(mask.reshape((1,) * (a.ndim - 1) + (-1,)), a, b), then, otherwise)


def _typed(key: Array) -> Array:
    """Keys as ``jax.random.PRNGKey`` made them, [2] or [B, 2], as typed ones."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def _fold_in(key: Array, data: int) -> Array:
    """Of one key, or of one per episode [B]."""
    return jax.random.fold_in(key, data) if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))(key, data)


def _engine(kind: str, scene: scenes.Scene):
    if kind == "fast":
        from rtc_bench.envs.physics import engine

        return engine.FastEngine(scene)

    return kinetix_engine.KinetixEngine(scene)


def make(task: str | scenes.Scene, **options) -> TaskEnv:
    """A task environment: one of the twelve by name, or any scene, such as ``kinetix_levels.load("level.json")``.

    Raises tasks.UnknownTask, constants.UnsupportedScene where the fast engine cannot simulate the scene (engine="kinetix"
    can), and ValueError for unknown options' values.
    """
    if isinstance(task, scenes.Scene):
        return TaskEnv(task, **options)
    return TaskEnv(tasks.scene(task), **{"start_std": tasks.START_STD.get(task, 0.0), **options})
