"""Temporal ensembling (Zhao et al. 2023, arXiv 2304.13705): average all chunks that predict a control step."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.common import errors
from rtc_bench.strategies import base

LARGEST_M = 100.0  # beyond, the weights of two chunks cannot be compared in float32


class ChunkStore(NamedTuple):
    """The last H chunks, the newest first in slot 0, each shifted so that index 0 is the step of the last request."""

    chunk: Array  # [B, H, H, A]: slot, step
    known: Array  # [B, H, H] bool: the slot's chunk predicts this step
    age: Array  # [B, H] int32, control steps since the slot's chunk was asked for


@dataclasses.dataclass(frozen=True)
class TemporalEnsembling(base.Strategy):
    """A chunk asked for at step t takes part in the average from step t + d on.

    The executed plan is the average; its first d steps were fixed at the last request, before this chunk was there, which
    is what the timeline of execution does with any answer::

        step      t      t+1     t+2     t+3       d = 2, s = 2
        asked at
        t-2       x      x       x       x
        t         .      .       x       x         not there yet at t, t+1
        executed  mean of the x in each column

    The chunk that executes when an episode begins is the answer to its first request (same observation, same noise) and
    is counted once.
    """

    m: float = 0.0  # ACT's: weight exp(-m * i), i control steps after the oldest; 0 is the plain mean

    def __post_init__(self):
        super().__post_init__()
        if abs(self.m) > LARGEST_M:
            raise errors.ConfigError(f"m={self.m} is out of range; give a number from -{LARGEST_M:g} to {LARGEST_M:g}")

    def init(self, policy, batch):
        """An empty store."""
        size, actions = policy.config.horizon, policy.config.action_size
        known, age = jnp.zeros((batch, size, size), bool), jnp.zeros((batch, size), jnp.int32)
        return ChunkStore(jnp.zeros((batch, size, size, actions)), known, age)

    def plan(self, policy, request, memory):
        """Add the new chunk to the store and average; what the store forgets is past its end at any ``s >= 1``."""
        new = self.sample(policy, request.obs, request.noise)
        batch, size, _ = new.shape
        store = _later(memory, request.horizon)
        chunks = ChunkStore(
            jnp.concatenate([new[:, None], store.chunk[:, :-1]], 1),
            jnp.concatenate([jnp.ones((batch, 1, size), bool), store.known[:, :-1]], 1),
            jnp.concatenate([jnp.zeros((batch, 1), jnp.int32), store.age[:, :-1]], 1),
        )
        logits = self.m * chunks.age.astype(jnp.float32)  # up to a constant, which the normalisation takes out
        weights = jax.nn.softmax(jnp.where(chunks.known, logits[:, :, None], -jnp.inf), 1)  # [B, slot, step]
        return (weights[..., None] * chunks.chunk).sum(1), chunks


def _later(store: ChunkStore, steps: Array) -> ChunkStore:
    """The store ``steps`` [] control steps later."""
    size = store.chunk.shape[2]
    later = jnp.arange(size) + steps
    index = jnp.minimum(later, size - 1)
    known = store.known[:, :, index] & (later < size)[None, None]
    return ChunkStore(jnp.take(store.chunk, index, axis=2), known, store.age + steps)
