"""Bidirectional decoding (Liu et al. 2024, arXiv 2408.17355): sample many chunks, keep the one that fits best."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.strategies import base
from rtc_bench.strategies import prefix_weights as weighting


def backward_loss(chunks: Array, previous: Array, weights: Array) -> Array:
    """How far each sample strays from the old chunk: [N, B] for ``chunks`` [N, B, H, A], ``previous`` [B, H, A]."""
    distance = jnp.linalg.norm(chunks - previous[None], axis=-1)  # [N, B, H]
    return (distance * weights[None, None]).sum(-1)


def forward_loss(chunks: Array, strong: Array, weak: Array) -> Array:
    """Close to the strong policy's good samples, far from the weak one's: [N, B]; ``strong``, ``weak`` [K, B, H, A].

    Divided by the number of samples, as the published benchmark does.
    """

    def total(references: Array) -> Array:
        gaps = chunks[:, None] - references[None]  # [N, K, B, H, A]
        return jnp.linalg.norm(gaps, axis=-1).sum(-1).sum(1)

    return (total(strong) - total(weak)) / chunks.shape[0]


def _best(chunks: Array, losses: Array, count: int) -> Array:
    """The ``count`` chunks of least loss, for each episode: [count, B, H, A]."""
    order = jnp.argsort(losses, axis=0)[:count]
    return jnp.take_along_axis(chunks, order[:, :, None, None], axis=0)


def select(chunks: Array, weak_chunks: Array | None, previous: Array, weights: Array, *, keep: int) -> Array:
    """The sample [B, H, A] of least total loss. ``chunks``, ``weak_chunks`` [N, B, H, A]; without the latter, backward only."""
    losses = backward_loss(chunks, previous, weights)
    if weak_chunks is not None:
        weak_losses = backward_loss(weak_chunks, previous, weights)
        losses = losses + forward_loss(chunks, _best(chunks, losses, keep), _best(weak_chunks, weak_losses, keep))
    return _best(chunks, losses, 1)[0]


@dataclasses.dataclass(frozen=True)
class Bid(base.Strategy):
    """Backward coherence with the old chunk, and, if the policy holds an early checkpoint, forward contrast to it."""

    samples: int = 32  # N
    keep: int = 3  # K
    use_weak: bool = True  # contrast with the policy's early checkpoint, where it has one

    def __post_init__(self):
        if not 1 <= self.keep <= self.samples:
            raise ValueError(f"keep={self.keep} of {self.samples} samples; it must be from 1 to samples")

    def plan(self, policy, request, memory):
        """Sample 0 starts from the noise every strategy gets, the others from noise of their own."""
        _, size, actions = request.previous.shape

        def more(key: Array) -> Array:
            return jax.random.normal(key, (self.samples - 1, size, actions))

        noise = jnp.concatenate([request.noise[None], jax.vmap(more, out_axes=1)(request.key)])
        flat = noise.reshape(-1, size, actions)
        obs = jnp.tile(request.obs, (self.samples, 1))
        chunks = self.sample(policy, obs, flat).reshape(noise.shape)
        weak_chunks = None
        if self.use_weak and policy.weak is not None:
            weak_chunks = self.sample(policy.weak_policy(), obs, flat).reshape(noise.shape)
        weights = weighting.prefix_weights(request.delay, size - request.horizon, size, "exp")
        return select(chunks, weak_chunks, request.previous, weights, keep=self.keep), memory
