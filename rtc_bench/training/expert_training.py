"""Train experts: search for successes, then RPO from states along the paths to them and from the real start."""

import dataclasses
import functools
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rtc_bench import envs
from rtc_bench.common import devices, errors, files, progress, versions
from rtc_bench.envs import task_env
from rtc_bench.policies import actor_critic, checkpoint
from rtc_bench.training import curriculum, experts, learning_curves, ppo, search, settings


class RolloutState(NamedTuple):
    """The environments, which run on from iteration to iteration."""

    state: task_env.State
    history: experts.History
    start_index: Array  # [B] int32, the start state that the episode began at; 0 is the real start


class ExpertTrainingState(NamedTuple):
    """Everything that PPO carries from one iteration to the next."""

    expert: experts.Expert
    optimiser: Any
    rollout: RolloutState
    starts: curriculum.StartDistribution
    key: Array


class EpisodeCounts(NamedTuple):
    """Counts of one iteration, summed over its episodes' ends."""

    ended: Any
    solved: Any
    start_ended: Any  # those that began at the real start
    start_solved: Any


class ExpertTrainer:
    """RPO on one task: the environment, the network, and jitted iterations of several seeds at once, one on each device."""

    def __init__(self, config: settings.TrainExpertConfig):
        self.config = config
        self.env = envs.make(config.task, noise_std=config.noise_std)
        self.network = experts.build_network(config, self.env)
        self.motor_count = experts.motor_count(self.env)
        self.seeds_at_once = min(config.seeds, jax.device_count())
        self.samples = config.envs * config.rollout
        schedule = optax.linear_schedule(
            config.learning_rate, config.learning_rate * 0.1, self._update_count(config.steps)
        )
        adam = optax.adam(schedule, eps=1e-5)
        self.optimiser = optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)
        self._iterate_sharded = devices.ShardedFunction(self._iterate, devices=self.seeds_at_once)

    def _update_count(self, steps: int) -> int:
        return max(1, steps // self.samples) * self.config.epochs * self.config.minibatches

    def initial_state(self, seed: int, paths: search.SolutionPaths) -> ExpertTrainingState:
        """Untrained."""
        init_key, key = jax.random.split(jax.random.key(seed))
        width = self.config.history * self.env.obs_size + self.env.action_size
        params = self.network.init(init_key, jnp.zeros((1, width)))
        std = jnp.full(self.env.action_size, self.config.explore)
        expert = experts.Expert(params, jnp.asarray(paths.obs_mean), jnp.asarray(paths.obs_std), std)
        obs, state = self.env.reset(init_key, self.config.envs)
        rollout = RolloutState(state, self._initial_history(obs, expert), jnp.zeros(self.config.envs, jnp.int32))
        starts = curriculum.untried_starts(paths.states, limit=self.config.patience * paths.slowest)
        return ExpertTrainingState(expert, self.optimiser.init(params), rollout, starts, key)

    def _initial_history(self, obs: Array, expert: experts.Expert) -> experts.History:
        return experts.initial_history(
            obs, expert, history_length=self.config.history, action_size=self.env.action_size
        )

    def advance(
        self, states: list[ExpertTrainingState], iterations: int
    ) -> list[tuple[ExpertTrainingState, EpisodeCounts]]:
        """Iterations of up to ``seeds_at_once`` seeds at once; each seed's numbers do not depend on its company."""
        company = (states * self.seeds_at_once)[: self.seeds_at_once]  # an odd one runs beside a copy of itself
        stacked, counts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *company), []
        for _ in range(iterations):
            stacked, new_counts = self._iterate_sharded(stacked)
            counts.append(np.array(new_counts))  # [4, S]
        total = np.sum(counts, axis=0)
        return [(state, EpisodeCounts(*total[:, i])) for i, state in enumerate(devices.unshard(stacked)[: len(states)])]

    def _iterate(self, training: ExpertTrainingState) -> tuple[ExpertTrainingState, EpisodeCounts]:
        """Roll out [T, B] control steps, then learn from them."""
        expert, optimiser, rollout, starts, key = training
        key, start_key, roll_key, update_key = jax.random.split(key, 4)
        shape = (self.config.rollout, self.config.envs)
        next_start_index = curriculum.sample_start_indices(
            starts, shape, along_way=self.config.along_way, key=start_key
        )
        std = self.exploration(expert.params)
        control_step = functools.partial(self._control_step, starts, expert, std)
        step_inputs = (next_start_index, jax.random.split(roll_key, self.config.rollout))
        rollout, (steps, (start_index, solved)) = jax.lax.scan(control_step, rollout, step_inputs)
        last_value = self.network.apply(expert.params, experts.features(rollout.history))[1]
        advantage = ppo.gae(
            steps.reward, steps.value, steps.done, last_value, gamma=self.config.gamma, decay=self.config.gae_decay
        )
        data = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (steps, advantage, advantage + steps.value))
        params, optimiser = self._update(expert.params, optimiser, data, update_key)
        start_index, solved, ended = start_index.ravel(), solved.ravel(), data[0].done
        starts = curriculum.count_episodes(starts, start_index, ended, solved)
        counts = [(flag & mask).sum() for mask in (True, start_index == 0) for flag in (ended, solved)]
        expert = expert._replace(params=params, action_std=self.exploration(params))
        training = ExpertTrainingState(expert, optimiser, rollout, starts, key)
        return training, EpisodeCounts(*counts)

    def exploration(self, params: experts.NetworkParams) -> Array:
        """Standard deviation [A] of actions before squashing. It never falls by itself: data shall show how noise is met."""
        if self.config.learned_std:
            return jnp.exp(params["params"][actor_critic.LOG_STD])
        return jnp.full(self.env.action_size, self.config.explore)

    def _update(
        self, params: experts.NetworkParams, optimiser: Any, data, key: Array
    ) -> tuple[experts.NetworkParams, Any]:
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
            "perturbation": self.config.perturbation,
        }

        def objective(params):
            outputs, std = self.network.apply(params, steps.features), self.exploration(params)
            return ppo.loss(outputs, steps, advantage, target, key=key, std=std, **options)

        gradient = jax.grad(objective)(params)
        change, optimiser = self.optimiser.update(gradient, optimiser, params)
        return (optax.apply_updates(params, change), optimiser), None

    def _control_step(
        self,
        starts: curriculum.StartDistribution,
        expert: experts.Expert,
        std: Array,
        rollout: RolloutState,
        step_input,
    ):
        next_start_index, key = step_input  # [B] where the next episode begins, should one end now
        state, history, start_index = rollout
        sample_key, step_key = jax.random.split(key)
        features = experts.features(history)
        mean, value = self.network.apply(expert.params, features)
        distribution = actor_critic.gaussian(mean, std)
        raw = distribution.sample(seed=sample_key)
        action = actor_critic.squash(raw, self.motor_count)
        distance = self.env.distance(state)
        obs, next_state, reward, terminated, truncated, info = self.env.step(step_key, state, action)
        truncated = truncated | (next_state.time >= starts.limit) & ~terminated
        shaping_reward = ppo.shaping(distance, info["distance"], info["solved"], gamma=self.config.gamma)
        reward = reward + self.config.shaping * shaping_reward
        next_history = experts.append_frame(history, obs, action, expert)
        reward = reward + self.config.gamma * jax.lax.cond(
            truncated.any(),
            lambda: jnp.where(truncated, self.network.apply(expert.params, experts.features(next_history))[1], 0.0),
            lambda: jnp.zeros_like(reward),
        )
        done = terminated | truncated
        start = self.env.take(starts.states, next_start_index)
        if self.env.start_std:
            _, real_start = self.env.reset(key, next_start_index.shape[0])
            start = self.env.where(next_start_index == 0, real_start, start)
        initial_history = self._initial_history(self.env.observe(start), expert)
        history = jax.tree.map(
            lambda a, b: jnp.where(done.reshape(-1, *[1] * (a.ndim - 1)), a, b), initial_history, next_history
        )
        step = ppo.Transition(features, raw, distribution.log_prob(raw), value, reward, done)
        rollout = RolloutState(
            self.env.where(done, start, next_state), history, jnp.where(done, next_start_index, start_index)
        )
        return rollout, (step, (start_index, info["solved"]))


