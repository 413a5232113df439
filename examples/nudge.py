"""A strategy that learns, in one file: a linear head nudges each action by what is seen just before it is executed.

It shows a training stage, and loses to naive execution: the data's action is another draw than the sampled chunk, so
that the head learns to move towards the mean of all experts. Train it, then try it:

python scripts/train_method.py strategy=examples/nudge.py:Nudge task=mjc_swimmer
python scripts/compare.py strategy=examples/nudge.py:Nudge task=mjc_swimmer
"""

import jax
import jax.numpy as jnp

from rtc_bench.strategies import base, naive


class Nudge(naive.Naive):
    """Naive chunks, each action of which moves by a linear function of itself and the present observation."""

    training = base.TrainingStage("nudge", epochs=1)  # "nudge" names the weights

    def initial_weights(self, policy, key):
        """No nudge."""
        observed, actions = policy.config.obs_size, policy.config.action_size
        return {"kernel": jnp.zeros((observed + actions, actions)), "bias": jnp.zeros((1, actions))}

    def loss(self, policy, weights, batch, key):
        """Sample a chunk at the first step; nudge its actions, each seeing its own step, towards the data's of that step."""
        data = batch.action[:, : policy.config.horizon]  # [K, H, A]
        chunk = self.sample(policy, batch.obs[:, 0], jax.random.normal(key, data.shape))
        obs, chunk, data = (values.reshape(-1, values.shape[-1]) for values in (batch.obs, chunk, data))
        error = (self.nudged(policy, weights, obs, chunk) - data) ** 2
        inside = batch.inside.reshape(-1, 1)  # past the episode's end there is nothing to learn
        return error.mean(where=inside)

    def correct(self, policy, obs, action, index, memory):
        """Called before each action [B, A] is executed."""
        return self.nudged(policy, self.weights(policy), obs, action)

    def nudged(self, policy, weights, obs, action):
        """Actions [B, A] at observations [B, O]."""
        seen = jnp.concatenate([policy.normalised(obs), action], -1)
        return action + seen @ weights["kernel"] + weights["bias"]
