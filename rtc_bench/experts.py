"""Train experts: search for a success, then RPO from states along it and from the real start; keep what solves."""

import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import envs
import envs.env
from policies import actor_critic, checkpoint
from rtc_bench import config as configs
from rtc_bench import parallel, ppo, progress, search, versions

Params = dict[str, Any]


class Memory(NamedTuple):
    """What an expert sees besides now."""

    frames: Array  # [B, history, O], oldest first, scaled
    last_action: Array  # [B, A]


class Expert(NamedTuple):
    """A trained expert: network parameters and the fixed observation scaling."""

    params: Params
    obs_mean: Array  # [O]
    obs_std: Array


class Worlds(NamedTuple):
    """The environments, which run on from iteration to iteration."""

    state: envs.env.State
    memory: Memory
    from_start: Array  # [B] bool, the episode began at the real start


class Runner(NamedTuple):
    """Everything that PPO carries from one iteration to the next."""

    params: Params
    optimiser: Any
    worlds: Worlds
    key: Array


class Progress(NamedTuple):
    """Counts of one iteration, summed over its episodes' ends."""

    ended: Any
    solved: Any
    start_ended: Any  # those that began at the real start
    start_solved: Any


def first_memory(obs: Array, expert: Expert, *, history: int, action_size: int) -> Memory:
    """The memory at an episode's start: the first frame, repeated; no action yet."""
    frame = _scaled(obs, expert)[:, None]
    return Memory(jnp.repeat(frame, history, 1), jnp.zeros((obs.shape[0], action_size)))


def remember(memory: Memory, obs: Array, action: Array, expert: Expert) -> Memory:
    """Shift a new observation [B, O], and the action [B, A] that led to it, in."""
    return Memory(jnp.concatenate([memory.frames[:, 1:], _scaled(obs, expert)[:, None]], 1), action)


def features(memory: Memory) -> Array:
    """Network input [B, history * O + A]."""
    return jnp.concatenate([memory.frames.reshape(memory.frames.shape[0], -1), memory.last_action], -1)


def _scaled(obs: Array, expert: Expert) -> Array:
    return jnp.clip((obs - expert.obs_mean[None]) / expert.obs_std[None], -5.0, 5.0)


def motors_of(env: envs.env.TaskEnv) -> int:
    """How many leading action dimensions are motors (bounded below by -1, not 0)."""
    return int((env.action_low < 0).sum())


def network_of(config: configs.ExpertConfig, env: envs.env.TaskEnv) -> actor_critic.ActorCritic:
    """The network of this size for this task."""
    return actor_critic.ActorCritic(env.action_size, config.width)


def mean_action(network: actor_critic.ActorCritic, expert: Expert, memory: Memory, motors: int) -> Array:
    """The expert's action [B, A] without exploration, within bounds."""
    return actor_critic.squash(network.apply(expert.params, features(memory))[0], motors)


