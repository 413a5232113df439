"""Further training and nothing else: what a method's additional epochs give by themselves."""

import dataclasses
from typing import ClassVar

from rtc_bench.strategies import base
from rtc_bench.strategies.trained import adapted


@dataclasses.dataclass(frozen=True)
class Sft(adapted.Adapted):
    """Supervised fine-tuning on the policy's own objective, as long as the other methods train; naive execution."""

    training: ClassVar[base.TrainingStage | None] = base.TrainingStage("sft")

    def objective(self, policy, base_policy, batch, key):
        """Flow matching."""
        action = batch.action[:, : policy.config.horizon]
        return adapted.flow_matching_loss(policy, batch.obs[:, 0], action, key)

    def plan(self, policy, request, memory):
        """Plain sampling."""
        return self.sample(policy, request.obs, request.noise), memory