SEARCH_SUMMARY = ("slowest", "simulated", "seconds")  # of search.SolutionPaths, kept beside its arrays
NOT_DECIDING_AN_EXPERT = ("seeds", "seed", "out", "launcher")  # settings that do not change an expert of a given seed


def load_or_find_solutions(config: settings.TrainExpertConfig, seed: int) -> search.SolutionPaths:
    """A seed's paths to success: read from the run folder, or searched for and saved there."""
    path = _expert_file(config, seed).with_suffix(".ways")
    search_settings = dataclasses.asdict(config.search)
    env = envs.make(config.task, noise_std=0.0)
    _, template = env.reset(jax.random.key(0), 1)
    if path.exists():
        arrays, header = checkpoint.load(path, kind="ways")
        if header["search"] == search_settings and set(SEARCH_SUMMARY) <= set(header):
            states = checkpoint.unpack_leaves(template, arrays["states"])
            scaling = arrays["obs_mean"], arrays["obs_std"]
            return search.SolutionPaths(states, *scaling, *(header[name] for name in SEARCH_SUMMARY))
    with progress.bar(f"{config.task}: search, seed {seed}", config.search.successes, "successes") as advance:
        advance.wait(f"compiling {config.task}")
        paths = search.find_solutions(env, config.search, seed=seed, progress=advance)
    arrays = {"states": checkpoint.pack_leaves(paths.states), "obs_mean": paths.obs_mean, "obs_std": paths.obs_std}
    header = {"kind": "ways", "search": search_settings, "task": config.task}
    checkpoint.save(path, arrays, header | {name: getattr(paths, name) for name in SEARCH_SUMMARY})
    return paths


