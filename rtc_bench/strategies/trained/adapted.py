"""What methods share that train the policy on: low-rank adapters, delays to train for, tokens with a flow time each."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.common import errors
from rtc_bench.policies import flow, low_rank
from rtc_bench.strategies import base


@dataclasses.dataclass(frozen=True)
class Adapted(base.Strategy):
    """Acts by the policy with low-rank adapters, which its training stage fits to ``objective``."""

    rank: ClassVar[int] = 8
    takes_velocity: ClassVar[bool] = True

    def initial_weights(self, policy, key):
        """Adapters that change nothing."""
        if not (isinstance(policy.params, dict) and policy.params):
            raise errors.ConfigError(
                f"{type(self).__name__} trains adapters of a policy's params, and this policy shows none; give its object "
                "`params`, a dict of arrays, which may be nested"
            )
        return low_rank.init(key, policy.params, self.rank)

    def loss(self, policy, weights, batch, key):
        """The objective, of the adapted policy."""
        return self.objective(self.adapted(policy, weights), policy, batch, key)

    def objective(self, policy: flow.FlowPolicy, base_policy: flow.FlowPolicy, batch: base.Batch, key: Array) -> Array:
        """What the adapted ``policy`` is trained for, a number []."""
        raise NotImplementedError

    def prepare(self, policy):
        """The adapted policy."""
        return super().prepare(self.adapted(policy, self.weights(policy)))

    @staticmethod
    def adapted(policy: flow.FlowPolicy, weights: base.Weights) -> flow.FlowPolicy:
        """The policy with adapters added."""
        return policy.with_params(low_rank.apply(policy.params, weights))


def draw_delays(key: Array, count: int, horizon: int, *, falling: bool) -> Array:
    """Delays [K] int32 from 0 to H / 2, to train for: uniform, or likelier the shorter, as exp(H / 2 - d)."""
    largest = horizon // 2
    logits = jnp.arange(largest, -1, -1.0) if falling else jnp.zeros(largest + 1)
    return jax.random.categorical(key, logits, shape=(count,))


def flow_draws(key: Array, shape: tuple[int, int, int]) -> tuple[Array, Array]:
    """Flow times [K], uniform, and noise [K, H, A]."""
    time_key, noise_key = jax.random.split(key)
    return jax.random.uniform(time_key, shape[:1]), jax.random.normal(noise_key, shape)


def flow_matching_loss(policy: flow.FlowPolicy, obs: Array, action: Array, key: Array) -> Array:
    """The policy's own objective [] for chunks ``action`` [K, H, A] at raw ``obs`` [K, O]; see ``flow.loss``."""
    time, noise = flow_draws(key, action.shape)
    t = time[:, None, None]
    x_t = (1 - t) * noise + t * action
    return jnp.mean((policy.velocity(obs, x_t, time) - (action - noise)) ** 2)


def masked_mean(error: Array, counted: Array) -> Array:
    """Mean [] of ``error`` [K, H, A] over the steps that are ``counted`` [K, H] bool, and over actions."""
    counted = counted[..., None].astype(error.dtype)
    return (error * counted).sum() / (jnp.maximum(counted.sum(), 1) * error.shape[-1])
