"""Every stage's settings as frozen dataclasses, checked on construction. Light to import: no JAX."""

import contextlib
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

HORIZON = 8  # H, control steps in a chunk, unless a policy says otherwise
WANDB_MODES = ("offline", "online", "disabled")
INTERFACES, ENGINES = ("compact", "kinetix"), ("fast", "kinetix")  # as envs.env has them, which is heavy to import
HORIZON_WORDS = ("auto", "all")
STRATEGIES = ("naive", "temporal_ensembling", "bid", "rtc")  # of a sweep that names none


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the value, the valid set and the remedy."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A parenthesis that asks whether the nearest valid word was meant, or nothing."""
    close = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Settings:
    """Base of the dataclasses below: building one from the mapping that a config file holds."""

    UNNAMED: ClassVar[str] = ""  # the setting that command-line arguments without a name go to

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Checks names and types, also of nested settings. Raises ConfigError."""
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if not isinstance(values, Mapping):
            raise ConfigError(f"{values!r} is not a group of settings; its settings are {', '.join(fields)}")
        for name in values:
            if name not in fields:
                raise ConfigError(f"unknown setting {name!r}{nearest(name, fields)}; settings: {', '.join(fields)}")
        return cls(**typed(cls, values))


def typed(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for fields of any dataclass, each checked against its field's type; unknown names pass. Raises ConfigError."""
    hints = typing.get_type_hints(cls)
    return {name: _typed(name, value, hints.get(name, Any)) for name, value in values.items()}


def _typed(name: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Settings):
        try:
            return value if isinstance(value, hint) else hint.from_mapping(value)
        except ConfigError as error:
            raise ConfigError(f"in {name}: {error}") from None
    plain = typing.get_origin(hint) or hint
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if plain is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if plain in (int, float, str, bool) and (
        not isinstance(value, plain) or isinstance(value, bool) is not (plain is bool)
    ):
        raise ConfigError(f"{name}={value!r} is not {_NAMES[plain]}; give {_NAMES[plain]}")
    if isinstance(hint, types.UnionType):
        return _typed_union(name, value, typing.get_args(hint))
    return value


def _typed_union(name: str, value: Any, hints: tuple) -> Any:
    for hint in hints:
        if hint is type(None) and value is None:
            return None
        with contextlib.suppress(ConfigError):
            typed = _typed(name, value, hint)
            if isinstance(typed, typing.get_origin(hint) or hint):
                return typed
    shown = " or ".join(_NAMES.get(typing.get_origin(hint) or hint, "null") for hint in hints)
    raise ConfigError(f"{name}={value!r} is not {shown}; give {shown}")


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", tuple: "a list"}


def at_least(settings: Any, **bounds: float) -> None:
    """Raise ConfigError for the first field below its bound."""
    for name, bound in bounds.items():
        value = getattr(settings, name)
        if not value >= bound:
            raise ConfigError(f"{name}={value} is too small; it must be {bound} or more")


def one_of(settings: Any, **valid: tuple[str, ...]) -> None:
    """Raise ConfigError for the first field whose value is not among the valid ones."""
    for name, words in valid.items():
        value = getattr(settings, name)
        if value not in words:
            raise ConfigError(f"{name}={value!r} is not valid{nearest(value, words)}; {name}: {', '.join(words)}")


@dataclasses.dataclass(frozen=True)
class SearchConfig(Settings):
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
        at_least(self, population=1, hold=1, successes=1, rounds=1, cells=2, greed=0, last_start=1, starts=1)


@dataclasses.dataclass(frozen=True)
class ExpertConfig(Settings):
    """Expert training: RPO (arXiv 2212.07536) from states along searched successes."""

    task: Any  # a name, a list, or all
    seeds: int = 2  # experts; one on each core or GPU at once
    seed: int = 0  # of the first
    good: float = 0.9  # solve rate below which a further seed is trained instead,
    spare: int = 3  # at most so many
    steps: int = 12_000_000  # control steps an expert, at most
    enough: float = 0.98  # solve rate from the start, exploring, over the last 4 saves, that ends training; 2: never
    envs: int = 512  # environments in parallel
    rollout: int = 64  # control steps between updates
    minibatches: int = 8
    epochs: int = 4
    gamma: float = 0.995
    gae_decay: float = 0.9
    clip: float = 0.2
    value_coefficient: float = 0.5
    learning_rate: float = 5e-4  # falls linearly to a tenth
    gradient_clip: float = 1.0
    perturbation: float = 0.3  # RPO's, of the mean, in standard deviations
    explore: float = 1.0  # standard deviation of actions before squashing, while nothing is solved from the start
    explore_solved: float = 0.2  # the same once everything is; in between by the solve rate
    width: int = 128  # units a hidden layer
    history: int = 4  # frames the expert sees
    shaping: float = 0.5  # reward per metre nearer
    along_way: float = (
        0.9  # share of episodes begun on a way to success while none is solved from the start; later half
    )
    patience: float = 2.0  # training gives an episode up after so many times the slowest way's control steps
    noise_std: float = 0.1  # actuation noise
    eval_episodes: int = 1024
    save_every: int = 5  # updates between resumable saves
    out: str = "runs/experts"
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)

    def __post_init__(self):
        at_least(self, seeds=1, steps=1, envs=1, rollout=1, minibatches=1, epochs=1, width=1, history=1, save_every=1)
        at_least(self, noise_std=0, eval_episodes=1, shaping=0, patience=1, spare=0)
        for name in ("explore", "explore_solved"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} leaves nothing to chance; it must be above 0")
        if not 0 <= self.along_way <= 1:
            raise ConfigError(f"along_way={self.along_way} is not a share; give a number from 0 to 1")


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """Expert data."""

    task: Any  # a name, a list, or all
    steps: int = 250_000  # control steps to record, at least
    experts: str = "runs/experts"
    min_solve_rate: float = 0.85  # an expert below is left out
    noise_std: float = 0.1
    seed: int = 0
    batch: int = 512  # episodes at once
    out: str = "data"

    def __post_init__(self):
        at_least(self, steps=1, batch=1, noise_std=0)


