"""A strategy that learns, in one file: a linear head nudges each action by what is seen just before it is executed.

It shows a training stage, and is no good method: the data's action is another expert's answer than the sampled chunk, so
that the head learns to move towards their mean. Train it, then try it:

python scripts/train_method.py strategy=examples/nudge.py:Nudge task=mjc_swimmer
python scripts/compare.py strategy=examples/nudge.py:Nudge task=mjc_swimmer
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from rtc_bench.strategies import base, naive


@dataclasses.dataclass(frozen=True)
class Nudge(naive.Naive):
    """Naive chunks, each action of which moves by a linear function of itself and the present observation."""

    share: float = 1.0  # of the nudge that is executed
    training: ClassVar = base.TrainingStage("nudge", epochs=1)  # "nudge": the name of the weights

    def initial_weights(self, policy, key):
        """No nudge."""
        observed, actions = policy.config.obs_size, policy.config.action_size
        return {"kernel": jnp.zeros((observed + actions, actions)), "bias": jnp.zeros((1, actions))}

    def loss(self, policy, weights, batch, key):
        """``batch`` holds moments of the data and the H - 1 steps after each: a chunk is sampled at the moment, and each of
        its actions nudged by the observation of its own step, towards the data's action of that step.
        """
        noise = jax.random.normal(key, batch.action[:, : policy.config.horizon].shape)
        chunk = self.sample(policy, batch.obs[:, 0], noise)  # [K, H, A]
        inside = batch.inside.reshape(-1)  # the step is of the moment's episode
        obs, sampled, action = (
            values[:, : chunk.shape[1]].reshape(len(inside), -1) for values in (batch.obs, chunk, batch.action)
        )
        error = (sampled + nudge(policy, weights, obs, sampled) - action) ** 2
        return (error.mean(1) * inside).sum() / inside.sum()

    def correct(self, policy, obs, action, index, memory):
        """Called before each action [B, A] is executed."""
        return action + self.share * nudge(policy, self.weights(policy), obs, action)


def nudge(policy, weights, obs, action):
    """What is added to actions [B, A] at observations [B, O]."""
    return jnp.concatenate([policy.normalised(obs), action], -1) @ weights["kernel"] + weights["bias"]
