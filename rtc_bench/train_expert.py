"""Train experts: search for successes, then RPO from states along the ways to them and from the real start."""

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
from rtc_bench import curriculum, experts, learning, parallel, ppo, progress, search, versions


class Worlds(NamedTuple):
    """The environments, which run on from iteration to iteration."""

    state: envs.env.State
    memory: experts.Memory
    origin: Array  # [B] int32, the start state that the episode began at; 0 is the real start


class Runner(NamedTuple):
    """Everything that PPO carries from one iteration to the next."""

    expert: experts.Expert
    optimiser: Any
    worlds: Worlds
    course: curriculum.Course
    key: Array


class Progress(NamedTuple):
    """Counts of one iteration, summed over its episodes' ends."""

    ended: Any
    solved: Any
    start_ended: Any  # those that began at the real start
    start_solved: Any


class Trainer:
    """RPO on one task: the environment, the network, and jitted iterations of several seeds at once, one on each device."""

    def __init__(self, config: configs.ExpertConfig):
        self.config = config
        self.env = envs.make(config.task, noise_std=config.noise_std)
        self.network = experts.network_of(config, self.env)
        self.motors = experts.motors_of(self.env)
        self.together = min(config.seeds, jax.device_count())
        self.samples = config.envs * config.rollout
        schedule = optax.linear_schedule(config.learning_rate, config.learning_rate * 0.1, self._updates(config.steps))
        adam = optax.adam(schedule, eps=1e-5)
        self.optimiser = optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)
        self._spread = parallel.Spread(self._iterate, devices=self.together)

    def _updates(self, steps: int) -> int:
        return max(1, steps // self.samples) * self.config.epochs * self.config.minibatches

    def start(self, seed: int, ways: search.Ways) -> Runner:
        """A fresh runner."""
        init_key, key = jax.random.split(jax.random.key(seed))
        width = self.config.history * self.env.obs_size + self.env.action_size
        params = self.network.init(init_key, jnp.zeros((1, width)))
        expert = experts.Expert(params, jnp.asarray(ways.obs_mean), jnp.asarray(ways.obs_std))
        obs, state = self.env.reset(init_key, self.config.envs)
        worlds = Worlds(state, self._first_memory(obs, expert), jnp.zeros(self.config.envs, jnp.int32))
        course = curriculum.first(ways.states, limit=self.config.patience * ways.slowest)
        return Runner(expert, self.optimiser.init(params), worlds, course, key)

    def _first_memory(self, obs: Array, expert: experts.Expert) -> experts.Memory:
        return experts.first_memory(obs, expert, history=self.config.history, action_size=self.env.action_size)

    def advance(self, runners: list[Runner], iterations: int) -> list[tuple[Runner, Progress]]:
        """Iterations of up to ``together`` seeds at once; each seed's numbers do not depend on its company."""
        company = (runners * self.together)[: self.together]  # an odd one runs beside a copy of itself
        stacked, counts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *company), []
        for _ in range(iterations):
            stacked, ends = self._spread(stacked)
            counts.append(np.array(ends))  # [4, S]
        total = np.sum(counts, axis=0)
        return [(runner, Progress(*total[:, i])) for i, runner in enumerate(parallel.apart(stacked)[: len(runners)])]

    def _iterate(self, runner: Runner) -> tuple[Runner, Progress]:
        """Roll out [T, B] control steps, then learn from them."""
        expert, optimiser, worlds, course, key = runner
        key, start_key, roll_key, update_key = jax.random.split(key, 4)
        shape = (self.config.rollout, self.config.envs)
        begins = curriculum.draw(course, shape, along_way=self.config.along_way, key=start_key)
        std = self.exploration(course)
        roll = functools.partial(self._control_step, course, expert, std)
        worlds, (steps, ends) = jax.lax.scan(roll, worlds, (begins, jax.random.split(roll_key, self.config.rollout)))
        last_value = self.network.apply(expert.params, experts.features(worlds.memory))[1]
        advantage = ppo.gae(
            steps.reward, steps.value, steps.done, last_value, gamma=self.config.gamma, decay=self.config.gae_decay
        )
        data = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (steps, advantage, advantage + steps.value))
        params, optimiser = self._update(expert.params, optimiser, data, std, update_key)
        origin, solved, ended = ends[0].ravel(), ends[1].ravel(), data[0].done
        course = curriculum.update(course, origin, ended, solved)
        counts = [(flag & mask).sum() for mask in (True, origin == 0) for flag in (ended, solved)]
        return Runner(expert._replace(params=params), optimiser, worlds, course, key), Progress(*counts)

    def exploration(self, course: curriculum.Course) -> Array:
        """Standard deviation of actions before squashing; it falls as more is solved, so that the mean learns to do alone."""
        config = self.config
        return config.explore * (config.explore_solved / config.explore) ** curriculum.start_rate(course)

    def _update(
        self, params: experts.Params, optimiser: Any, data, std: Array, key: Array
    ) -> tuple[experts.Params, Any]:
        """Several epochs of minibatches over the samples."""

        def epoch(carry, key):
            order_key, loss_key = jax.random.split(key)
            order = jax.random.permutation(order_key, self.samples).reshape(self.config.minibatches, -1)
            keys = jax.random.split(loss_key, self.config.minibatches)
            return jax.lax.scan(functools.partial(self._minibatch, data, std), carry, (order, keys))

        return jax.lax.scan(epoch, (params, optimiser), jax.random.split(key, self.config.epochs))[0]

    def _minibatch(self, data, std: Array, carry, batch):
        params, optimiser = carry
        order, key = batch
        steps, advantage, target = jax.tree.map(lambda leaf: leaf[order], data)
        options = {
            "clip": self.config.clip,
            "value_coefficient": self.config.value_coefficient,
            "std": std,
            "perturbation": self.config.perturbation,
        }

        def objective(params):
            return ppo.loss(self.network.apply(params, steps.features), steps, advantage, target, key=key, **options)

        gradient = jax.grad(objective)(params)
        change, optimiser = self.optimiser.update(gradient, optimiser, params)
        return (optax.apply_updates(params, change), optimiser), None

    def _control_step(self, course: curriculum.Course, expert: experts.Expert, std: Array, worlds: Worlds, given):
        begin, key = given  # [B] where an episode that ends now is followed from
        state, memory, origin = worlds
        sample_key, step_key = jax.random.split(key)
        seen = experts.features(memory)
        mean, value = self.network.apply(expert.params, seen)
        distribution = actor_critic.gaussian(mean, std)
        raw = distribution.sample(seed=sample_key)
        action = actor_critic.squash(raw, self.motors)
        before = self.env.distance(state)
        obs, after, reward, terminated, truncated, info = self.env.step(step_key, state, action)
        truncated = truncated | (after.time >= course.limit) & ~terminated
        nearer = ppo.shaping(before, info["distance"], info["solved"], gamma=self.config.gamma)
        reward = reward + self.config.shaping * nearer
        moved = experts.remember(memory, obs, action, expert)
        reward = reward + self.config.gamma * jax.lax.cond(
            truncated.any(),
            lambda: jnp.where(truncated, self.network.apply(expert.params, experts.features(moved))[1], 0.0),
            lambda: jnp.zeros_like(reward),
        )
        done = terminated | truncated
        fresh = self.env.take(course.states, begin)
        first = self._first_memory(self.env.observe(fresh), expert)
        memory = jax.tree.map(lambda a, b: jnp.where(done.reshape(-1, *[1] * (a.ndim - 1)), a, b), first, moved)
        step = ppo.Transition(seen, raw, distribution.log_prob(raw), value, reward, done)
        following = Worlds(self.env.where(done, fresh, after), memory, jnp.where(done, begin, origin))
        return following, (step, (origin, info["solved"]))


