"""Find a first success by search, where random exploration would take for ever.

An archive of cells (coarse body states) grows from the start: promising and little-visited cells are picked, a
random action is held for a few control steps in each, and new or sooner-reached cells are kept (in the manner of
Go-Explore, Ecoffet et al. 2021). The states along the successes are where experts then start their episodes.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from rtc_bench.envs import task_env
from rtc_bench.training import settings


class SearchFailed(RuntimeError):
    """No success within the budget."""


@dataclasses.dataclass(frozen=True)
class SolutionPaths:
    """States along the paths to success."""

    states: task_env.State  # batch of 1 + starts states in the order of their times; 0 is the start
    obs_mean: np.ndarray  # [O] over all visited cells: fixed scaling for the experts
    obs_std: np.ndarray
    slowest: int  # control steps that the longest way takes
    simulated: int  # control steps spent
    seconds: float = 0.0  # that the search took


def no_paths(env: task_env.TaskEnv) -> SolutionPaths:
    """Of a search that was not made: every episode begins at the start."""
    _, state = env.reset(jax.random.key(0), 1)
    return SolutionPaths(state, np.zeros(env.obs_size, np.float32), np.ones(env.obs_size, np.float32), env.max_steps, 0)


class _Archive:
    """Columns of equal length; a state's leaves have the cell as their last axis."""

    def __init__(self, starts: task_env.State, distance: np.ndarray, capacity: int):
        leaves, self.tree = jax.tree.flatten(starts)
        self.leaves = [np.zeros((*leaf.shape[:-1], capacity), leaf.dtype) for leaf in leaves]
        self.time, self.visits = np.zeros(capacity, int), np.zeros(capacity)
        self.distance, self.parent = np.zeros(capacity), np.full(capacity, -1)
        self.size = self.starts = len(distance)
        self.capacity = capacity
        self.distance[: self.size] = distance
        self.index: dict[bytes, int] = {}
        for column, leaf in zip(self.leaves, leaves, strict=True):
            column[..., : self.size] = leaf

    def choose(self, rng: np.random.Generator, config: settings.SearchConfig) -> np.ndarray:
        size = self.size
        rank = np.argsort(np.argsort(self.distance[:size])) / max(size, 2)
        weight = np.exp(-config.greed * rank) / np.sqrt(1 + self.visits[:size])
        weight *= self.time[:size] < config.last_start
        chosen = rng.choice(size, config.population, p=weight / weight.sum())
        np.add.at(self.visits, chosen, 1)
        return chosen

    def take(self, index: np.ndarray) -> task_env.State:
        return jax.tree.unflatten(self.tree, [jnp.asarray(column[..., index]) for column in self.leaves])

    def add(
        self, cells: np.ndarray, state: task_env.State, parents: np.ndarray, distance: np.ndarray, keep: np.ndarray
    ):
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
        time = np.asarray(state.time)
        for j in np.flatnonzero(keep):
            name = cells[j].tobytes()
            slot = self.index.get(name)
            if slot is None:
                if self.size == self.capacity:
                    continue
                slot, self.size = self.size, self.size + 1
            elif self.time[slot] <= time[j]:
                continue
            self.index[name] = slot
            for column, leaf in zip(self.leaves, leaves, strict=True):
                column[..., slot] = leaf[..., j]
            self.time[slot], self.distance[slot], self.parent[slot] = time[j], distance[j], parents[j]

    def path_to(self, slot: int) -> list[int]:
        """The cell and its ancestors. A parent is always reached sooner, so this ends."""
        path = []
        while slot >= 0:
            path.append(slot)
            slot = int(self.parent[slot])
        return path


