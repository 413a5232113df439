"""What training stages would do for a task, and what that takes: seconds where the settings are such as were measured."""

from typing import Any

import jax

from rtc_bench.common import costs
from rtc_bench.training import expert_data, expert_training, flow_training, settings

EXPERT_SIZES = ("envs", "rollout", "minibatches", "epochs", "width", "history")  # settings that decide a step's cost
FLOW_SIZES = ("horizon", "layers", "channels", "channel_hidden", "token_hidden", "batch")


def _as_measured(config: Any, names: tuple[str, ...]) -> bool:
    """The defaults are what was measured."""
    return all(getattr(config, name) == getattr(type(config), name) for name in names)


def _seconds(config: Any, names: tuple[str, ...], value: float | None, amount: float) -> float | None:
    """Of so many times what was measured, and a program; None for other settings than were measured."""
    compiling = costs.value("compile", config.task)
    if value is None or compiling is None or not _as_measured(config, names):
        return None
    seconds = costs.scaled(value * amount)
    return None if seconds is None else seconds + compiling


def experts(config: settings.TrainExpertConfig) -> costs.Part:
    """Of one task. Seeds run side by side, one on each device; an odd one leaves the others idle."""
    seeds = expert_training.unfinished_seeds(config)
    steps = sum(config.steps - expert_training.steps_trained(config, seed) for seed in seeds)
    at_once = min(config.seeds, jax.device_count())
    idle = -(-len(seeds) // at_once) * jax.device_count() / len(seeds) if seeds else 1.0
    seconds = _seconds(config, EXPERT_SIZES, costs.value("expert", config.task), steps / 1e6 * idle)
    return costs.Part(config.task, config.seeds, len(seeds), seconds)


def data(config: settings.GenerateDataConfig) -> costs.Part:
    """Of one task. Raises as ``expert_data.recipe`` does."""
    missing = not expert_data.recipe(config).is_recorded
    seconds = _seconds(config, (), costs.value("record", config.task), config.steps / 1e5)
    return costs.Part(config.task, 1, int(missing), seconds)


def flow(config: settings.TrainFlowConfig) -> costs.Part:
    """Of one task. Raises as ``flow_training.stand`` does."""
    stand = flow_training.stand(config)
    amount = stand.steps / 1e5 * (config.epochs - stand.epochs)
    seconds = _seconds(config, FLOW_SIZES, costs.value("epoch", ""), amount)
    return costs.Part(config.task, 1, int(not stand.is_finished), seconds)
