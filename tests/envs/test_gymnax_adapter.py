"""The adapter is a real gymnax environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench import envs


def test_gymnax_steps_resets_and_truncates(lenient):
    from gymnax.environments import environment

    from rtc_bench.envs import gymnax

    env = gymnax.make("h17_unicycle", noise_std=0.0)
    assert isinstance(env, environment.Environment)
    assert (env.name, env.num_actions) == ("h17_unicycle", 1)
    params = env.default_params
    first, state = env.reset(jax.random.key(0), params)
    assert first.shape == env.observation_space(params).shape == (21,)
    action = env.action_space(params).sample(jax.random.key(1))
    assert env.action_space(params).contains(action)
    obs, state, _, terminated, truncated, info = env.step(jax.random.key(1), state, action, params)
    assert obs.shape == (21,)
    assert not terminated
    assert not truncated
    assert {"solved", "failed", "distance"} <= set(info)
    state = state.replace(time=jnp.int32(255))
    obs, state, _, terminated, truncated, _ = env.step(jax.random.key(1), state, action, params)
    assert truncated
    assert not terminated
    np.testing.assert_allclose(obs, first)  # gymnax's own reset
    assert int(state.time) == 0
    obs, *_ = jax.vmap(env.reset, (0, None))(jax.random.split(jax.random.key(0), 3), params)
    assert obs.shape == (3, 21)


def test_unknown_names_fail_as_elsewhere():
    from rtc_bench.envs import gymnax

    with pytest.raises(envs.UnknownTask, match="did you mean 'catapult'"):
        gymnax.make("catapullt")