def _deciding_settings(config: settings.TrainExpertConfig) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_DECIDING_AN_EXPERT}


def _expert_file(config: settings.TrainExpertConfig, seed: int) -> pathlib.Path:
    return pathlib.Path(config.out) / config.task / f"seed{seed}.safetensors"


def _finished(config: settings.TrainExpertConfig, path: pathlib.Path) -> bool:
    return path.exists() and checkpoint.read_header(path)["config"] == _deciding_settings(config)


class _SeedTraining:
    """One seed's training: how far it is, and its files."""

    def __init__(self, config: settings.TrainExpertConfig, trainer: ExpertTrainer, seed: int):
        paths = load_or_find_solutions(config, seed)
        self.seconds = paths.seconds  # the search, and this seed's share of training
        self.expert_file, self.settings = _expert_file(config, seed), _deciding_settings(config)
        self.seed, self.trainer = seed, trainer
        self.search_steps = paths.simulated
        self.resume_file, self.log_file = self.expert_file.with_suffix(".resume"), self.expert_file.with_suffix(".csv")
        self.state, self.iterations = trainer.initial_state(seed, paths), 0
        self.log_lines = ["steps,start_solve_rate,solve_rate"]
        if self.resume_file.exists():
            arrays, header = checkpoint.load(self.resume_file, kind="expert-resume")
            if header["config"] == self.settings:
                self.state = checkpoint.unpack_leaves(self.state, arrays["runner"])
                self.iterations, self.log_lines = header["iterations"], header["log"]
                self.seconds = header["seconds"]

    def record(self, counts: EpisodeCounts) -> float:
        """Save how far it is; the share of episodes from the start that were solved in the last iterations."""
        rates = [
            counts.start_solved / max(1, counts.start_ended),
            counts.solved / max(1, counts.ended),
        ]
        self.log_lines.append(f"{self.iterations * self.trainer.samples},{rates[0]:.4f},{rates[1]:.4f}")
        files.write_whole(self.log_file, ("\n".join(self.log_lines) + "\n").encode())
        header = {
            "kind": "expert-resume",
            "config": self.settings,
            "iterations": self.iterations,
            "log": self.log_lines,
            "seconds": self.seconds,
        }
        checkpoint.save(self.resume_file, {"runner": checkpoint.pack_leaves(self.state)}, header)
        return rates[0]

    @property
    def diverged(self) -> bool:
        """Whether weights have become inf or nan; then nothing of it is saved any more."""
        return not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.state.expert.params))

    def finish(self, evaluate: experts.ExpertEvaluator, episodes: int) -> None:
        """Evaluate and write the expert."""
        self._save_expert(self.expert_file, evaluate, episodes)
        self.resume_file.unlink(missing_ok=True)

    def keep(self, evaluate: experts.ExpertEvaluator, episodes: int, every: int, iterations: int) -> None:
        """Keep a checkpoint if its time has come within the last ``iterations``."""
        steps = self.iterations * self.trainer.samples
        if not self.diverged and steps // every > (steps - iterations * self.trainer.samples) // every:
            path = self.expert_file.parent / "checkpoints" / f"seed{self.seed}-{steps:09d}.safetensors"
            self._save_expert(path, evaluate, episodes)

    def _save_expert(self, path: pathlib.Path, evaluate: experts.ExpertEvaluator, episodes: int) -> None:
        expert, draws = self.state.expert, {"seed": 10_000 + self.seed, "episodes": episodes}
        header = {
            "kind": "expert",
            "task": self.settings["task"],
            "interface": "compact",
            "solve_rate": float(evaluate(expert, **draws).mean()),
            "sampled_solve_rate": float(evaluate.sampled(expert, **draws).mean()),
            "episodes": episodes,
            "steps": self.iterations * self.trainer.samples,
            "search_steps": self.search_steps,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "config": self.settings,
            "versions": versions.collect(),
        }
        checkpoint.save(path, expert._asdict(), header)


