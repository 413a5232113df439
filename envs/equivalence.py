"""The stock engine as the measure of the specialised one: states that it visits, and what it makes of them.

These scenes are chaotic, so that whole trajectories prove nothing: the stock engine itself leaves its own path if a number
changes in the last place. What can be held to it are single control steps from many visited states.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.envs import kinetix_engine
from rtc_bench.envs import scene as scenes
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import engine as fast_engine
from rtc_bench.envs.physics import state as states

POSITION_TOLERANCE, ANGLE_TOLERANCE = 1e-5, 1e-4  # m and rad that one control step may differ by
HOLD = 5  # control steps for which a random action is held


class VisitedStates(NamedTuple):
    """N states of the stock engine, one control step from each. The batch is the last axis of every leaf."""

    before: Any  # the stock engine's states
    motors: Array  # [4, N]
    thrusters: Array  # [2, N]
    bodies: tuple[Array, ...]  # afterwards: x, y, angle, vx, vy, w, each [M, N]
    solved: Array  # [N] bool
    failed: Array  # [N] bool
    distance: Array  # [N] m


class Errors(NamedTuple):
    """How far one control step of the specialised engine ends from the stock engine's, each [N]."""

    position: np.ndarray  # m, the worst body's x or y
    angle: np.ndarray  # rad
    distance: np.ndarray  # m
    reward: np.ndarray  # bool: solved or failed differ

    def out_of_tolerance(self) -> np.ndarray:
        """[N] bool: which states end too far away, or with another reward."""
        far = (
            (self.position > POSITION_TOLERANCE) | (self.distance > POSITION_TOLERANCE) | (self.angle > ANGLE_TOLERANCE)
        )
        return far | self.reward


