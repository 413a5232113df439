"""Expert data: Parquet files with LeRobot's column names, and the action chunks cut from them."""

import dataclasses
import hashlib
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jax import Array
from pyarrow import parquet

import envs
import envs.env
from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import experts, manifests, parallel, progress, versions


class Episodes(NamedTuple):
    """Control steps of whole episodes, one after another: N steps."""

    obs: np.ndarray  # [N, O] float32, what the action was chosen from
    action: np.ndarray  # [N, A] float32, as commanded, within bounds, before actuation noise
    episode: np.ndarray  # [N] int64, ascending
    success: np.ndarray  # [N] bool, the step solved the task


class Recording(NamedTuple):
    """What ``Recorder`` returns."""

    episodes: Episodes  # numbered from 0
    member: np.ndarray  # [E], which expert played the episode
    apart: (
        np.ndarray
    )  # [N], how far the experts' actions lie apart in each step's situation: mean |difference| of any two


class Recorder:
    """Jitted rollouts of a mixture of experts, one drawn for each episode; they act by their means."""

    def __init__(self, env: envs.env.TaskEnv, members: list[experts.Expert], config: configs.ExpertConfig):
        self.env, self.config = env, config
        self.members = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        self.network = experts.network_of(config, env)
        self.motors = experts.motors_of(env)
        self._run = parallel.Spread(self._episodes, shared=1)

    def __call__(self, *, seed: int, part: int, episodes: int) -> Recording:
        """One batch of episodes."""
        devices = jax.device_count()
        local = -(-episodes // devices)
        key = jax.random.fold_in(jax.random.key(seed), part)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(local * devices)).reshape(devices, local)
        *steps, member = (np.asarray(leaf) for leaf in self._run(self.members, keys))
        steps = [np.moveaxis(leaf, 2, 1) for leaf in steps]  # [D, B, T, ...]
        obs, action, alive, success, apart = (leaf.reshape(-1, *leaf.shape[2:])[:episodes] for leaf in steps)
        numbers = np.broadcast_to(np.arange(episodes)[:, None], alive.shape).astype(np.int64)
        recorded = Episodes(obs[alive], action[alive], numbers[alive], success[alive])
        return Recording(recorded, member.reshape(-1)[:episodes], apart[alive])

    def _episodes(self, members: experts.Expert, keys: Array):
        env, batch = self.env, keys.shape[0]
        count = members.obs_mean.shape[0]
        member = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, env.max_steps), (), 0, count))(keys)
        obs, state = env.reset(keys[0], batch)
        sizes = {"history": self.config.history, "action_size": env.action_size}
        memory = jax.vmap(lambda expert: experts.first_memory(obs, expert, **sizes))(members)

        def step(carry, _):
            state, obs, memory, over = carry
            actions = jax.vmap(lambda e, m: experts.mean_action(self.network, e, m, self.motors))(members, memory)
            action = actions[member, jnp.arange(batch)]
            after, state, _, terminated, truncated, info = env.step(
                jax.vmap(jax.random.fold_in)(keys, state.time), state, action
            )
            memory = jax.vmap(lambda e, m: experts.remember(m, after, action, e))(members, memory)
            spread = jnp.abs(actions[:, None] - actions[None]).mean(-1).sum((0, 1)) / max(1, count * (count - 1))
            record = (obs, action, ~over, info["solved"] & ~over, spread)
            return (state, after, memory, over | terminated | truncated), record

        carry = (state, obs, memory, jnp.zeros(batch, bool))
        _, record = jax.lax.scan(step, carry, length=env.max_steps)
        return (*record, member)


def _last(episode: np.ndarray) -> np.ndarray:
    """Whether each step [N] is its episode's last."""
    return np.append(episode[1:] != episode[:-1], True)


def _table(data: Episodes, *, first_episode: int, first_index: int, task: int, dt: float) -> pa.Table:
    """LeRobot's columns. ``next.done`` is true on an episode's last step."""
    count = len(data.episode)
    last = _last(data.episode)
    starts = np.flatnonzero(np.append(True, last[:-1]))
    frame = np.arange(count) - np.repeat(starts, np.diff(np.append(starts, count)))

    def vectors(values: np.ndarray) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), values.shape[1])

    return pa.table(
        {
            "observation.state": vectors(data.obs),
            "action": vectors(data.action),
            "episode_index": data.episode + first_episode,
            "frame_index": frame,
            "timestamp": (frame * dt).astype(np.float32),
            "index": np.arange(count) + first_index,
            "task_index": np.full(count, task),
            "next.done": last,
            "next.success": data.success,
        }
    )