class Trainer:
    """RPO on one task: the environment, the network, and jitted iterations of several seeds at once, one on each device."""

    def __init__(self, config: configs.ExpertConfig, demonstrations: search.Demonstrations):
        self.config, self.demonstrations = config, demonstrations
        self.env = envs.make(config.task, noise_std=config.noise_std)
        self.network = network_of(config, self.env)
        self.motors = motors_of(self.env)
        self.together = min(config.seeds, jax.device_count())
        self.samples = config.envs * config.rollout
        schedule = optax.linear_schedule(config.learning_rate, config.learning_rate * 0.1, self._updates(config.steps))
        adam = optax.adam(schedule, eps=1e-5)
        self.optimiser = optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)
        self.scaling = Expert({}, jnp.asarray(demonstrations.obs_mean), jnp.asarray(demonstrations.obs_std))
        self._spread = parallel.spread(self._iterate, shared=1, devices=self.together)

    def _updates(self, steps: int) -> int:
        return max(1, steps // self.samples) * self.config.epochs * self.config.minibatches

    def start(self, seed: int) -> Runner:
        """A fresh runner."""
        init_key, key = jax.random.split(jax.random.key(seed))
        width = self.config.history * self.env.obs_size + self.env.action_size
        params = self.network.init(init_key, jnp.zeros((1, width)))
        obs, state = self.env.reset(init_key, self.config.envs)
        sizes = {"history": self.config.history, "action_size": self.env.action_size}
        worlds = Worlds(state, first_memory(obs, self.scaling, **sizes), jnp.ones(self.config.envs, bool))
        return Runner(params, self.optimiser.init(params), worlds, key)

    def advance(self, runners: list[Runner], iterations: int) -> list[tuple[Runner, Progress]]:
        """Iterations of up to ``together`` seeds at once; each seed's numbers do not depend on its company."""
        company = (runners * self.together)[: self.together]  # an odd one runs beside a copy of itself
        stacked, counts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *company), []
        for _ in range(iterations):
            stacked, ends = self._spread(self.demonstrations.states, stacked)
            counts.append(np.array(ends))  # [4, S]
        total = np.sum(counts, axis=0)
        return [(runner, Progress(*total[:, i])) for i, runner in enumerate(parallel.apart(stacked)[: len(runners)])]

    def _iterate(self, starts: envs.env.State, runner: Runner) -> tuple[Runner, Progress]:
        """Roll out [T, B] control steps, then learn from them."""
        key, roll_key, update_key = jax.random.split(runner.key, 3)
        roll = functools.partial(self._control_step, starts, runner.params)
        worlds, (steps, ends) = jax.lax.scan(roll, runner.worlds, jax.random.split(roll_key, self.config.rollout))
        last_value = self.network.apply(runner.params, features(worlds.memory))[2]
        advantage = ppo.gae(
            steps.reward, steps.value, steps.done, last_value, gamma=self.config.gamma, decay=self.config.gae_decay
        )
        data = (steps, advantage, advantage + steps.value)
        data = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), data)
        params, optimiser = self._update(runner.params, runner.optimiser, data, update_key)
        return Runner(params, optimiser, worlds, key), Progress(*(flag.sum() for flag in ends))

    def _update(self, params: Params, optimiser: Any, data, key: Array) -> tuple[Params, Any]:
        """Several epochs of minibatches over the samples."""

        def epoch(carry, key):
            order_key, loss_key = jax.random.split(key)
            order = jax.random.permutation(order_key, self.samples).reshape(self.config.minibatches, -1)
            keys = jax.random.split(loss_key, self.config.minibatches)
            return jax.lax.scan(functools.partial(self._minibatch, data), carry, (order, keys))

        return jax.lax.scan(epoch, (params, optimiser), jax.random.split(key, self.config.epochs))[0]

    def _minibatch(self, data, carry, batch):
        params, optimiser = carry
        order, key = batch
        steps, advantage, target = jax.tree.map(lambda leaf: leaf[order], data)
        options = {
            "clip": self.config.clip,
            "value_coefficient": self.config.value_coefficient,
            "entropy_coefficient": self.config.entropy_coefficient,
            "perturbation": self.config.perturbation,
        }

        def objective(params):
            return ppo.loss(self.network.apply(params, steps.features), steps, advantage, target, key=key, **options)

        gradient = jax.grad(objective)(params)
        change, optimiser = self.optimiser.update(gradient, optimiser, params)
        return (optax.apply_updates(params, change), optimiser), None

    def _control_step(self, starts: envs.env.State, params: Params, worlds: Worlds, key: Array):
        state, memory, from_start = worlds
        sample_key, step_key, pick_key, where_key = jax.random.split(key, 4)
        seen = features(memory)
        mean, log_std, value = self.network.apply(params, seen)
        distribution = actor_critic.gaussian(mean, log_std)
        raw = distribution.sample(seed=sample_key)
        action = actor_critic.squash(raw, self.motors)
        before = self.env.distance(state)
        obs, after, reward, terminated, truncated, info = self.env.step(step_key, state, action)
        # Potential-based shaping: getting nearer pays, and the sum over an episode does not depend on the way taken.
        reward = reward + self.config.shaping * (before - self.config.gamma * info["distance"])
        moved = remember(memory, obs, action, self.scaling)
        reward = reward + self.config.gamma * jax.lax.cond(
            truncated.any(),
            lambda: jnp.where(truncated, self.network.apply(params, features(moved))[2], 0.0),
            lambda: jnp.zeros_like(reward),
        )
        done = terminated | truncated
        # Where the next episode begins: at the real start, or at some state on the way to a success.
        count = starts.time.shape[-1]
        along = jax.random.bernoulli(pick_key, self.config.along_way, done.shape) & (count > 1)
        pick = jnp.where(along, jax.random.randint(where_key, done.shape, min(1, count - 1), count), 0)
        fresh = self.env.take(starts, pick)
        first = first_memory(
            self.env.observe(fresh), self.scaling, history=self.config.history, action_size=self.env.action_size
        )
        memory = jax.tree.map(lambda a, b: jnp.where(done.reshape(-1, *[1] * (a.ndim - 1)), a, b), first, moved)
        step = ppo.Transition(seen, raw, distribution.log_prob(raw), value, reward, done)
        ends = (done, info["solved"], done & from_start, info["solved"] & from_start)
        state = self.env.where(done, fresh, after)
        return Worlds(state, memory, jnp.where(done, pick == 0, from_start)), (step, ends)

    def expert(self, runner: Runner) -> Expert:
        """The runner's expert."""
        return self.scaling._replace(params=runner.params)