@dataclasses.dataclass(frozen=True)
class TrainFlowConfig(Settings):
    """Flow-policy training on a task's data."""

    task: Any  # a name, a list, or all
    data: str = "data"
    horizon: int = HORIZON
    layers: int = 2
    channels: int = 32
    channel_hidden: int = 64
    token_hidden: int = 16
    epochs: int = 32
    weak_epoch: int = 8  # its weights are kept for BID's contrast
    batch: int = 512
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    warmup: int = 1000  # updates
    anneal: float = 0.01  # share of the learning rate that is left at the end, along a cosine; 1 keeps it
    gradient_clip: float = 10.0
    flow_steps: int = 5  # of the evaluation
    eval_every: int = 8  # epochs between evaluations; 0 for none but the last
    eval_episodes: int = 512
    noise_std: float = 0.1
    seed: int = 0
    out: str = "runs/flow"

    def __post_init__(self):
        at_least(self, horizon=1, layers=1, channels=2, epochs=1, batch=1, warmup=0, flow_steps=1, eval_every=0)
        at_least(self, eval_episodes=1, noise_std=0, weak_epoch=1, anneal=0)
        if self.weak_epoch > self.epochs:
            raise ConfigError(f"weak_epoch={self.weak_epoch} is after the last of {self.epochs} epochs; lower it")


@dataclasses.dataclass(frozen=True)
class ZooConfig(Settings):
    """Finished policies become the shipped ones."""

    task: Any  # a name, a list, or all
    experts: str = "runs/experts"
    data: str = "data"
    flow: str = "runs/flow"
    zoo: str = "policies/zoo"  # where the policies go
    out: str = "results/zoo"  # where tables, picture and data manifests go


@dataclasses.dataclass(frozen=True)
class WandbConfig(Settings):
    """Where curves are logged."""

    mode: str = "offline"  # offline needs no account (`wandb sync` uploads later), online, or disabled
    project: str = "rtc_bench"
    entity: str | None = None  # wandb user or team; null for the account's default
    group: str | None = None  # of runs, in wandb's sense
    tags: tuple[str, ...] = ()  # besides the strategies' names
    film: bool = True  # log one episode under every strategy as a video

    def __post_init__(self):
        one_of(self, mode=WANDB_MODES)


