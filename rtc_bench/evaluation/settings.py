"""Settings of sweeps and comparisons: what is played, under which delays and horizons, and where it is logged."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from rtc_bench import envs
from rtc_bench.common import errors, schema
from rtc_bench.launching import settings as launching

WANDB_MODES = ("offline", "online", "disabled")
HORIZON_WORDS = ("auto", "all")
UNDERRUNS = ("hold", "zero", "repeat")  # those of realtime/execution.py, which a test compares; it needs NumPy
STRATEGIES = ("naive", "temporal_ensembling", "bid", "rtc")  # of a sweep that names none


@dataclasses.dataclass(frozen=True)
class WandbConfig(schema.Settings):
    """Where curves are logged."""

    mode: str = "offline"  # offline needs no account (`wandb sync` uploads later), online, or disabled
    project: str = "rtc_bench"
    entity: str | None = None  # wandb user or team; null for the account's default
    group: str | None = None  # of runs, in wandb's sense
    tags: tuple[str, ...] = ()  # besides the strategies' names
    film: bool = True  # log one episode under every strategy as a video

    def __post_init__(self):
        try:
            schema.one_of(self, mode=WANDB_MODES)
        except errors.ConfigError as error:
            from_environment = os.environ.get("WANDB_MODE") == self.mode
            raise errors.ConfigError(f"{error}" + ", and WANDB_MODE sets it" * from_environment) from None


@dataclasses.dataclass(frozen=True)
class SweepConfig(schema.Settings):
    """A sweep of delay and execution horizon over tasks and strategies."""

    DRY_RUN: ClassVar[bool] = True

    task: str | tuple[str, ...] = "all"  # a name, a list, or all: every task that has a policy
    strategy: str | tuple[str, ...] = STRATEGIES  # a name, package.module:Class or file.py:Class, or a list of them
    delay: Any = "0..4"  # d, control steps: a number, a list, or from..to
    horizon: Any = "auto"  # s, control steps: likewise, or auto = max(d, 1), or all
    delay_model: str = "constant"  # what requests meet: constant (d), uniform, lognormal, bursts, spikes or trace
    delay_estimate: str = "exact"  # what strategies are told of it: exact, constant (d), max, quantile or offset
    delay_options: dict = dataclasses.field(default_factory=dict)  # settings of model and estimate: spread, window, ...
    underrun: str = "hold"  # where chunks ran out: hold (the last action), zero, or repeat (the newest chunk's last)
    episodes: int = 256  # a cell and seed; more of them go on from those that the run folder has
    policy: str = "zoo"  # zoo, a checkpoint, a folder of <task>.safetensors, file.py:function, or ws://host:port
    weights: str = "runs/methods"  # folder that `train-method` filled; looked at before the policy's own folder
    interface: str = "compact"  # what the policy was made for: compact or kinetix
    engine: str = "fast"  # physics: fast, or kinetix for the stock engine
    noise_std: float = 0.1  # actuation noise, in units of action
    flow_steps: int = 5  # n, Euler steps of flow time
    seed: Any = 0  # of all random numbers, the same for all strategies: one, a list or 0..2, whose episodes are pooled
    batch: int | str = "auto"  # episodes at once, over all devices; auto: 512 on a CPU, on a GPU as its memory allows
    out: str | None = None  # run folder; null for one named after the settings
    options: dict = dataclasses.field(default_factory=dict)  # strategy name -> its settings
    wandb: WandbConfig = dataclasses.field(default_factory=WandbConfig)
    launcher: launching.LauncherConfig = dataclasses.field(default_factory=launching.LauncherConfig)

    def __post_init__(self):
        schema.at_least(self, episodes=1, flow_steps=1, noise_std=0)
        if self.batch != "auto" and (isinstance(self.batch, str) or self.batch < 1):
            raise errors.ConfigError(f"batch={self.batch} is no number of episodes; give auto, or one from 1 on")
        for seed in self.seeds:
            schema.check_seed(seed)
        schema.one_of(self, interface=envs.INTERFACES, engine=envs.ENGINES, underrun=UNDERRUNS)
        if not self.strategies or not self.task:
            name = "task" if self.strategies else "strategy"
            raise errors.ConfigError(f"{name}=[] is empty; name one or more, or leave {name}= away")
        for name, options in self.options.items():
            if not isinstance(options, Mapping):
                raise errors.ConfigError(
                    f"options.{name}={options!r} is not a group; write options.{name}.<its setting>={options!r}"
                )
        schema.whole_numbers("delay", self.delay)
        if self.horizon not in HORIZON_WORDS:
            schema.whole_numbers("horizon", self.horizon, words=HORIZON_WORDS)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies, always as a tuple."""
        return schema.as_tuple(self.strategy)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, always as a tuple."""
        return schema.whole_numbers("seed", self.seed)

    @property
    def episodes_at_once(self) -> int | None:
        """The batch; None for one that suits the devices."""
        return None if isinstance(self.batch, str) else self.batch

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, always as a tuple."""
        return schema.as_tuple(self.task)