ENOUGH_SAVES = 4  # in a row
_FREE = ("seeds", "seed", "spare", "good", "out")  # settings that do not change an expert of a given seed


def find_ways(config: configs.ExpertConfig, seed: int) -> search.Ways:
    """A seed's ways to success: read from the run folder, or searched for and saved there."""
    path = _final(config, seed).with_suffix(".ways")
    told: dict[str, Any] = {"search": dataclasses.asdict(config.search)}
    env = envs.make(config.task, noise_std=0.0)
    _, like = env.reset(jax.random.key(0), 1)
    if path.exists():
        arrays, head = checkpoint.load(path, kind="ways")
        if head["search"] == told["search"]:
            states = checkpoint.unpacked(like, arrays["states"])
            return search.Ways(states, arrays["obs_mean"], arrays["obs_std"], head["slowest"], head["simulated"])
    with progress.bar(f"{config.task}: search, seed {seed}", config.search.successes) as advance:
        found = search.find(env, config.search, seed=seed, progress=advance)
    arrays = {"states": checkpoint.packed(found.states), "obs_mean": found.obs_mean, "obs_std": found.obs_std}
    told |= {"kind": "ways", "task": config.task, "slowest": found.slowest, "simulated": found.simulated}
    checkpoint.save(path, arrays, told)
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
        ways = find_ways(config, seed)
        self.final, self.seed, self.trainer, self.settings = _final(config, seed), seed, trainer, _settings(config)
        self.search_steps = ways.simulated
        self.resume, self.log = self.final.with_suffix(".resume"), self.final.with_suffix(".csv")
        self.runner, self.done, self.lines = trainer.start(seed, ways), 0, ["steps,start_solve_rate,solve_rate"]
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

    def over(self, total: int) -> bool:
        """Whether all ``total`` iterations are done, or the expert solves enough."""
        rates = [float(line.split(",")[1]) for line in self.lines[1:][-ENOUGH_SAVES:]]
        return self.done >= total or (len(rates) == ENOUGH_SAVES and min(rates) >= self.settings["enough"])

    def finish(self, evaluation: experts.Evaluation, episodes: int) -> None:
        """Evaluate and write the expert."""
        solved = evaluation(self.runner.expert, seed=10_000 + self.seed, episodes=episodes)
        head = {
            "kind": "expert",
            "task": self.settings["task"],
            "interface": "compact",
            "solve_rate": float(solved.mean()),
            "episodes": len(solved),
            "steps": self.done * self.trainer.samples,
            "search_steps": self.search_steps,
            "seed": self.seed,
            "config": self.settings,
            "versions": versions.collect(),
        }
        checkpoint.save(self.final, self.runner.expert._asdict(), head)
        self.resume.unlink(missing_ok=True)


