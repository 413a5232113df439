"""Settings of pictures and reports."""

import dataclasses
import glob
import os.path
from typing import Any, ClassVar

from rtc_bench import envs
from rtc_bench.common import errors, schema
from rtc_bench.evaluation import settings as evaluation_settings


@dataclasses.dataclass(frozen=True)
class RenderConfig(schema.Settings):
    """A picture of one episode."""

    task: str
    policy: str = "zoo"  # zoo (the shipped policy), a checkpoint, random, or none (zero actions)
    strategy: str | tuple[str, ...] = "naive"  # for a policy; a list shows the same episode under each
    interface: str = "compact"  # what the policy was made for: compact or kinetix
    delay: int = 0  # d, control steps, for a policy; s = max(d, 1)
    frames: int = 6  # of a film strip
    seed: int = 0
    episode: int = 0  # of those that a sweep with this seed plays
    out: str | None = None  # .gif: animation; .png, .pdf, ...: film strips; null: results/<task>.png

    def __post_init__(self):
        schema.at_least(self, delay=0, frames=1, episode=0)
        schema.check_seed(self.seed)
        schema.one_of(self, interface=envs.INTERFACES)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies, always as a tuple."""
        return schema.as_tuple(self.strategy)


@dataclasses.dataclass(frozen=True)
class ReportConfig(schema.Settings):
    """A page, figures and tables of run folders."""

    UNNAMED: ClassVar[str] = "run"

    run: str | tuple[str, ...]  # a folder with results.csv, or several that are merged
    out: str | None = None  # where they go; null: into report/ in the first run folder
    baseline: str | None = None  # what the others are compared with; null: naive, else the first strategy

    def __post_init__(self):
        if not self.runs:
            raise errors.ConfigError("run=[] is empty; name one run folder or more")

    @property
    def runs(self) -> tuple[str, ...]:
        """The folders, always as a tuple."""
        return schema.as_tuple(self.run)


@dataclasses.dataclass(frozen=True)
class ComparePublishedConfig(schema.Settings):
    """A run folder beside published solve rates."""

    run: str = "results/laptop"  # a folder with results.csv
    rates: str | None = None  # a row for each method, task, delay and horizon; null: the table that is shipped
    out: str = "results/published"  # README.md with the findings, curves.png, cells.csv, means.csv, findings.csv


@dataclasses.dataclass(frozen=True)
class RankMethodsConfig(schema.Settings):
    """All methods of some runs side by side."""

    run: str | tuple[str, ...] = ("results/laptop", "results/methods/*")  # run folders or patterns, which are merged
    published: str | None = None  # means over tasks, a row for each method and delay; null: the table that is shipped
    out: str = "results/methods"  # README.md, ranking.csv, methods.csv, published_orders.csv, methods.png

    @property
    def runs(self) -> tuple[str, ...]:
        """The folders, always as a tuple; for a pattern those that hold results, by name."""
        folders_by_run = {
            run: sorted(map(os.path.dirname, glob.glob(f"{run}/results.csv"))) for run in schema.as_tuple(self.run)
        }
        return tuple(folder for run, folders in folders_by_run.items() for folder in folders or [run])


CLOCK_ESTIMATES = ("max", "quantile", "constant")  # what can be known while the clock runs
LONGEST_LATENCY = 2000  # milliseconds


@dataclasses.dataclass(frozen=True)
class RealtimeConfig(schema.Settings):
    """Episodes of one task on a real clock."""

    task: str
    strategy: str | tuple[str, ...] = ("naive", "rtc")  # a name, package.module:Class or file.py:Class, or a list
    latency: Any = 0  # milliseconds that inference takes longer: a number, a trace (wired, wireless, a file), or a list
    delay: int = 1  # d, control steps: the first estimate, and what horizon=auto goes by
    horizon: str | int = "auto"  # s, control steps between two requests, at least: auto = max(d, 1)
    delay_estimate: str = "max"  # of the delays seen so far: max (Algorithm 1), quantile, or constant (d)
    delay_options: dict = dataclasses.field(default_factory=dict)  # of the estimate: window, quantile
    underrun: str = "hold"  # where chunks ran out: hold (the last action), zero, or repeat (the newest chunk's last)
    hz: float = 30.0  # control steps a second; the task's own rate is 30
    episodes: int = 8  # for every strategy and latency, of those that a sweep with this seed plays
    predicted: int = 256  # episodes that the evaluator plays under such delays
    policy: str = "zoo"  # zoo, a checkpoint, or a folder of <task>.safetensors
    weights: str = "runs/methods"  # folder that `train-method` filled; looked at before the policy's own folder
    interface: str = "compact"  # what the policy was made for: compact or kinetix
    seed: int = 0  # of actuation and flow noise
    options: dict = dataclasses.field(default_factory=dict)  # strategy name -> its settings
    out: str | None = None  # folder; null: results/realtime-<digest of these settings>

    def __post_init__(self):
        schema.at_least(self, predicted=1, hz=1)
        if self.task == "all":
            raise errors.ConfigError(f"task=all: a clock plays one task; tasks: {', '.join(envs.TASKS)}")
        schema.one_of(self, delay_estimate=CLOCK_ESTIMATES)
        if self.horizon != "auto" and len(schema.whole_numbers("horizon", self.horizon, words=("auto",))) > 1:
            raise errors.ConfigError(f"horizon={self.horizon}: a clock keeps one execution horizon; give one, or auto")
        if not self.latencies:
            raise errors.ConfigError("latency=[] is empty; name one or more, or leave latency= away")
        for latency in self.latencies:
            if not isinstance(latency, str):
                if isinstance(latency, bool) or not isinstance(latency, int | float):
                    raise errors.ConfigError(
                        f"latency={latency!r} is neither milliseconds nor a trace; give 33, or wired"
                    )
                if not 0 <= latency <= LONGEST_LATENCY:
                    raise errors.ConfigError(
                        f"latency={latency} is out of range; give milliseconds from 0 to {LONGEST_LATENCY}, or a trace"
                    )
        _ = self.sweep  # whose checks these are

    @property
    def latencies(self) -> tuple[float | str, ...]:
        """Milliseconds or traces, always as a tuple."""
        return tuple(self.latency) if isinstance(self.latency, list | tuple) else (self.latency,)

    @property
    def sweep(self) -> evaluation_settings.SweepConfig:
        """The settings that a sweep has as well."""
        sweep_fields = {field.name for field in dataclasses.fields(evaluation_settings.SweepConfig)} - {"out"}
        common = {field.name for field in dataclasses.fields(self)} & sweep_fields
        return evaluation_settings.SweepConfig(**{name: getattr(self, name) for name in common})