def several(names: str | Sequence[str]) -> tuple[str, ...]:
    """A name or a list of names, as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


@dataclasses.dataclass(frozen=True)
class SweepConfig(Settings):
    """A sweep of delay and execution horizon over tasks and strategies."""

    task: str | tuple[str, ...] = "all"  # a name, a list, or all: every task that has a policy
    strategy: str | tuple[str, ...] = STRATEGIES  # a name, package.module:Class or file.py:Class, or a list of them
    delay: Any = "0..4"  # d, control steps: a number, a list, or from..to
    horizon: Any = "auto"  # s, control steps: likewise, or auto = max(d, 1), or all
    episodes: int = 256  # a cell
    policy: str = "zoo"  # zoo, a checkpoint, or a folder of <task>.safetensors (also one level down)
    interface: str = "compact"  # what the policy was made for: compact or kinetix
    engine: str = "fast"  # physics: fast, or kinetix for the stock engine
    noise_std: float = 0.1  # actuation noise, in units of action
    flow_steps: int = 5  # n, Euler steps of flow time
    seed: int = 0  # of all random numbers; strategies meet the same ones
    batch: int = 512  # episodes at once, over all devices
    out: str | None = None  # run folder; null for one named after the settings
    options: dict = dataclasses.field(default_factory=dict)  # strategy name -> its settings
    wandb: WandbConfig = dataclasses.field(default_factory=WandbConfig)

    def __post_init__(self):
        at_least(self, episodes=1, flow_steps=1, batch=1, noise_std=0, seed=0)
        if self.seed >= 2**32:  # JAX's keys take no more
            raise ConfigError(f"seed={self.seed} is too large; it must be below 2**32")
        one_of(self, interface=INTERFACES, engine=ENGINES)
        if not self.strategies or not self.task:
            name = "task" if self.strategies else "strategy"
            raise ConfigError(f"{name}=[] is empty; name one or more, or leave {name}= away")
        for name, options in self.options.items():
            if not isinstance(options, Mapping):
                raise ConfigError(
                    f"options.{name}={options!r} is not a group; write options.{name}.<its setting>={options!r}"
                )
        whole_numbers("delay", self.delay)
        if self.horizon not in HORIZON_WORDS:
            whole_numbers("horizon", self.horizon, words=HORIZON_WORDS)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies, always as a tuple."""
        return several(self.strategy)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, always as a tuple."""
        return several(self.task)


@dataclasses.dataclass(frozen=True)
class CompareConfig(SweepConfig):
    """A sweep of a new strategy and of what it is compared with."""

    strategy: str | tuple[str, ...] = ()  # the new one: package.module:Class, file.py:Class, or a name; or a list
    baseline: str | tuple[str, ...] = ("naive", "rtc")  # a strategy, or a list
    out: str = "results/compare"  # holds a run folder for the baselines, and one for each new strategy

    def __post_init__(self):
        if not self.strategies:
            raise ConfigError("strategy= is not given; name the new one: package.module:Class or file.py:Class")
        super().__post_init__()
        if not self.baselines:
            raise ConfigError("baseline=[] is empty; name one or more, or leave baseline= away")
        for name in {*self.baselines} & {*self.strategies}:
            raise ConfigError(f"{name!r} is both strategy= and baseline=; name it once")

    @property
    def baselines(self) -> tuple[str, ...]:
        """The baselines, always as a tuple."""
        return several(self.baseline)


@dataclasses.dataclass(frozen=True)
class RenderConfig(Settings):
    """A picture of one episode."""

    task: str
    policy: str = "zoo"  # zoo (the shipped policy), a checkpoint, random, or none (zero actions)
    strategy: str | tuple[str, ...] = "naive"  # for a policy; a list shows the same episode under each
    delay: int = 0  # d, control steps, for a policy; s = max(d, 1)
    frames: int = 6  # of a film strip
    seed: int = 0
    episode: int = 0  # of those that a sweep with this seed plays
    out: str | None = None  # .gif: animation; .png, .pdf, ...: film strips; null: results/<task>.png

    def __post_init__(self):
        at_least(self, delay=0, frames=1, seed=0, episode=0)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies, always as a tuple."""
        return several(self.strategy)


@dataclasses.dataclass(frozen=True)
class ReportConfig(Settings):
    """A page, figures and tables of run folders."""

    UNNAMED: ClassVar[str] = "run"

    run: str | tuple[str, ...]  # a folder with results.csv, or several that are merged
    out: str | None = None  # where they go; null: into report/ in the first run folder
    baseline: str | None = None  # what the others are compared with; null: naive, else the first strategy

    def __post_init__(self):
        if not self.runs:
            raise ConfigError("run=[] is empty; name one run folder or more")

    @property
    def runs(self) -> tuple[str, ...]:
        """The folders, always as a tuple."""
        return several(self.run)


def whole_numbers(name: str, value: Any, *, words: tuple[str, ...] = ()) -> tuple[int, ...]:
    """2, [0, 2, 4] or "0..4" as a tuple of whole numbers. Raises ConfigError, which also offers ``words``."""
    shape = ", ".join(f"{name}={example}" for example in ("2", "[0,2,4]", "0..4", *words))
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value.strip())):
        low, high = int(match[1]), int(match[2])
        if low > high:
            raise ConfigError(f"{name}={value} runs backwards; write {name}={high}..{low}")
        return tuple(range(low, high + 1))
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    items = tuple(int(item) if isinstance(item, str) and item.strip().isdigit() else item for item in items)
    if not items or any(isinstance(item, bool) or not isinstance(item, int) for item in items):
        raise ConfigError(f"{name}={value!r} is not a whole number, list or range; write {shape}")
    return tuple(dict.fromkeys(items))


def cells(delay: Any, horizon: Any, chunk: int) -> tuple[tuple[int, int], ...]:
    """The (d, s) pairs of a sweep. Raises ConfigError for one that breaks 1 <= s, d <= s <= H - d."""
    delays = whole_numbers("delay", delay)
    for d in delays:
        if not 0 <= d <= chunk // 2:
            raise ConfigError(
                f"delay={d} does not fit a chunk of {chunk} (d <= s <= {chunk} - d); valid: 0..{chunk // 2}"
            )
    if horizon == "auto":
        return tuple((d, max(d, 1)) for d in delays)
    if horizon == "all":
        return tuple((d, s) for d in delays for s in range(max(d, 1), chunk - d + 1))
    horizons = whole_numbers("horizon", horizon, words=HORIZON_WORDS)
    for s in horizons:
        for d in delays:
            if not max(d, 1) <= s <= chunk - d:
                valid = f"{max(d, 1)}..{chunk - d}"
                raise ConfigError(
                    f"horizon={s} does not fit delay={d} and a chunk of {chunk} (d <= s <= {chunk} - d); "
                    f"valid for delay={d}: {valid}, or horizon=auto"
                )
    return tuple((d, s) for d in delays for s in horizons)
