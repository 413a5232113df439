"""A flow policy of data from elsewhere: it plans in normalised actions, and this gives its chunks in the data's units.

The noise that a flow begins with has unit variance, so such a policy learned actions less their mean, over their standard
deviation. Strategies plan, inpaint and blend in these as they do for our own tasks; who drives the robot turns chunks into
the data's units, and back.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from rtc_bench.policies import checkpoint, flow, sampling

INTERFACE = "lerobot"  # in the header's place of compact and kinetix, so that no task of ours plays such a policy


class NormalisedPolicy(NamedTuple):
    """A policy in normalised actions, and their units."""

    policy: flow.FlowPolicy  # takes raw observations [B, O]
    action_mean: Array  # [A], in the data's units
    action_std: Array  # [A]

    def normalised(self, chunk: Array) -> Array:
        """A chunk [B, H, A] in the data's units, as the policy has it."""
        return (chunk - self.action_mean[None, None]) / self.action_std[None, None]

    def in_data_units(self, chunk: Array) -> Array:
        """The inverse of ``normalised``."""
        return chunk * self.action_std[None, None] + self.action_mean[None, None]

    def sample(self, obs: Array, noise: Array, *, flow_steps: int = 5) -> Array:
        """Chunks [B, H, A] in the data's units, for observations [B, O] and noise [B, H, A] of unit variance."""
        modulations = self.policy.time_modulations(flow_steps)
        chunk = sampling.euler(lambda x_t, time: self.policy.velocity(obs, x_t, time), noise, modulations)
        return self.in_data_units(chunk)


def header(mean: np.ndarray, std: np.ndarray) -> dict[str, list[float]]:
    """What a checkpoint's header says of the actions' units [A]."""
    return {"mean": mean.tolist(), "std": std.tolist()}


def load(path: checkpoint.Path) -> NormalisedPolicy:
    """The policy of a checkpoint that ``train-flow`` made of a LeRobot data set. Raises CheckpointError for others."""
    card = checkpoint.read_header(path)
    if card.get("interface") != INTERFACE:
        raise checkpoint.CheckpointError(
            f"{path}: made for interface {card.get('interface')!r}, whose actions are not normalised; load it with "
            "checkpoint.load_flow, or give a policy of a LeRobot data set"
        )
    try:
        sizes = {name: card["config"][name] for name in ("obs_size", "action_size")}
        units = {name: jnp.asarray(card["action"][name], jnp.float32) for name in ("mean", "std")}
        task = card["task"]
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"{path}: its header is damaged ({error!r}); train it again") from None
    policy, _ = checkpoint.load_flow(path, task=task, interface=INTERFACE, **sizes)
    if any(unit.shape != (policy.config.action_size,) for unit in units.values()):
        raise checkpoint.CheckpointError(f"{path}: its header has no units for each action; train it again")
    return NormalisedPolicy(policy, units["mean"], units["std"])
