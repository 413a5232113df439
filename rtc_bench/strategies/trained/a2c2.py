"""A2C2 (Saito et al. 2025, arXiv 2509.23224): a small head corrects every action by what is seen when it is executed."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import flow
from rtc_bench.strategies import base, naive
from rtc_bench.strategies.trained import adapted

WIDTH = 256  # units of both hidden layers (published: 512)
STAGE = base.TrainingStage(
    "a2c2",
    source=base.ROLLOUTS,
    epochs=16,
    batch=64,  # chunks, each with H actions
    weight_decay=1e-3,
    warmup=500,
    gradient_clip=5.0,
)


def correction(weights: base.Weights, obs: Array, action: Array, place: Array) -> Array:
    """What the head adds [B, A] to actions [B, A], from normalised observations [B, O] and the index's phase [B, 2]."""
    x = jnp.concatenate([obs, action, place], -1)
    for name in ("first", "second"):
        x = _dense(weights[name], x)
        x = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)
        x = jax.nn.relu(x * weights[name]["scale"][None] + weights[name]["shift"][None])
    return _dense(weights["last"], x)


def _dense(layer: base.Weights, x: Array) -> Array:
    return x @ layer["kernel"] + layer["bias"][None]


def phase(index: Array, horizon: int) -> Array:
    """(cos, sin) of 2 pi k / H for indices k [...]: [..., 2]."""
    angle = 2 * jnp.pi * index.astype(jnp.float32) / horizon
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


@dataclasses.dataclass(frozen=True)
class A2c2(naive.Naive):
    """Naive chunks, and a head that sees the present observation. So it plans anew at every control step, without delay:
    what the head solves without the chunks is ``a2c2_alone``.

    Learns from roll-outs of the policy what a good expert would have done in the states that they visit.
    """

    training: ClassVar[base.TrainingStage | None] = STAGE
    sees_chunk: ClassVar[bool] = True

    def initial_weights(self, policy, key):
        """Two layers of LayerNorm and ReLU; the last layer begins at 0, so that nothing is corrected yet."""
        actions = policy.config.action_size
        sizes = {"first": policy.config.obs_size + actions + 2, "second": WIDTH}
        weights: base.Weights = {
            name: {
                "kernel": jax.random.normal(layer_key, (size, WIDTH)) * (2 / size) ** 0.5,
                "bias": jnp.zeros(WIDTH),
                "scale": jnp.ones(WIDTH),
                "shift": jnp.zeros(WIDTH),
            }
            for layer_key, (name, size) in zip(jax.random.split(key), sizes.items(), strict=True)
        }
        return {**weights, "last": {"kernel": jnp.zeros((WIDTH, actions)), "bias": jnp.zeros(actions)}}

    def loss(self, policy, weights, batch, key):
        """Mean squared error of all corrected actions of the chunks."""
        count, horizon, _ = batch.chunk.shape
        index = jnp.broadcast_to(jnp.arange(horizon)[None], (count, horizon)).reshape(-1)

        def flat(values: Array) -> Array:
            return values[:, :horizon].reshape(count * horizon, -1)

        corrected = self._corrected(policy, weights, flat(batch.obs), flat(batch.chunk), index)
        error = (corrected - flat(batch.action)) ** 2
        return adapted.masked_mean(error.reshape(batch.chunk.shape), batch.inside)

    def correct(self, policy, obs, action, index, memory):
        """The head's correction."""
        return self._corrected(policy, self.weights(policy), obs, action, jnp.broadcast_to(index, obs.shape[:1]))

    def _corrected(
        self, policy: flow.FlowPolicy, weights: base.Weights, obs: Array, action: Array, index: Array
    ) -> Array:
        place = phase(index, policy.config.horizon)
        if not self.sees_chunk:
            action, place = jnp.zeros_like(action), jnp.zeros_like(place)
        return action + correction(weights, policy.normalised(obs), action, place)


@dataclasses.dataclass(frozen=True)
class A2c2Alone(A2c2):
    """The head without its chunks: a reactive policy of the same size, trained on the same states and answers."""

    training: ClassVar[base.TrainingStage | None] = dataclasses.replace(STAGE, name="a2c2_alone")
    sees_chunk: ClassVar[bool] = False
