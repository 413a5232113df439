"""A policy of another framework: a transformer over the chunk's actions, in flax, trained by flow matching with optax.

Train it (two minutes on two CPU cores; needs data/mjc_swimmer: make data), then sweep it:

python examples/flax_policy.py mjc_swimmer
python scripts/sweep.py task=mjc_swimmer policy=examples/flax_policy.py:load 'strategy=[naive,rtc]'

What a policy must offer stands in policies/foreign.py. Nothing here is derived from a class of rtc_bench.
"""

import dataclasses
import functools
import pathlib
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_data

HORIZON, WIDTH, BLOCKS, HEADS = 8, 64, 2, 4
UPDATES, BATCH, LEARNING_RATE = 3000, 256, 1e-3
FOLDER = pathlib.Path("runs/flax")


class Transformer(nn.Module):
    """A token for each action; observation and flow time are added to all of them."""

    @nn.compact
    def __call__(self, obs, x_t, time):
        """Observations [B, O], noisy chunks [B, H, A] and flow time [B] or [B, H] to velocities [B, H, A]."""
        time = jnp.broadcast_to(time.reshape(len(x_t), -1), x_t.shape[:2])  # [B, H]
        waves = time[..., None] * jnp.pi * 2.0 ** jnp.arange(8)[None, None]
        tokens = nn.Dense(WIDTH)(x_t) + nn.Dense(WIDTH)(nn.silu(nn.Dense(4 * WIDTH)(obs)))[:, None]
        tokens += nn.Dense(WIDTH)(jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], -1))
        tokens += self.param("place", nn.initializers.normal(0.1), (HORIZON, WIDTH))[None]
        for _ in range(BLOCKS):
            tokens += nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(tokens))
            tokens += nn.Dense(WIDTH)(nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(tokens))))
        return nn.Dense(x_t.shape[-1], kernel_init=nn.initializers.zeros)(nn.LayerNorm()(tokens))


@dataclasses.dataclass(frozen=True)
class FlaxPolicy:
    """What rtc_bench asks for: a horizon, a velocity, and the parameters that it takes."""

    params: dict[str, Any]
    horizon: int = HORIZON

    def velocity(self, params, obs, x_t, time):
        """Raw observations; they are normalised here."""
        obs = (obs - params["obs_mean"][None]) / params["obs_std"][None]
        return Transformer().apply(params["network"], obs, x_t, time)


def load(task: str) -> FlaxPolicy:
    """The policy that was trained for a task. Raises FileNotFoundError."""
    path = FOLDER / f"{task}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"no {path}; train it: python examples/flax_policy.py {task}")
    return FlaxPolicy(checkpoint.load(path, kind="flax")[0])


def train(task: str) -> None:
    """Fit the velocity of straight paths from noise to the data's chunks, and save it."""
    data, _ = expert_data.load("data", task)
    obs, action = jnp.asarray(data.obs), jnp.asarray(data.action)
    end = jnp.asarray(expert_data.episode_ends(data.episode))
    params = {"obs_mean": obs.mean(0), "obs_std": jnp.maximum(obs.std(0), 1e-2)}
    chunk = jnp.zeros((1, HORIZON, action.shape[1]))
    params["network"] = Transformer().init(jax.random.key(0), obs[:1], chunk, jnp.zeros(1))
    fixed = {name: jnp.array(params[name]) for name in ("obs_mean", "obs_std")}
    optimiser = optax.adamw(optax.cosine_decay_schedule(LEARNING_RATE, UPDATES))

    def loss(network, key):
        keys = jax.random.split(key, 3)
        index = jax.random.randint(keys[0], (BATCH,), 0, len(obs))
        chunks = expert_data.action_chunks(action, end, index, horizon=HORIZON)
        noise, time = jax.random.normal(keys[1], chunks.shape), jax.random.uniform(keys[2], (BATCH,))
        x_t = (1 - time[:, None, None]) * noise + time[:, None, None] * chunks
        velocity = FlaxPolicy({}).velocity({**fixed, "network": network}, obs[index], x_t, time)
        return jnp.mean((velocity - (chunks - noise)) ** 2)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def updates(network, state, keys):
        def update(carry, key):
            value, gradient = jax.value_and_grad(loss)(carry[0], key)
            change, state = optimiser.update(gradient, carry[1], carry[0])
            return (optax.apply_updates(carry[0], change), state), value

        return jax.lax.scan(update, (network, state), keys)

    state, key = optimiser.init(params["network"]), jax.random.key(1)
    for part in range(10):
        keys = jax.random.split(jax.random.fold_in(key, part), UPDATES // 10)
        (params["network"], state), losses = updates(params["network"], state, keys)
        print(f"{(part + 1) * len(keys)} of {UPDATES} updates, loss {losses.mean():.4f}", flush=True)
    checkpoint.save(FOLDER / f"{task}.safetensors", params, {"kind": "flax", "task": task})


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("error: name a task: python examples/flax_policy.py mjc_swimmer")
    for task in sys.argv[1:]:
        train(task)