class Evaluation:
    """Jitted solve rate of experts from the real start, by their mean actions, under actuation noise."""

    def __init__(self, env: envs.env.TaskEnv, network: actor_critic.ActorCritic, *, history: int):
        self.env, self.network, self.history = env, network, history
        self._run = parallel.spread(self._episodes, shared=1)

    def __call__(self, expert: Expert, *, seed: int, episodes: int) -> np.ndarray:
        """Whether each episode was solved, [episodes] bool."""
        devices = jax.device_count()
        local = -(-episodes // devices)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(local * devices))
        return np.asarray(self._run(expert, keys.reshape(devices, local))).reshape(-1)[:episodes]

    def _episodes(self, expert: Expert, keys: Array) -> Array:
        env, motors = self.env, motors_of(self.env)
        obs, state = env.reset(keys[0], keys.shape[0])
        memory = first_memory(obs, expert, history=self.history, action_size=env.action_size)

        def step(carry):
            state, memory, solved, over = carry
            action = mean_action(self.network, expert, memory, motors)
            step_keys = jax.vmap(jax.random.fold_in)(keys, state.time)
            obs, state, _, terminated, truncated, info = env.step(step_keys, state, action)
            solved = solved | (info["solved"] & ~over)
            return state, remember(memory, obs, action, expert), solved, over | terminated | truncated

        undecided = jnp.zeros(keys.shape[0], bool)
        return jax.lax.while_loop(lambda c: ~c[3].all(), step, (state, memory, undecided, undecided))[2]


_FREE = ("seeds", "seed", "out", "save_every")  # settings that do not change an expert of a given seed


def demonstrate(config: configs.ExpertConfig) -> search.Demonstrations:
    """The task's ways to success: read from the run folder, or searched for and saved there."""
    path = pathlib.Path(config.out) / config.task / "search.safetensors"
    env = envs.make(config.task, noise_std=0.0)
    _, like = env.reset(jax.random.key(0), 1)
    if path.exists():
        arrays, head = checkpoint.load(path, kind="search")
        states = checkpoint.unpacked(like, arrays["states"])
        return search.Demonstrations(states, arrays["obs_mean"], arrays["obs_std"], head["simulated"])
    with progress.bar(f"{config.task}: search", config.search.successes) as advance:
        found = search.find(env, config.search, seed=config.seed, progress=advance)
    arrays = {"states": checkpoint.packed(found.states), "obs_mean": found.obs_mean, "obs_std": found.obs_std}
    checkpoint.save(path, arrays, {"kind": "search", "task": config.task, "simulated": found.simulated})
    return found


def _settings(config: configs.ExpertConfig) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}


def _final(config: configs.ExpertConfig, seed: int) -> pathlib.Path:
    return pathlib.Path(config.out) / config.task / f"seed{seed}.safetensors"


def _finished(config: configs.ExpertConfig, file: pathlib.Path) -> bool:
    return file.exists() and checkpoint.header(file)["config"] == _settings(config)


