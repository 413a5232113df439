"""Bidirectional decoding (Liu et al. 2024, arXiv 2408.17355): sample many chunks, keep the one that fits best."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.common import errors, schema
from rtc_bench.strategies import base, prefix_weights


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


def select(
    chunks: Array, weak_chunks: Array | None, previous: Array, weights: Array, *, keep: int, counted: Array
) -> Array:
    """The sample [B, H, A] of least total loss. ``chunks``, ``weak_chunks`` [N, B, H, A]; without the latter, backward only.

    Distances are taken after scaling the action dimensions by ``counted`` [A].
    """
    scale = counted[None, None, None]
    scaled, previous = chunks * scale, previous * scale[0]
    losses = backward_loss(scaled, previous, weights)
    if weak_chunks is not None:
        weak = weak_chunks * scale
        strong_best, weak_best = _best(scaled, losses, keep), _best(weak, backward_loss(weak, previous, weights), keep)
        losses = losses + forward_loss(scaled, strong_best, weak_best)
    return _best(chunks, losses, 1)[0]


CPU_CHUNKS = 64  # that are sampled at a time


@dataclasses.dataclass(frozen=True)
class Bid(base.Strategy):
    """Backward coherence with the old chunk, and forward contrast to the policy's early checkpoint."""

    samples: int = 32  # N
    keep: int = 3  # K
    use_weak: bool = True  # contrast with the policy's early checkpoint
    dimensions: tuple[int, ...] | None = None  # of the action, that distances count; null: all. Leave out idle ones

    def __post_init__(self):
        super().__post_init__()
        schema.at_least(self, samples=1, keep=1)
        if self.keep > self.samples:
            raise errors.ConfigError(f"keep={self.keep} of samples={self.samples}; it must be from 1 to samples")
        if self.dimensions == ():
            raise errors.ConfigError("dimensions=[] counts nothing; name some of the action's, or null for all")

    @property
    def needs(self):
        """Also the early checkpoint, for the contrast."""
        return ("early checkpoint",) * self.use_weak + super().needs

    def check(self, policy):
        """The contrast needs an early checkpoint; counted dimensions must exist."""
        if self.use_weak and policy.weak is None:
            raise errors.ConfigError(
                "bid contrasts with an early checkpoint, and this policy holds none; "
                "use strategy=bid_no_weak, or a policy trained by `train-flow`"
            )
        actions = policy.config.action_size
        for dimension in self.dimensions or ():
            if dimension not in range(actions):
                raise errors.ConfigError(
                    f"dimensions={list(self.dimensions)} names {dimension}; this policy's are 0 to {actions - 1}"
                )

    def plan(self, policy, request, memory):
        """Sample 0 starts from the noise every strategy gets, the others from noise of their own."""
        _, size, actions = request.previous.shape

        def own_noise(key: Array) -> Array:
            return jax.random.normal(key, (self.samples - 1, size, actions))

        noise = jnp.concatenate([request.noise[None], jax.vmap(own_noise, out_axes=1)(request.key)])
        chunks = self._chunks(policy, request.obs, noise)
        weak_chunks = None
        if self.use_weak:
            weak_chunks = self._chunks(policy.weak_policy(), request.obs, noise)
        weights = prefix_weights.prefix_weights(request.delay, size - request.horizon, size, "exp")
        counted = self._counted(actions)
        return select(chunks, weak_chunks, request.previous, weights, keep=self.keep, counted=counted), memory

    def _chunks(self, policy, obs: Array, noise: Array) -> Array:
        """A chunk for each noise [N, B, H, A]. A CPU takes few samples at a time, so that they stay in its cache."""
        divisor = math.gcd(self.samples, max(1, CPU_CHUNKS // len(obs)))
        samples_at_once = divisor if jax.default_backend() == "cpu" else self.samples
        embedded = jax.tree.map(lambda leaf: jnp.tile(leaf, (samples_at_once, 1)), policy.embedded(obs))
        groups = noise.reshape(-1, samples_at_once * len(obs), *noise.shape[2:])
        return jax.lax.map(lambda group: self.sample(policy, embedded, group), groups).reshape(noise.shape)

    def _counted(self, actions: int) -> Array:
        """[A], 1 for the action dimensions that distances count."""
        dimensions = range(actions) if self.dimensions is None else self.dimensions
        return jnp.zeros(actions).at[jnp.array(dimensions)].set(1.0)