def _explorer(env: task_env.TaskEnv, config: settings.SearchConfig):
    """Jitted: hold a random action (half of them at the bounds) in each state; a decided episode stays as it is."""

    def hold(state, key):
        action_key, extreme_key, step_key = jax.random.split(key, 3)
        shape = (config.population, env.action_size)
        low, high = env.action_low[None], env.action_high[None]
        action = jax.random.uniform(action_key, shape, minval=low, maxval=high)
        extreme = jnp.where(action > (low + high) / 2, high, low)
        action = jnp.where(jax.random.bernoulli(extreme_key, 0.5, shape), extreme, action)

        def step(carry, key):
            state, solved, lost = carry
            _, after, _, _, truncated, info = env.step(key, state, action)
            over = solved | lost
            state = env.where(over, state, after)
            return (state, solved | (info["solved"] & ~over), lost | ((info["failed"] | truncated) & ~over)), None

        undecided = jnp.zeros(config.population, bool)
        keys = jax.random.split(step_key, config.hold)
        (state, solved, lost), _ = jax.lax.scan(step, (state, undecided, undecided), keys)
        return state, solved, lost, env.distance(state), env.observe(state)

    return jax.jit(hold)


CELL_WIDTHS = (0.5, 0.5, 2.0, 2.0, 0.5, 0.7, 0.7)  # of x, y, vx, vy, tanh(w / 10), sin, cos
STARTS = 64  # that are searched from, where starts differ: from some there may be no way to success
STALL_SHARE = 0.02  # new cells a round, as a share of the population, under which cells shrink
CELL_SHRINK = 0.7  # factor of their widths then
NARROWEST = 1e-6  # width, so that a cell's numbers stay whole


def find_solutions(
    env: task_env.TaskEnv, config: settings.SearchConfig, *, seed: int, progress=lambda done, total: None
) -> SolutionPaths:
    """Search until enough successes are found. ``env`` has the compact interface. Raises SearchFailed."""
    began, rng, key = time.monotonic(), np.random.default_rng(seed), jax.random.key(seed)
    obs, starts = env.reset(key, min(STARTS, config.cells) if env.start_std else 1)
    archive = _Archive(starts, np.asarray(env.distance(starts)), config.cells)
    explore, width = _explorer(env, config), np.tile(CELL_WIDTHS, env.obs_size // len(CELL_WIDTHS))
    ends: dict[int, None] = {}  # archive slots from which a success was reached, in order
    samples = [np.asarray(obs)]
    rounds = 0
    while rounds < config.rounds and len(ends) < config.successes:
        rounds += 1
        chosen = archive.choose(rng, config)
        key, explore_key = jax.random.split(key)
        state, solved, lost, distance, obs = explore(archive.take(chosen), explore_key)
        solved, lost, distance, obs = (np.asarray(part) for part in (solved, lost, distance, obs))
        ends |= dict.fromkeys(int(slot) for slot in chosen[solved])
        progress(len(ends), config.successes)
        archive_cells, size_before = np.round(obs / width).astype(np.int32), archive.size
        archive.add(archive_cells, state, chosen, distance, keep=~solved & ~lost & np.isfinite(distance))
        if archive.size - size_before < STALL_SHARE * config.population:
            # Balancing acts live and die within one coarse cell: look closer. Old cells stay, to be expanded.
            width = np.maximum(width * CELL_SHRINK, NARROWEST)
            archive.index.clear()
        samples.append(obs[rng.choice(len(obs), 32)])
    if not ends:
        raise SearchFailed(f"no success on {env.name} in {rounds} rounds; raise search.rounds or search.population")
    slots = {slot for end in ends for slot in archive.path_to(end)} - set(range(archive.starts)) or {0}
    by_time = np.array(sorted(slots, key=lambda slot: archive.time[slot]))
    evenly = np.linspace(0, len(slots) - 1, config.starts).astype(int)  # some of many, or few again and again
    visited = np.concatenate(samples)
    return SolutionPaths(
        states=archive.take(np.array([0, *by_time[evenly]])),
        obs_mean=visited.mean(0).astype(np.float32),
        obs_std=np.maximum(visited.std(0), 0.05).astype(np.float32),
        slowest=int(archive.time[list(ends)].max()) + config.hold,
        simulated=rounds * config.population * config.hold,
        seconds=round(time.monotonic() - began, 1),
    )
