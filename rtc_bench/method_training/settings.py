"""Settings of the training stages that strategies have."""

import dataclasses
from typing import Any, ClassVar

from rtc_bench.common import errors, schema
from rtc_bench.launching import settings as launching


@dataclasses.dataclass(frozen=True)
class TrainMethodConfig(schema.Settings):
    """What strategies learn for a policy; what is null is as each strategy's own stage says."""

    DRY_RUN: ClassVar[bool] = True

    task: Any  # a name, a list, or all
    strategy: str | tuple[str, ...] = "all"  # of those named above, file.py:Class, package.module:Class, a list, or all
    policy: str = "zoo"  # the policy they learn for: zoo, a checkpoint, or a folder of <task>.safetensors
    data: str = "data"  # folder that `generate-data` filled
    experts: str = "runs/experts"  # folder that `train-expert` filled; for those that learn from roll-outs
    rollout_steps: int = 262_144  # control steps of roll-outs, at least
    epochs: int | None = None  # passes over the data or roll-outs; null: as each strategy's own stage says
    batch: int | None = None  # moments an update; null: likewise
    learning_rate: float | None = None  # null: likewise
    noise_std: float = 0.1  # actuation noise, of roll-outs
    seed: int = 0
    options: dict = dataclasses.field(default_factory=dict)  # strategy name -> its settings
    out: str = "runs/methods"
    launcher: launching.LauncherConfig = dataclasses.field(default_factory=launching.LauncherConfig)

    def __post_init__(self):
        schema.at_least(self, rollout_steps=1, noise_std=0)
        for name in ("epochs", "batch"):
            if getattr(self, name) is not None:
                schema.at_least(self, **{name: 1})
        if self.learning_rate is not None:
            schema.above(self, learning_rate=0)
        schema.check_seed(self.seed)
        if not self.strategies:
            raise errors.ConfigError("strategy=[] is empty; name one or more, or all")

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies, always as a tuple."""
        return schema.as_tuple(self.strategy)
