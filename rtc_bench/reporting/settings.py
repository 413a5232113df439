"""Settings of pictures and reports."""

import dataclasses
import glob
import os.path
from typing import ClassVar

from rtc_bench import envs
from rtc_bench.common import errors, schema


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
    rates: str = "results/published/solve_rates.csv"  # a row for each method, task, delay and horizon
    out: str = "results/published"  # README.md with the findings, curves.png, cells.csv, means.csv, findings.csv


@dataclasses.dataclass(frozen=True)
class RankMethodsConfig(schema.Settings):
    """All methods of some runs side by side."""

    run: str | tuple[str, ...] = ("results/laptop", "results/methods/*")  # run folders or patterns, which are merged
    published: str = "results/published/methods.csv"  # means over tasks: a row for each method and delay
    out: str = "results/methods"  # README.md, ranking.csv, methods.csv, published_orders.csv, methods.png

    @property
    def runs(self) -> tuple[str, ...]:
        """The folders, always as a tuple; for a pattern those that hold results, by name."""
        folders_by_run = {
            run: sorted(map(os.path.dirname, glob.glob(f"{run}/results.csv"))) for run in schema.as_tuple(self.run)
        }
        return tuple(folder for run, folders in folders_by_run.items() for folder in folders or [run])
