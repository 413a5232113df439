"""Expert data: recorded as a LeRobot data set, and the action chunks cut from it."""

import dataclasses
import pathlib
import shutil
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jax import Array
from pyarrow import parquet

from rtc_bench import envs
from rtc_bench.common import devices, errors, files, lerobot, progress, versions
from rtc_bench.common.lerobot import columns, metadata
from rtc_bench.envs import task_env
from rtc_bench.policies import actor_critic
from rtc_bench.training import experts, settings

# Part of a data set's identity: whoever changes what is drawn changes this, and older data are made again.
DRAWN_FOR_EACH_EPISODE = "training seed, then one of its checkpoints"


class ExpertSteps(NamedTuple):
    """Control steps of whole episodes, one after another: N steps."""

    obs: np.ndarray  # [N, O] float32, what the action was chosen from
    action: np.ndarray  # [N, A] float32, as commanded, within bounds, before actuation noise
    episode: np.ndarray  # [N] int64, ascending
    success: np.ndarray  # [N] bool, the step solved the task


class Recording(NamedTuple):
    """What ``Recorder`` returns."""

    steps: ExpertSteps  # episodes are numbered from 0
    expert_index: np.ndarray  # [E], of the expert that played the episode
    disagreement: np.ndarray  # [N], mean |difference| of any two experts' actions in the step's situation


class Recorder:
    """Jitted rollouts of a mixture of M experts, one drawn for each episode; they act as their ``action_std`` says."""

    def __init__(self, env: task_env.TaskEnv, config: settings.TrainExpertConfig):
        self.env, self.config = env, config
        self.network = experts.build_network(config, env)
        self.motor_count = experts.motor_count(env)
        self._run = devices.ShardedFunction(self._episodes, shared=2)

    def __call__(
        self, members: list[experts.Expert], shares: np.ndarray, *, seed: int, part: int, episodes: int
    ) -> Recording:
        """One batch of episodes, each played by a member drawn with probability ``shares`` [M]."""
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        key = jax.random.fold_in(jax.random.key(seed), part)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(devices.rounded_up(episodes)))
        played = self._run(stacked, jnp.asarray(shares), keys.reshape(jax.device_count(), -1))
        *records, expert_index = (np.asarray(leaf) for leaf in played)
        records = [devices.episodes_of(np.moveaxis(leaf, 2, 1), episodes) for leaf in records]  # [E, T, ...]
        obs, action, alive, success, disagreement = records
        numbers = np.broadcast_to(np.arange(episodes)[:, None], alive.shape).astype(np.int64)
        steps = ExpertSteps(obs[alive], action[alive], numbers[alive], success[alive])
        return Recording(steps, devices.episodes_of(expert_index, episodes), disagreement[alive])

    def _episodes(self, members: experts.Expert, shares: Array, keys: Array):
        env, batch = self.env, keys.shape[0]
        count = members.obs_mean.shape[0]
        draw = jax.vmap(lambda key: jax.random.choice(jax.random.fold_in(key, env.max_steps), count, p=shares))
        expert_index = draw(keys)
        obs, state = env.reset(keys, batch)
        sizes = {"history_length": self.config.history, "action_size": env.action_size}
        histories = jax.vmap(lambda expert: experts.initial_history(obs, expert, **sizes))(members)

        def step(carry, _):
            state, obs, histories, over = carry
            step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
            noise = experts.action_noise(step_keys, env.action_size)
            raw = jax.vmap(lambda e, h: self.network.apply(e.params, experts.features(h))[0])(members, histories)
            own = raw[expert_index, jnp.arange(batch)] + members.action_std[expert_index] * noise
            action = actor_critic.squash(own, self.motor_count)
            next_obs, state, _, terminated, truncated, info = env.step(step_keys, state, action)
            histories = jax.vmap(lambda e, h: experts.append_frame(h, next_obs, action, e))(members, histories)
            actions = jax.vmap(lambda raw: actor_critic.squash(raw, self.motor_count))(raw)
            disagreement = jnp.abs(actions[:, None] - actions[None]).mean(-1).sum((0, 1)) / max(1, count * (count - 1))
            record = (obs, action, ~over, info["solved"] & ~over, disagreement)
            return (state, next_obs, histories, over | terminated | truncated), record

        carry = (state, obs, histories, jnp.zeros(batch, bool))
        _, records = jax.lax.scan(step, carry, length=env.max_steps)
        return (*records, expert_index)


def _last(episode: np.ndarray) -> np.ndarray:
    """Whether each step [N] is its episode's last."""
    return np.append(episode[1:] != episode[:-1], True)


