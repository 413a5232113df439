"""Settings of the training stages: search and experts, data, flow policies, and publishing to the zoo."""

import dataclasses
from typing import Any, ClassVar

from rtc_bench import policies
from rtc_bench.common import errors, schema
from rtc_bench.launching import settings as launching

SAMPLE_WORDS = ("mean", "policy")
# Of an expert that is good enough to record. The best of trampoline's solve 0.47, from starts that differ.
GOOD_SOLVE_RATE, GOOD_SOLVE_RATES = 0.65, {"trampoline": 0.35}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class SearchConfig(schema.Settings):
    """Budget and granularity of the search for a first success."""

    population: int = 1024  # cells expanded at once
    hold: int = 6  # control steps an action is held
    successes: int = 24  # distinct ends to find
    rounds: int = 400  # at most
    cells: int = 60_000  # archive capacity
    greed: float = 4.0  # preference for cells near the goal; 0 is none
    last_start: int = 200  # control steps; cells reached later are not expanded
    starts: int = 63  # states along the ways that are kept

    def __post_init__(self):
        schema.at_least(self, population=1, hold=1, successes=1, rounds=1, cells=2, greed=0, last_start=1, starts=1)


@dataclasses.dataclass(frozen=True)
class TrainExpertConfig(schema.Settings):
    """Expert training: RPO (arXiv 2212.07536) from states along searched successes."""

    DRY_RUN: ClassVar[bool] = True

    task: Any  # a name, a list, or all
    seeds: int = 8  # experts; one on each core or GPU at once
    seed: int = 0  # of the first
    steps: int = 4_000_000  # control steps an expert
    envs: int = 512  # environments in parallel
    rollout: int = 64  # control steps between updates
    minibatches: int = 32
    epochs: int = 4
    gamma: float = 0.995
    gae_decay: float = 0.9
    clip: float = 0.2
    value_coefficient: float = 0.5
    learning_rate: float = 5e-4  # falls linearly to a tenth
    gradient_clip: float = 1.0
    perturbation: float = 0.3  # RPO's, of the mean before squashing
    explore: float = 1.0  # standard deviation of actions before squashing, in training and in sampled data
    learned_std: bool = False  # learn one standard deviation for each action instead, from 1 on, as published
    width: int = 128  # units a hidden layer
    history: int = 4  # frames the expert sees
    shaping: float = 0.5  # reward per metre nearer
    along_way: float = 0.9  # share of episodes begun on a way to success while none is solved from start; later half
    patience: float = 2.0  # training gives an episode up after so many times the slowest way's control steps
    noise_std: float = 0.1  # actuation noise
    eval_episodes: int = 512
    save_every: int = 5  # iterations between resumable saves
    keep_every: int = 1_000_000  # control steps between checkpoints that are kept besides the last; 0: none
    out: str = "runs/experts"
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    launcher: launching.LauncherConfig = dataclasses.field(default_factory=launching.LauncherConfig)

    def __post_init__(self):
        schema.at_least(
            self, seeds=1, steps=1, envs=1, rollout=1, minibatches=1, epochs=1, width=1, history=1, save_every=1
        )
        schema.at_least(self, noise_std=0, eval_episodes=1, shaping=0, patience=1, keep_every=0, perturbation=0)
        schema.at_least(self, learning_rate=0, gradient_clip=0, clip=0, value_coefficient=0, explore=0)
        schema.check_shares(self, "along_way", "gamma", "gae_decay")
        schema.check_seed(self.seed, self.seeds)
        samples = self.envs * self.rollout
        if samples % self.minibatches:
            near = max(n for n in range(1, self.minibatches) if samples % n == 0)
            raise errors.ConfigError(
                f"envs={self.envs} times rollout={self.rollout} are {samples} samples, which minibatches="
                f"{self.minibatches} does not divide; give for example minibatches={near}"
            )
        if not self.explore > 0:
            raise errors.ConfigError(f"explore={self.explore} leaves nothing to chance; it must be above 0")
        if self.learned_std and self.explore != 1:
            raise errors.ConfigError(f"explore={self.explore} has no say where learned_std=true; drop one of them")