def generate(config: configs.DataConfig) -> pathlib.Path:
    """Record at least ``config.steps`` control steps; what is there already is kept. Returns the manifest's path.

    Raises UnknownTask, and CheckpointError if no expert is good enough.
    """
    task = envs.tasks.check(config.task)
    parallel.setup()
    members, headers = experts.load(config.experts, task, min_solve_rate=config.min_solve_rate)
    folder = pathlib.Path(config.out) / task
    manifest = folder / "manifest.json"
    made_by = {
        "settings": {
            name: value for name, value in dataclasses.asdict(config).items() if name not in ("out", "experts")
        },
        "experts": [_digest(member) for member in members],
    }
    if manifest.exists() and manifests.read(manifest, "made_by")["made_by"] == made_by:
        return manifest
    env = envs.make(task, noise_std=config.noise_std)
    recorder = Recorder(env, members, configs.ExpertConfig.from_mapping(headers[0]["config"]))
    manifest.unlink(missing_ok=True)
    parts: list[dict[str, Any]] = []
    steps = episodes = solved = 0
    apart_sum = 0.0
    with progress.bar(f"{task}: data", config.steps) as advance:
        while steps < config.steps:
            data, played, apart = recorder(seed=config.seed, part=len(parts), episodes=config.batch)
            path = folder / f"part-{len(parts):04d}.parquet"
            table = _table(
                data, first_episode=episodes, first_index=steps, task=envs.TASKS.index(task), dt=env.control_dt
            )
            sink = pa.BufferOutputStream()
            parquet.write_table(table, sink, compression="zstd")
            checkpoint.write_whole(path, sink.getvalue().to_pybytes())
            parts.append({"file": path.name, "sha256": manifests.sha256(path), "steps": len(data.episode)})
            parts[-1]["episodes_per_expert"] = np.bincount(played, minlength=len(members)).tolist()
            steps, episodes = steps + len(data.episode), episodes + config.batch
            solved += int(data.success.sum())
            apart_sum += float(apart.sum())
            advance(min(steps, config.steps), config.steps)
    told = {
        "made_by": made_by,
        "task": task,
        "interface": "compact",
        "steps": steps,
        "episodes": episodes,
        "solve_rate": solved / episodes,
        "experts": [{name: head[name] for name in ("seed", "steps", "solve_rate")} for head in headers],
        "experts_apart": apart_sum / steps,
        "parts": parts,
        "versions": versions.collect(),
    }
    manifests.write(manifest, told)
    return manifest


def _digest(expert: experts.Expert) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(expert):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:12]


def load(folder: pathlib.Path | str, task: str) -> tuple[Episodes, dict[str, Any]]:
    """A task's data and manifest, checksums verified. Raises ConfigError if something is missing or changed."""
    folder = pathlib.Path(folder) / task
    manifest = folder / "manifest.json"
    if not manifest.exists():
        remedy = f"make it with `python scripts/generate_data.py task={task}`"
        raise configs.ConfigError(f"{folder}: no manifest.json, so no finished data set; {remedy}")
    told = manifests.read(manifest, "parts", "solve_rate", "steps", "episodes")
    tables = []
    for part in told["parts"]:
        path = folder / part["file"]
        if not path.is_file() or manifests.sha256(path) != part["sha256"]:
            raise configs.ConfigError(
                f"{path}: missing or changed since it was written; delete {folder} and make it again"
            )
        tables.append(parquet.read_table(path))
    table = pa.concat_tables(tables)

    def vectors(name: str) -> np.ndarray:
        column = table[name].combine_chunks()
        return column.flatten().to_numpy().reshape(len(column), -1)

    episodes = Episodes(
        vectors("observation.state"),
        vectors("action"),
        table["episode_index"].to_numpy(),
        table["next.success"].to_numpy(),
    )
    return episodes, told


def ends(episode: np.ndarray) -> np.ndarray:
    """For each step [N] the index just after its episode's last step."""
    after_last = np.flatnonzero(_last(episode)) + 1
    return after_last[np.searchsorted(after_last, np.arange(len(episode)), side="right")]


def chunks(action: Array, end: Array, index: Array, *, horizon: int) -> Array:
    """Action chunks [K, H, A] that begin at steps ``index`` [K]; what lies past an episode's end is 0, never its successor's."""
    steps = index[:, None] + jnp.arange(horizon)[None]
    inside = steps < end[index][:, None]
    return jnp.where(inside[:, :, None], action[jnp.minimum(steps, action.shape[0] - 1)], 0.0)