def train(config: settings.TrainExpertConfig) -> list[pathlib.Path]:
    """Train ``config.seeds`` experts of one task, as many at once as there are devices; finished ones are kept.

    Returns their files.
    """
    failure = None
    if unfinished_seeds(config):
        try:
            train_seeds(config)
        except errors.ConfigError as error:
            failure = error
        draw_curves(config)
    if failure is not None:
        raise failure
    return [_expert_file(config, seed) for seed in _seeds(config)]


def _seeds(config: settings.TrainExpertConfig) -> range:
    return range(config.seed, config.seed + config.seeds)


def unfinished_seeds(config: settings.TrainExpertConfig) -> list[int]:
    """Seeds whose experts are not there yet, or were trained by other settings. Raises UnknownTask."""
    envs.tasks.check_name(config.task)
    return [seed for seed in _seeds(config) if not _finished(config, _expert_file(config, seed))]


def steps_trained(config: settings.TrainExpertConfig, seed: int) -> int:
    """Control steps that a seed's last save has; 0 where there is none by these settings."""
    resume_file = _expert_file(config, seed).with_suffix(".resume")
    header = checkpoint.read_header(resume_file) if resume_file.exists() else {}
    is_same = header.get("config") == _deciding_settings(config)
    return header["iterations"] * config.envs * config.rollout if is_same else 0


def train_seeds(config: settings.TrainExpertConfig) -> None:
    """Train what is unfinished. Raises ConfigError for seeds whose weights have become inf or nan; the others are there."""
    devices.setup()
    if seeds := unfinished_seeds(config):
        _train(config, ExpertTrainer(config), seeds)


def draw_curves(config: settings.TrainExpertConfig) -> None:
    """Draw how all seeds of the task have learned so far, beside their experts."""
    points = learning_curves.read_logs(config.out, config.task)
    evaluations = learning_curves.read_evaluations(config.out, config.task)
    learning_curves.plot(points, evaluations, pathlib.Path(config.out) / config.task / "curves.png")


def _train(config: settings.TrainExpertConfig, trainer: ExpertTrainer, seeds: list[int]) -> None:
    trainings = [_SeedTraining(config, trainer, seed) for seed in seeds]
    total = -(-config.steps // trainer.samples)
    whole = total * len(trainings) * trainer.samples
    evaluate = experts.ExpertEvaluator(trainer.env, trainer.network, history_length=config.history)
    done = sum(training.iterations for training in trainings) * trainer.samples
    with progress.bar(f"{config.task}: experts", whole, "control steps", done=done) as advance:
        advance.wait(f"compiling {config.task}")
        while running := [training for training in trainings if training.iterations < total]:
            least = min(training.iterations for training in running)
            group = [training for training in running if training.iterations == least][: trainer.seeds_at_once]
            iterations = min(config.save_every, total - least)
            began = time.monotonic()
            advanced = trainer.advance([training.state for training in group], iterations)
            for training, (state, _) in zip(group, advanced, strict=True):
                training.state, training.iterations = state, training.iterations + iterations
                # Before it is recorded, so that a kill in between repeats this.
                if config.keep_every and training.iterations < total:
                    training.keep(evaluate, config.eval_episodes, config.keep_every, iterations)
            rates = []
            for training, (_, counts) in zip(group, advanced, strict=True):
                training.seconds += (time.monotonic() - began) / len(group)
                rates.append(training.record(counts))
            note = ", ".join(f"seed {training.seed}: {rate:.2f}" for training, rate in zip(group, rates, strict=True))
            done = sum(training.iterations for training in trainings) * trainer.samples
            advance(done, note=f"solved from start, {note}")
    finished = [training for training in trainings if not training.diverged]
    with progress.bar(f"{config.task}: evaluation", len(finished), "experts") as advance:
        for number, training in enumerate(finished):
            advance.wait(f"seed {training.seed}")
            training.finish(evaluate, config.eval_episodes)
            advance(number + 1)
    if diverged := [str(training.seed) for training in trainings if training.diverged]:
        raise errors.ConfigError(
            f"{config.task}: the weights of seed {', '.join(diverged)} have become inf or nan; lower learning_rate="
        )
