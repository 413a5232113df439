"""Settings of fetching the published policies."""

import dataclasses
import urllib.parse

from rtc_bench.common import errors, schema

# The bucket's names of the levels are worlds_l_<task>, and these tasks are ours (a test compares them).
TASKS = (
    "grasp_easy",
    "catapult",
    "cartpole_thrust",
    "hard_lunar_lander",
    "mjc_half_cheetah",
    "mjc_swimmer",
    "mjc_walker",
    "h17_unicycle",
    "chain_lander",
    "catcher_v3",
    "trampoline",
    "car_launch",
)


@dataclasses.dataclass(frozen=True)
class FetchPublishedConfig(schema.Settings):
    """The published policies, fetched and converted."""

    task: str | tuple[str, ...] = "all"  # a name, a list, or all
    source: str = "https://storage.googleapis.com/rtc-assets"  # holds bc/<epoch>/policies/worlds_l_<task>.pkl
    epoch: int = 31  # of the policies, counted from 0: the last one
    early: int | None = 8  # epoch of the weak policies, for BID's contrast; null: none
    out: str = "runs/published"  # <task>.safetensors, and downloads/ with the files as published
    timeout: float = 30.0  # seconds without an answer, or without a byte
    retries: int = 4  # after an answer of 429 or 5xx, silence, or a broken connection; waits 1, 2, 4, ... seconds

    def __post_init__(self):
        schema.at_least(self, epoch=0, retries=0)
        schema.above(self, timeout=0)
        if self.early is not None:
            schema.at_least(self, early=0)
            if self.early >= self.epoch:
                raise errors.ConfigError(f"early={self.early} is not before epoch={self.epoch}; give less, or null")
        self._check_source()
        if not self.task:
            raise errors.ConfigError("task=[] is empty; name one or more, or leave task= away")
        for task in self.tasks:
            if task not in TASKS:
                near = errors.did_you_mean(task, TASKS)
                raise errors.ConfigError(f"unknown task {task!r}{near}; tasks: {', '.join(TASKS)}, or all")

    def _check_source(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.source)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            usable = False
        if not usable or not self.source.isascii() or any(sign.isspace() or sign in "?#" for sign in self.source):
            raise errors.ConfigError(f"source={self.source!r} is no http(s) address; give https://<host>/<path>")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, always as a tuple, each once."""
        return TASKS if self.task == "all" else tuple(dict.fromkeys(schema.as_tuple(self.task)))
