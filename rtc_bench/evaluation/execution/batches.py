"""Episodes of a batch moved about, and planned in parts or one by one.

``run.state`` has the batch as its last axis, all else as its first.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.policies import flow
from rtc_bench.strategies import base

Episodes = Any  # the evaluator's carry, with ``run.state``
PART = 4  # episodes that a CPU plans at a time: as fast each as many, and few are planned in vain
OF_EPISODES = ("obs", "previous", "noise", "key", "ahead")  # what a request holds for each episode
NUMBERS = ("delay", "horizon")  # what it holds for all of them; or, where delays vary, for each


def plan_alive(
    strategy: base.Strategy, policy: flow.FlowPolicy, request: base.Request, memory: base.Memory, alive: Array
) -> tuple[Array, base.Memory]:
    """The strategy's plan for the first ``alive`` episodes, and some more: a CPU asks a network of ours in parts.

    ``request.delay`` and ``request.horizon`` are [], or [B] where delays vary.
    """
    batch, part = request.obs.shape[0], PART
    if batch % part or jax.default_backend() != "cpu" or not isinstance(policy, flow.FlowPolicy):
        return _plan(strategy, policy, request, memory)
    names = (*OF_EPISODES, *NUMBERS) if request.delay.ndim else OF_EPISODES

    def part_of(tree: Any, index: Array) -> Any:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * part, part), tree)

    def plan_part(index: Array, planned: tuple) -> tuple:
        fields = {name: part_of(getattr(request, name), index) for name in names}
        new = _plan(strategy, policy, request._replace(**fields), part_of(planned[1], index))
        update = jax.lax.dynamic_update_slice_in_dim
        return jax.tree.map(lambda whole, leaf: update(whole, leaf, index * part, 0), planned, new)

    return jax.lax.fori_loop(0, (alive + part - 1) // part, plan_part, (jnp.zeros_like(request.previous), memory))


def _plan(
    strategy: base.Strategy, policy: flow.FlowPolicy, request: base.Request, memory: base.Memory
) -> tuple[Array, base.Memory]:
    if not request.delay.ndim:
        return strategy.plan(policy, request, memory)

    def plan(fields: dict[str, Any], memory: base.Memory) -> tuple[Array, base.Memory]:
        """Of one episode, as a batch of one: so a strategy's delay and horizon are numbers [], whatever the others' are."""
        own = {name: value if name in NUMBERS else _batch_of_one(value) for name, value in fields.items()}
        return _only(strategy.plan(policy, request._replace(**own), _batch_of_one(memory)))

    return jax.vmap(plan)({name: getattr(request, name) for name in (*OF_EPISODES, *NUMBERS)}, memory)


def correct_each(method: Any, obs: Array, action: Array, place: Array, memory: base.Memory) -> Array:
    """A strategy's ``correct`` where the place in the chunk [B] differs between episodes."""

    def correct(obs: Array, action: Array, place: Array, memory: base.Memory) -> Array:
        return method(obs[None], action[None], place, _batch_of_one(memory))[0]

    return jax.vmap(correct)(obs, action, place, memory)


def _batch_of_one(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _only(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


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


def where_run(mask: Array, then: Any, otherwise: Any) -> Any:
    """Of two runs, episode by episode, ``then`` where ``mask`` [B]; ``state`` has the batch as its last axis."""

    def choose(a: Array, b: Array, axis: int) -> Array:
        return jnp.where(jnp.expand_dims(mask, [i for i in range(a.ndim) if i != axis % a.ndim]), a, b)

    state = jax.tree.map(lambda a, b: choose(a, b, -1), then.state, otherwise.state)
    rest = (run._replace(state=None) for run in (then, otherwise))
    return jax.tree.map(lambda a, b: choose(a, b, 0), *rest)._replace(state=state)


def _without_state(episodes: Episodes) -> Episodes:
    return _with_state(episodes, None)


def _with_state(episodes: Episodes, state) -> Episodes:
    return episodes._replace(run=episodes.run._replace(state=state))