class _Training:
    """One seed's training: how far it is, and its files."""

    def __init__(self, config: configs.ExpertConfig, trainer: Trainer, seed: int):
        self.final, self.seed, self.trainer, self.settings = _final(config, seed), seed, trainer, _settings(config)
        self.resume, self.log = self.final.with_suffix(".resume"), self.final.with_suffix(".csv")
        self.runner, self.done, self.lines = trainer.start(seed), 0, ["steps,start_solve_rate,solve_rate"]
        if self.resume.exists():
            arrays, head = checkpoint.load(self.resume, kind="expert-resume")
            if head["config"] == self.settings:
                self.runner = checkpoint.unpacked(self.runner, arrays["runner"])
                self.done, self.lines = head["iterations"], head["log"]

    def record(self, runner: Runner, counts: Progress, iterations: int) -> float:
        """Save after some more iterations; the share of episodes from the start that were solved in them."""
        self.runner, self.done = runner, self.done + iterations
        rates = [
            counts.start_solved / max(1, counts.start_ended),
            counts.solved / max(1, counts.ended),
        ]
        self.lines.append(f"{self.done * self.trainer.samples},{rates[0]:.4f},{rates[1]:.4f}")
        checkpoint.write_whole(self.log, ("\n".join(self.lines) + "\n").encode())
        head = {"kind": "expert-resume", "config": self.settings, "iterations": self.done, "log": self.lines}
        checkpoint.save(self.resume, {"runner": checkpoint.packed(self.runner)}, head)
        return rates[0]

    def finish(self, evaluation: Evaluation, episodes: int) -> None:
        """Evaluate and write the expert."""
        expert = self.trainer.expert(self.runner)
        solved = evaluation(expert, seed=10_000 + self.seed, episodes=episodes)
        head = {
            "kind": "expert",
            "task": self.settings["task"],
            "interface": "compact",
            "solve_rate": float(solved.mean()),
            "episodes": len(solved),
            "steps": self.done * self.trainer.samples,
            "search_steps": self.trainer.demonstrations.simulated,
            "seed": self.seed,
            "config": self.settings,
            "versions": versions.collect(),
        }
        checkpoint.save(self.final, expert._asdict(), head)
        self.resume.unlink(missing_ok=True)


def train(config: configs.ExpertConfig) -> list[pathlib.Path]:
    """Train ``config.seeds`` experts of one task, as many at once as there are devices; finished ones are kept.

    Returns their files.
    """
    parallel.setup()
    envs.tasks.check(config.task)
    files = {seed: _final(config, seed) for seed in range(config.seed, config.seed + config.seeds)}
    todo = [seed for seed, file in files.items() if not _finished(config, file)]
    if not todo:
        return list(files.values())
    trainer = Trainer(config, demonstrate(config))
    pending = [_Training(config, trainer, seed) for seed in todo]
    total = -(-config.steps // trainer.samples)
    with progress.bar(f"{config.task}: experts", total * len(pending)) as advance:
        while behind := [training for training in pending if training.done < total]:
            least = min(training.done for training in behind)
            group = [training for training in behind if training.done == least][: trainer.together]
            iterations = min(config.save_every, total - least)
            advanced = trainer.advance([training.runner for training in group], iterations)
            rates = [training.record(*new, iterations) for training, new in zip(group, advanced, strict=True)]
            note = ", ".join(f"seed {training.seed}: {rate:.2f}" for training, rate in zip(group, rates, strict=True))
            advance(sum(training.done for training in pending), total * len(pending), f"solved from start, {note}")
    evaluation = Evaluation(trainer.env, trainer.network, history=config.history)
    for training in pending:
        training.finish(evaluation, config.eval_episodes)
    return list(files.values())


def load(folder: pathlib.Path | str, task: str, *, min_solve_rate: float) -> tuple[list[Expert], list[dict[str, Any]]]:
    """All experts of a task whose solve rate suffices, and their headers. Raises CheckpointError if there is none."""
    files = sorted((pathlib.Path(folder) / task).glob("seed*.safetensors"))
    loaded = [checkpoint.load(file, kind="expert") for file in files]
    good = [(Expert(**arrays), head) for arrays, head in loaded if head["solve_rate"] >= min_solve_rate]
    if not good:
        rates = ", ".join(f"{head['solve_rate']:.2f}" for _, head in loaded) or "none"
        raise checkpoint.CheckpointError(
            f"no expert of {task} in {folder} solves {min_solve_rate:.2f} or more (found: {rates}); "
            f"train one with `python scripts/train_expert.py task={task}`"
        )
    return [expert for expert, _ in good], [head for _, head in good]