def _table(data: ExpertSteps, *, first_episode: int, first_index: int, task: int, dt: float) -> pa.Table:
    """LeRobot's columns. ``next.done`` is true on an episode's last step; ``task_index`` is the place in ``envs.TASKS``."""
    count = len(data.episode)
    last = _last(data.episode)
    starts = np.flatnonzero(np.append(True, last[:-1]))
    frame = np.arange(count) - np.repeat(starts, np.diff(np.append(starts, count)))

    return pa.table(
        {
            "observation.state": columns.column(data.obs),
            "action": columns.column(data.action),
            "episode_index": data.episode + first_episode,
            "frame_index": frame,
            "timestamp": (frame * dt).astype(np.float32),
            "index": np.arange(count) + first_index,
            "task_index": np.full(count, task),
            "next.done": last,
            "next.success": data.success,
        }
    )


class Recipe(NamedTuple):
    """What a data set is recorded by."""

    members: list[experts.Expert]
    records: list[dict[str, Any]]  # seed, steps and solve rate of each
    expert_config: settings.TrainExpertConfig
    made_by: dict[str, Any]
    manifest_file: pathlib.Path

    @property
    def is_recorded(self) -> bool:
        """Whether the data set is there."""
        if not self.manifest_file.exists():
            return False
        return files.read_manifest(self.manifest_file, "made_by")["made_by"] == self.made_by


def recipe(config: settings.GenerateDataConfig) -> Recipe:
    """Raises UnknownTask, and CheckpointError if no expert is good enough."""
    task = envs.tasks.check_name(config.task)
    devices.setup()
    if config.min_solve_rate is None:
        good = settings.GOOD_SOLVE_RATES.get(task, settings.GOOD_SOLVE_RATE)
        config = dataclasses.replace(config, min_solve_rate=good)
    members, records, expert_config = _load_experts(config, task)
    manifest_file = pathlib.Path(config.out) / task / "manifest.json"
    return Recipe(members, records, expert_config, _identity(config, members), manifest_file)


def generate(config: settings.GenerateDataConfig) -> pathlib.Path:
    """Record at least ``config.steps`` control steps; what is there already is kept. Returns the manifest's path.

    Raises as ``recipe`` does.
    """
    own, task = recipe(config), config.task
    members, records, expert_config, made_by, manifest_file = own
    shares, folder = _shares([record["seed"] for record in records]), manifest_file.parent
    if own.is_recorded:
        _complete(folder)
        return manifest_file
    began = time.monotonic()
    env = envs.make(task, noise_std=config.noise_std)
    recorder = Recorder(env, expert_config)
    clear(folder)
    parts: list[dict[str, Any]] = []
    step_count = episode_count = solved = 0
    total_disagreement = 0.0
    with progress.bar(f"{task}: data", config.steps, "control steps") as advance:
        advance.wait(f"compiling {task}")
        while step_count < config.steps:
            expert_steps, expert_index, disagreement = recorder(
                members, shares, seed=config.seed, part=len(parts), episodes=config.batch
            )
            name = lerobot.data_file(len(parts))
            table = _table(
                expert_steps,
                first_episode=episode_count,
                first_index=step_count,
                task=envs.TASKS.index(task),
                dt=env.control_dt,
            )
            files.write_parquet(folder / name, table)
            parts.append({"file": name, "sha256": files.sha256(folder / name), "steps": len(expert_steps.episode)})
            parts[-1]["episodes_per_expert"] = np.bincount(expert_index, minlength=len(members)).tolist()
            step_count, episode_count = step_count + len(expert_steps.episode), episode_count + config.batch
            solved += int(expert_steps.success.sum())
            total_disagreement += float(disagreement.sum())
            advance(min(step_count, config.steps))
    manifest = {
        "made_by": made_by,
        "task": task,
        "interface": "compact",
        "steps": step_count,
        "episodes": episode_count,
        "solve_rate": solved / episode_count,
        "experts": records,
        "experts_apart": total_disagreement / step_count,
        "seconds": round(time.monotonic() - began, 1),
        "parts": parts,
        "versions": versions.collect(),
    }
    files.write_manifest(manifest_file, manifest)
    _complete(folder)
    return manifest_file


