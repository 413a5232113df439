"""The experts' network: Gaussian before squashing, tanh for motors and sigmoid for thrusters, and a value head."""

import distrax
import flax.linen as nn
import jax.numpy as jnp
from jax import Array

MEAN_LIMIT = 5.0  # of the mean before squashing


class ActorCritic(nn.Module):
    """Two MLPs with tanh units."""

    action_size: int
    width: int = 256
    depth: int = 2

    @nn.compact
    def __call__(self, features: Array) -> tuple[Array, Array, Array]:
        """Features [B, F] to mean [B, A] before squashing, log-std [A] and value [B]."""
        mean = self._mlp(features, self.action_size, 0.01)
        value = self._mlp(features, 1, 1.0)[:, 0]
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_size,))
        return jnp.clip(mean, -MEAN_LIMIT, MEAN_LIMIT), log_std, value

    def _mlp(self, x: Array, outputs: int, scale: float) -> Array:
        for _ in range(self.depth):
            x = nn.tanh(nn.Dense(self.width, kernel_init=nn.initializers.orthogonal(2**0.5))(x))
        return nn.Dense(outputs, kernel_init=nn.initializers.orthogonal(scale))(x)


def gaussian(mean: Array, log_std: Array) -> distrax.Distribution:
    """The distribution before squashing, over [B, A]."""
    return distrax.MultivariateNormalDiag(mean, jnp.broadcast_to(jnp.exp(log_std)[None], mean.shape))


def squash(raw: Array, motors: int) -> Array:
    """Raw actions [B, A] into bounds: the first ``motors`` by tanh to [-1, 1], the thrusters by sigmoid to [0, 1]."""
    return jnp.concatenate([distrax.Tanh().forward(raw[:, :motors]), distrax.Sigmoid().forward(raw[:, motors:])], -1)


def squashed_log_prob(distribution: distrax.Distribution, raw: Array, motors: int) -> Array:
    """Log-density [B] of the squashed action whose raw value is ``raw`` [B, A]. In a ratio the correction cancels."""
    tanh, sigmoid = distrax.Tanh(), distrax.Sigmoid()
    stretch = tanh.forward_log_det_jacobian(raw[:, :motors]).sum(-1)
    stretch += sigmoid.forward_log_det_jacobian(raw[:, motors:]).sum(-1)
    return distribution.log_prob(raw) - stretch
