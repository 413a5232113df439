"""A task with an obvious solution, for tests of search and training: a point on a track with a goal to the right."""

import jax
import jax.numpy as jnp
import numpy as np

from rtc_bench.envs import task_env


class Track:
    """Seven observed numbers, of which two vary. Solved right of +3, failed left of -1; the action is the velocity."""

    interface, obs_size, action_size, max_steps = "compact", 7, 1, 40
    action_low, action_high = np.array([-1.0], np.float32), np.array([1.0], np.float32)
    control_dt = 1 / 30
    own = np.arange(7) == 0

    def __init__(self, noise_std=0.0, start=0.0, start_std=0.0, name="track"):
        self.noise_std, self.start, self.start_std, self.name = noise_std, start, start_std, name

    @property
    def signature(self):
        return {name: getattr(self, name) for name in ("interface", "obs_size", "action_size")} | {"task": self.name}

    def reset(self, key, batch):
        key = key if key.ndim == 0 else key[0]
        start = self.start + self.start_std * jax.random.normal(key, (1, batch))
        state = task_env.State(start, jnp.zeros(batch, jnp.int32))
        return self.observe(state), state

    def observe(self, state):
        rest = jnp.zeros((state.sim.shape[-1], 6))
        return jnp.concatenate([state.sim.T, rest], 1)

    def distance(self, state):
        return 3.0 - state.sim[0]

    def step(self, key, state, action):
        if self.noise_std:
            keys = jax.random.split(key, len(action)) if key.ndim == 0 else key
            noise = jax.vmap(lambda episode_key: jax.random.normal(episode_key, action.shape[1:]))(keys)
            action = action + self.noise_std * noise
        position = state.sim + 0.25 * jnp.clip(action, -1.0, 1.0).T
        after = task_env.State(position, state.time + 1)
        solved, failed = position[0] > 3.0, position[0] < -1.0
        truncated = (after.time >= self.max_steps) & ~solved & ~failed
        reward = solved.astype(jnp.float32) - failed.astype(jnp.float32)
        info = {"solved": solved, "failed": failed, "distance": self.distance(after)}
        return self.observe(after), after, reward, solved | failed, truncated, info

    def take(self, state, indices):
        return jax.tree.map(lambda leaf: leaf[..., indices], state)

    def where(self, mask, then, otherwise):
        return task_env.TaskEnv.where(self, mask, then, otherwise)