@dataclasses.dataclass(frozen=True)
class GenerateDataConfig(schema.Settings):
    """Expert data."""

    DRY_RUN: ClassVar[bool] = True

    task: Any  # a name, a list, or all
    steps: int = 500_000  # control steps to record, at least
    experts: str = "runs/experts"
    min_solve_rate: float | None = None  # experts below are left out; null: 0.65 (trampoline 0.35)
    sample: Any = "policy"  # actions: mean; policy (sampled as the expert explored in the end); or a standard deviation
    checkpoints: bool = True  # draw from a seed's kept checkpoints, too
    noise_std: float = 0.1
    seed: int = 0
    batch: int = 512  # episodes at once
    out: str = "data"
    launcher: launching.LauncherConfig = dataclasses.field(default_factory=launching.LauncherConfig)

    def __post_init__(self):
        schema.at_least(self, steps=1, batch=1, noise_std=0)
        schema.check_seed(self.seed)
        if self.min_solve_rate is not None:
            schema.check_shares(self, "min_solve_rate")
        if _is_number(self.sample):
            schema.check_finite("sample", self.sample)
        if self.sample not in SAMPLE_WORDS and not (_is_number(self.sample) and self.sample >= 0):
            near, words = errors.did_you_mean(str(self.sample), SAMPLE_WORDS), ", ".join(SAMPLE_WORDS)
            raise errors.ConfigError(
                f"sample={self.sample!r} is not valid{near}; sample: {words}, or a number from 0 on"
            )


@dataclasses.dataclass(frozen=True)
class TrainFlowConfig(schema.Settings):
    """Flow-policy training on a task's data, or on a LeRobot data set."""

    DRY_RUN: ClassVar[bool] = True

    task: Any  # a name, a list, or all; of a LeRobot data set a name of your choice
    data: str = "data"  # folder that `generate-data` filled, or a LeRobot data set (format v3.0) of states and actions
    state_key: Any = "observation.state"  # of a LeRobot data set: the state, or a list of features that make it up
    action_key: str = "action"  # of a LeRobot data set
    horizon: int = policies.PREDICTION_HORIZON
    layers: int = 3
    channels: int = 64
    channel_hidden: int = 128
    token_hidden: int = 32
    epochs: int = 10
    weak_epoch: int = 3  # its weights are kept for BID's contrast
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 1000  # updates
    anneal: float = 0.01  # share of the learning rate that is left at the end, along a cosine; 1 keeps it
    gradient_clip: float = 10.0
    flow_steps: int = 5  # of the evaluation
    eval_every: int = 5  # epochs between evaluations; 0 for none but the last
    eval_episodes: int = 512
    noise_std: float = 0.1
    seed: int = 0
    out: str = "runs/flow"
    launcher: launching.LauncherConfig = dataclasses.field(default_factory=launching.LauncherConfig)

    def __post_init__(self):
        schema.at_least(self, horizon=1, layers=1, channels=2, channel_hidden=1, token_hidden=1)
        schema.at_least(self, epochs=1, batch=1, warmup=0, flow_steps=1, eval_every=0, eval_episodes=1, weak_epoch=1)
        schema.at_least(self, noise_std=0, learning_rate=0, weight_decay=0, gradient_clip=0)
        schema.check_shares(self, "anneal")
        schema.check_seed(self.seed)
        names = self.state_key if isinstance(self.state_key, list | tuple) else [self.state_key]
        if not names or not all(isinstance(name, str) for name in names):
            raise errors.ConfigError(f"state_key={self.state_key!r} names no feature; give a name or a list of names")
        if self.channels % 2:
            raise errors.ConfigError(
                f"channels={self.channels} is odd; half of them are sines, half cosines: give an even number"
            )
        if self.weak_epoch > self.epochs:
            raise errors.ConfigError(
                f"weak_epoch={self.weak_epoch} is after the last of {self.epochs} epochs; lower it"
            )


@dataclasses.dataclass(frozen=True)
class PublishZooConfig(schema.Settings):
    """Finished policies become the shipped ones."""

    task: Any  # a name, a list, or all
    experts: str = "runs/experts"
    data: str = "data"
    flow: str = "runs/flow"
    zoo: str = "policies/zoo"  # where the policies go
    out: str = "results/zoo"  # where tables, picture and data manifests go