def random_actions(batch: int) -> Callable:
    """Actions that are held for a while, the extremes included, as ``visit`` wants them."""

    def choose(time: int, sim) -> tuple[Array, Array]:
        del sim
        rng = np.random.default_rng(time // HOLD)
        motors, thrusters = rng.uniform(-1.2, 1.2, (4, batch)), rng.uniform(-0.2, 1.2, (2, batch))
        return jnp.asarray(motors.clip(-1, 1), jnp.float32), jnp.asarray(thrusters.clip(0, 1), jnp.float32)

    return choose


def visit(
    stock: kinetix_engine.KinetixEngine, step: Callable, choose: Callable, *, batch: int, steps: int, start: Any = None
) -> VisitedStates:
    """Follow ``batch`` episodes for ``steps`` control steps, past their ends.

    ``step`` is the jitted ``stock.step``; ``choose(time, sim)`` returns motors [4, batch] and thrusters [2, batch]. They begin
    with the scene, or in the stock engine's state ``start``.
    """
    sim, bodies, visited = stock.initial(batch) if start is None else start, jax.jit(stock.bodies), []
    for time in range(steps):
        motors, thrusters = choose(time, sim)
        after, *decided = step(sim, motors, thrusters)
        visited.append(VisitedStates(sim, motors, thrusters, bodies(after), *decided))
        sim = after
    return concatenate(visited)


def concatenate(parts: list[VisitedStates]) -> VisitedStates:
    """All of their states, as NumPy arrays."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, -1), *parts)


def step_errors(engine: fast_engine.FastEngine, stock: kinetix_engine.KinetixEngine, visited: VisitedStates) -> Errors:
    """One control step of ``engine`` from every visited state, against the stock engine's."""
    step, errors = jax.jit(engine.step), []
    for batch in _batches(visited, fast_engine.CPU_BLOCK):
        sim, *decided = step(to_sim(engine.constants, stock, batch.before), batch.motors, batch.thrusters)
        errors.append(_errors(engine.bodies(sim), decided, batch))
    return Errors(*(np.concatenate(part)[: len(visited.solved)] for part in zip(*errors, strict=True)))


def _errors(bodies: tuple[Array, ...], decided: list[Array], visited: VisitedStates) -> Errors:
    """``decided`` are solved, failed and distance."""
    solved, failed, distance = (np.asarray(part) for part in decided)
    reward = (solved != visited.solved) | (failed != visited.failed)
    return Errors(*largest_differences(bodies, visited.bodies), np.abs(distance - visited.distance), reward)


def _batches(visited: VisitedStates, batch: int) -> Iterator[VisitedStates]:
    """Batches of one size; the last one is filled up with its own states."""
    count = len(visited.solved)
    for first in range(0, count, batch):
        index = np.resize(np.arange(first, min(first + batch, count)), batch)
        yield jax.tree.map(functools.partial(np.take, indices=index, axis=-1), visited)


def largest_differences(one: tuple[Array, ...], other: tuple[Array, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Largest difference over the bodies, each [N]: in x or y (m) and in angle (rad)."""
    x, y, angle = (np.abs(np.asarray(a) - np.asarray(b)) for a, b in zip(one[:3], other[:3], strict=True))
    return np.maximum(x, y).max(0), angle.max(0)


def count_unexplained(
    stock: kinetix_engine.KinetixEngine,
    step: Callable,
    visited: VisitedStates,
    errors: Errors,
    *,
    batch: int,
    tries: int = 64,
) -> int:
    """VisitedStates states that are off, though the stock engine itself does not jump there by a tenth as much.

    It jumps if one of ``tries`` changes of the state in the last place makes it end elsewhere, or decide otherwise.
    """
    index, rng, bodies_of = np.flatnonzero(errors.out_of_tolerance()), np.random.default_rng(0), jax.jit(stock.bodies)
    if not len(index):
        return 0
    jumps = []
    for suspects in _batches(jax.tree.map(lambda leaf: leaf[..., index], visited), batch):
        nudged_errors = []
        for _ in range(tries):
            sim, *decided = step(nudge(suspects.before, rng), suspects.motors, suspects.thrusters)
            nudged_errors.append(_errors(bodies_of(sim), decided, suspects))
        jumps.append([np.max(part, 0) for part in zip(*nudged_errors, strict=True)])
    stock_jumps = Errors(*(np.concatenate(part)[: len(index)] for part in zip(*jumps, strict=True)))
    ours = Errors(*(part[index] for part in errors))
    explained = (
        (ours.position <= np.maximum(POSITION_TOLERANCE, 10 * stock_jumps.position))
        & (ours.angle <= np.maximum(ANGLE_TOLERANCE, 10 * stock_jumps.angle))
        & (ours.distance <= np.maximum(POSITION_TOLERANCE, 10 * stock_jumps.distance))
        & (ours.reward <= stock_jumps.reward)
    )
    return int((~explained).sum())


def nudge(sim, rng: np.random.Generator):
    """A stock state whose moving bodies' positions, angles and velocities differ by at most one unit in the last place."""

    def moved(part, leaf: Array) -> Array:
        value = np.asarray(leaf)
        moves = np.asarray(part.inverse_mass) > 0
        moves = moves if value.ndim == 2 else moves[:, None]
        towards = rng.choice(np.array([-np.inf, np.inf], np.float32), value.shape)
        return jnp.asarray(np.where(moves, np.nextafter(value, towards), value))

    fields = ("position", "rotation", "velocity", "angular_velocity")
    polygon, circle = (
        part.replace(**{name: moved(part, getattr(part, name)) for name in fields})
        for part in (sim.polygon, sim.circle)
    )
    return sim.replace(polygon=polygon, circle=circle)


def to_stock(stock: kinetix_engine.KinetixEngine, bodies: tuple[Array, ...]):
    """A stock state whose moving bodies are at ``bodies`` (x, y, angle, vx, vy, w, each [M, B]); contacts remember nothing."""
    x, y, angle, vx, vy, w = (np.asarray(part) for part in bodies)
    sim = jax.tree.map(np.array, stock.initial(x.shape[-1]))
    for row, body in enumerate(stock.scene.moving):
        part, slot = (sim.circle, body.slot - scenes.POLYGON_SLOTS) if body.is_circle else (sim.polygon, body.slot)
        part.position[slot], part.velocity[slot] = (x[row], y[row]), (vx[row], vy[row])
        part.rotation[slot], part.angular_velocity[slot] = angle[row], w[row]
    return jax.tree.map(jnp.asarray, sim)


def to_sim(constants: const.Constants, stock: kinetix_engine.KinetixEngine, sim) -> states.Sim:
    """A stock state as a specialised one."""
    bodies = stock.scene.bodies
    slots = [body.slot for body in bodies if body.moves] + [body.slot for body in bodies if not body.moves]

    def impulses(kind: str, manifolds, points: int) -> states.Impulses:
        pairs, listed = getattr(constants, kind), const.generic_list(kind)
        index = np.array([listed.index((slots[pairs.a[k]], slots[pairs.b[k]])) for k in pairs.pushing], int)
        parts = [np.asarray(part)[index] for part in (manifolds.acc_impulse_normal, manifolds.acc_impulse_tangent)]
        return states.Impulses(*(np.swapaxes(p, 0, 1) if points == 2 else p[None] for p in parts))

    joints = len(constants.joints)
    impulse = np.asarray(sim.joint.acc_impulse)[:joints]
    return states.Sim(
        states.Motion(*jax.jit(stock.bodies)(sim)),
        impulses("polygon_polygon", sim.acc_rr_manifolds, 2),
        impulses("circle_polygon", sim.acc_cr_manifolds, 1),
        impulses("circle_circle", sim.acc_cc_manifolds, 1),
        impulse[:, 0],
        impulse[:, 1],
        np.asarray(sim.joint.acc_r_impulse)[:joints],
    )
