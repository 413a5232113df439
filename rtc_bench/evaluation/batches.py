"""Episodes of a batch moved about, and planned in parts. ``run.state`` has the batch as its last axis, all else as its first."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import flow
from rtc_bench.strategies import base

Episodes = Any  # the evaluator's carry, with ``run.state``
OF_EPISODES = ("obs", "previous", "noise", "key", "ahead")  # what a request holds for each episode


def plan_alive(
    strategy: base.Strategy, policy: flow.FlowPolicy, request: base.Request, memory: base.Memory, alive: Array
) -> tuple[Array, base.Memory]:
    """The strategy's plan for the first ``alive`` episodes, and some more: in parts, where the strategy says so."""
    batch, part = request.obs.shape[0], strategy.part
    if part is None or batch % part or jax.default_backend() != "cpu":
        return strategy.plan(policy, request, memory)

    def part_of(tree: Any, index: Array) -> Any:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * part, part), tree)

    def plan_part(index: Array, planned: tuple) -> tuple:
        fields = {name: part_of(getattr(request, name), index) for name in OF_EPISODES}
        new = strategy.plan(policy, request._replace(**fields), part_of(planned[1], index))
        update = jax.lax.dynamic_update_slice_in_dim
        return jax.tree.map(lambda whole, leaf: update(whole, leaf, index * part, 0), planned, new)

    return jax.lax.fori_loop(0, (alive + part - 1) // part, plan_part, (jnp.zeros_like(request.previous), memory))


def take(episodes: Episodes, index: Array) -> Episodes:
    """The episodes at ``index``."""
    state = jax.tree.map(lambda leaf: leaf[..., index], episodes.run.state)
    return _with_state(jax.tree.map(lambda leaf: leaf[index], _without_state(episodes)), state)


def put(episodes: Episodes, index: Array, new: Episodes) -> Episodes:
    """``episodes`` with those at ``index``, a run of neighbours, replaced."""

    def update(old: Array, new: Array, axis: int) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, index[0], axis)

    state = jax.tree.map(lambda a, b: update(a, b, a.ndim - 1), episodes.run.state, new.run.state)
    rest = jax.tree.map(lambda a, b: update(a, b, 0), _without_state(episodes), _without_state(new))
    return _with_state(rest, state)


def _without_state(episodes: Episodes) -> Episodes:
    return _with_state(episodes, None)


def _with_state(episodes: Episodes, state) -> Episodes:
    return episodes._replace(run=episodes.run._replace(state=state))