def clear(folder: pathlib.Path) -> None:
    """Take away what an earlier recording left, the manifest first: without it nothing here counts as data."""
    (folder / "manifest.json").unlink(missing_ok=True)
    for path in folder.glob("part-*.parquet"):
        path.unlink()
    for name in ("meta", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _complete(folder: pathlib.Path) -> None:
    """Make a LeRobot data set of recorded parts, also of those that an earlier version left beside the manifest.

    Nothing is played, and no digest that a policy's recipe holds changes. Killed at any point, it goes on from there.
    """
    manifest = files.read_manifest(folder / "manifest.json", "parts")
    names = [lerobot.data_file(number) for number in range(len(manifest["parts"]))]
    if [part["file"] for part in manifest["parts"]] != names:
        moved = [_moved(folder, part, name) for part, name in zip(manifest["parts"], names, strict=True)]
        files.write_manifest(folder / "manifest.json", {**manifest, "parts": moved})
    for path in folder.glob("part-*.parquet"):
        path.unlink()
    if not (folder / lerobot.INFO_FILE).exists():
        metadata.write(folder, names, tasks=envs.TASKS, fps=round(1 / task_env.CONTROL_DT))


def _moved(folder: pathlib.Path, part: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy of a part where LeRobot looks for it. Lists of one action become plain numbers, as LeRobot has them.

    The part's ``sha256`` stays that of what was recorded; ``file_sha256`` is that of such a copy.
    """
    table = _read_part(folder, part)
    action = columns.matrix(table["action"])
    if action.shape[1] > 1 or not columns.is_vector(table["action"].type):
        files.write_whole(folder / name, (folder / part["file"]).read_bytes())
        return {**part, "file": name}
    table = table.set_column(table.column_names.index("action"), "action", columns.column(action))
    files.write_parquet(folder / name, table)
    return {**part, "file": name, "file_sha256": files.sha256(folder / name)}


_FOLDERS = ("out", "experts", "launcher")  # settings that do not decide it


def _identity(config: settings.GenerateDataConfig, members: list[experts.Expert]) -> dict[str, Any]:
    """What decides a data set's content."""
    chosen = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FOLDERS}
    digests = [experts.digest(member) for member in members]
    return {"drawn_for_each_episode": DRAWN_FOR_EACH_EPISODE, "settings": chosen, "experts": digests}


def _load_experts(
    config: settings.GenerateDataConfig, task: str
) -> tuple[list[experts.Expert], list[dict[str, Any]], settings.TrainExpertConfig]:
    """The good ones, exploring as they shall here; of each its seed, steps and solve rate; how they were trained.

    That rate is by mean actions where these are recorded, else as the expert explored.
    """
    rate = "solve_rate" if config.sample in ("mean", 0) else "sampled_solve_rate"
    selection = {"min_solve_rate": config.min_solve_rate, "rate": rate, "checkpoints": config.checkpoints}
    members, headers = experts.load(config.experts, task, **selection)
    members = [member._replace(action_std=_action_std(config, member)) for member in members]
    records = [{"seed": header["seed"], "steps": header["steps"], "solve_rate": header[rate]} for header in headers]
    return members, records, settings.TrainExpertConfig.from_mapping(headers[0]["config"])


def _action_std(config: settings.GenerateDataConfig, expert: experts.Expert) -> np.ndarray:
    """[A], by which its actions are sampled before squashing; 0 records means."""
    if config.sample == "policy":
        return np.asarray(expert.action_std)
    return np.full_like(expert.action_std, 0.0 if config.sample == "mean" else config.sample)


def _shares(seeds: list[int]) -> np.ndarray:
    """How often each expert [M] plays, as a probability: every training seed equally, and equally its checkpoints."""
    counts = np.array([seeds.count(seed) for seed in seeds])
    return 1 / (counts * len(set(seeds)))


def load(folder: pathlib.Path | str, task: str) -> tuple[ExpertSteps, dict[str, Any]]:
    """A task's data and manifest, checksums verified. Raises ConfigError if something is missing or changed."""
    manifest, folder = read_manifest(folder, task), pathlib.Path(folder) / task
    table = pa.concat_tables([_read_part(folder, part) for part in manifest["parts"]])
    steps = ExpertSteps(
        columns.matrix(table["observation.state"]),
        columns.matrix(table["action"]),
        table["episode_index"].to_numpy(),
        table["next.success"].to_numpy(),
    )
    return steps, manifest


def read_manifest(folder: pathlib.Path | str, task: str) -> dict[str, Any]:
    """Of a task's data. Raises ConfigError where there are none."""
    folder = pathlib.Path(folder) / task
    if not (folder / "manifest.json").exists():
        remedy = f"make it with `{errors.command('generate-data')} task={task}`"
        raise errors.ConfigError(f"{folder.absolute()}: no manifest.json, so no finished data set; {remedy}")
    return files.read_manifest(folder / "manifest.json", "parts", "solve_rate", "steps", "episodes")


def _read_part(folder: pathlib.Path, part: dict[str, Any]) -> pa.Table:
    """A part whose checksum is verified. Raises ConfigError."""
    path = folder / part["file"]
    if not path.is_file() or files.sha256(path) != part.get("file_sha256", part["sha256"]):
        raise errors.ConfigError(f"{path}: missing or changed since it was written; delete {folder} and make it again")
    return parquet.read_table(path)


def episode_ends(episode: np.ndarray) -> np.ndarray:
    """For each step [N] the index just after its episode's last step."""
    after_last = np.flatnonzero(_last(episode)) + 1
    return after_last[np.searchsorted(after_last, np.arange(len(episode)), side="right")]


def action_chunks(action: Array, end: Array, index: Array, *, horizon: int, holds_last: bool = False) -> Array:
    """Action chunks [K, H, A] that begin at steps ``index`` [K].

    What lies past an episode's end is 0, or the last action if that is held; never its successor's.
    """
    steps = index[:, None] + jnp.arange(horizon)[None]
    last = end[index][:, None] - 1
    chunks = action[jnp.minimum(steps, last)]
    return chunks if holds_last else jnp.where((steps <= last)[:, :, None], chunks, 0.0)