@dataclasses.dataclass(frozen=True)
class CompareConfig(SweepConfig):
    """A sweep of a new strategy and of what it is compared with."""

    strategy: str | tuple[str, ...] = ()  # the new one: package.module:Class, file.py:Class, or a name; or a list
    baseline: str | tuple[str, ...] = ("naive", "rtc")  # a strategy, or a list
    out: str = "results/compare"  # holds a run folder for the baselines, and one for each new strategy

    def __post_init__(self):
        if not self.strategies:
            raise errors.ConfigError("strategy= is not given; name the new one: package.module:Class or file.py:Class")
        super().__post_init__()
        if not self.baselines:
            raise errors.ConfigError("baseline=[] is empty; name one or more, or leave baseline= away")
        for name in {*self.baselines} & {*self.strategies}:
            raise errors.ConfigError(f"{name!r} is both strategy= and baseline=; name it once")

    @property
    def baselines(self) -> tuple[str, ...]:
        """The baselines, always as a tuple."""
        return schema.as_tuple(self.baseline)


RULE = "its new chunks lose their first d actions, so d <= s <= H - d"


def delay_horizon_pairs(
    delay: Any, horizon: Any, chunk: int, *, whole_chunk: bool = False
) -> tuple[tuple[int, int], ...]:
    """The (d, s) pairs of a sweep. Raises errors.ConfigError for one that breaks 1 <= s, d <= s <= H - d.

    ``whole_chunk``: for strategies whose chunks do not lose their first d actions; then s goes up to H, and d to H - 1.
    """
    rule = f"d <= s <= {chunk}" if whole_chunk else f"d <= s <= {chunk} - d"
    delays, largest = schema.whole_numbers("delay", delay), chunk - 1 if whole_chunk else chunk // 2
    for d in delays:
        if not 0 <= d <= largest:
            raise errors.ConfigError(f"delay={d} does not fit a chunk of {chunk} ({rule}); valid: 0..{largest}")
    longest = {d: chunk if whole_chunk else chunk - d for d in delays}
    if horizon == "auto":
        return tuple((d, max(d, 1)) for d in delays)
    if horizon == "all":
        return tuple((d, s) for d in delays for s in range(max(d, 1), longest[d] + 1))
    horizons = schema.whole_numbers("horizon", horizon, words=HORIZON_WORDS)
    for s in horizons:
        for d in delays:
            if not max(d, 1) <= s <= longest[d]:
                valid = f"{max(d, 1)}..{longest[d]}"
                raise errors.ConfigError(
                    f"horizon={s} does not fit delay={d} and a chunk of {chunk} ({rule}); "
                    f"valid for delay={d}: {valid}, or horizon=auto"
                )
    return tuple((d, s) for d in delays for s in horizons)