def train(config: configs.ExpertConfig) -> list[pathlib.Path]:
    """Train ``config.seeds`` experts of one task, as many at once as there are devices; finished ones are kept.

    While fewer of them are good, up to ``config.spare`` further seeds are trained: some searches lead into a dead end.
    Returns their files.
    """
    parallel.setup()
    envs.tasks.check(config.task)
    seeds, trainer = list(range(config.seed, config.seed + config.seeds)), None
    while True:
        todo = [seed for seed in seeds if not _finished(config, _final(config, seed))]
        if todo:
            trainer = trainer or Trainer(config)
            _train(config, trainer, todo)
        files = [_final(config, seed) for seed in seeds]
        good = sum(checkpoint.header(file)["solve_rate"] >= config.good for file in files)
        more = min(config.seeds - good, config.seeds + config.spare - len(seeds))
        if more <= 0:
            return files
        seeds += range(seeds[-1] + 1, seeds[-1] + 1 + more)


def _train(config: configs.ExpertConfig, trainer: Trainer, seeds: list[int]) -> None:
    pending = [_Training(config, trainer, seed) for seed in seeds]
    total = -(-config.steps // trainer.samples)
    with progress.bar(f"{config.task}: experts", total * len(pending)) as advance:
        while behind := [training for training in pending if not training.over(total)]:
            least = min(training.done for training in behind)
            group = [training for training in behind if training.done == least][: trainer.together]
            iterations = min(config.save_every, total - least)
            advanced = trainer.advance([training.runner for training in group], iterations)
            rates = [training.record(*new, iterations) for training, new in zip(group, advanced, strict=True)]
            note = ", ".join(f"seed {training.seed}: {rate:.2f}" for training, rate in zip(group, rates, strict=True))
            advance(sum(training.done for training in pending), total * len(pending), f"solved from start, {note}")
        advance(total * len(pending), total * len(pending))
    evaluation = experts.Evaluation(trainer.env, trainer.network, history=config.history)
    for training in pending:
        training.finish(evaluation, config.eval_episodes)
    points, ends = learning.read(config.out, config.task), learning.finals(config.out, config.task)
    learning.picture(points, ends, pathlib.Path(config.out) / config.task / "curves.png")
