"""The experts' network: the mean of a Gaussian, squashed by tanh for motors and sigmoid for thrusters, and a value head."""

import distrax
import flax.linen as nn
import jax.numpy as jnp
from jax import Array

MEAN_LIMIT = 5.0  # of the mean before squashing
LOG_STD = "log_std"  # the parameter's name


class ActorCritic(nn.Module):
    """Two MLPs with tanh units; perhaps with a standard deviation that is learned and the same in every state."""

    action_size: int
    width: int = 256
    depth: int = 2
    learned_std: bool = False

    @nn.compact
    def __call__(self, features: Array) -> tuple[Array, Array]:
        """Features [B, F] to mean [B, A] before squashing, and value [B]."""
        mean = self._mlp(features, self.action_size, 0.01)
        value = self._mlp(features, 1, 1.0)[:, 0]
        if self.learned_std:
            self.param(LOG_STD, nn.initializers.zeros, (self.action_size,))
        return jnp.clip(mean, -MEAN_LIMIT, MEAN_LIMIT), value

    def _mlp(self, x: Array, outputs: int, scale: float) -> Array:
        for _ in range(self.depth):
            x = nn.tanh(nn.Dense(self.width, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
        return nn.Dense(outputs, kernel_init=nn.initializers.orthogonal(scale))(x)


def gaussian(mean: Array, std: Array | float) -> distrax.Distribution:
    """The distribution before squashing, over [B, A]; ``std`` is one number or one for each action [A]."""
    return distrax.MultivariateNormalDiag(mean, jnp.broadcast_to(jnp.asarray(std, mean.dtype), mean.shape))


def squash(raw: Array, motor_count: int) -> Array:
    """Raw actions [B, A] into bounds: the first ``motor_count`` by tanh to [-1, 1], the thrusters by sigmoid to [0, 1]."""
    return jnp.concatenate(
        [distrax.Tanh().forward(raw[:, :motor_count]), distrax.Sigmoid().forward(raw[:, motor_count:])], -1
    )
