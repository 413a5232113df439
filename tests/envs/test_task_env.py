"""One contract, held by every task and both interfaces; and the same by the stock engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench import envs
from rtc_bench.envs import kinetix_engine, observation, scene

BATCH = 3


@pytest.mark.parametrize("interface", envs.INTERFACES)
@pytest.mark.parametrize("name", envs.TASKS)
def test_contract(name, interface):
    env = envs.make(name, interface=interface)
    obs, state = env.reset(jax.random.key(0), BATCH)
    assert obs.shape == (BATCH, env.obs_size)
    assert env.obs_size == (679 if interface == "kinetix" else 7 * len(env.scene.moving))
    assert env.action_low.shape == env.action_high.shape == (env.action_size,)
    assert set(env.action_low) <= {-1.0, 0.0}
    assert set(env.action_high) == {1.0}
    assert {leaf.shape[-1] for leaf in jax.tree.leaves(state)} == {BATCH}
    step = env.step if interface == "kinetix" else jax.jit(env.step)
    after = jax.eval_shape(step, jax.random.key(0), state, jnp.zeros((BATCH, env.action_size)))
    obs2, state2, reward, terminated, truncated, info = after
    assert obs2.shape == obs.shape
    assert [leaf.shape for leaf in jax.tree.leaves(state2)] == [leaf.shape for leaf in jax.tree.leaves(state)]
    assert reward.shape == terminated.shape == truncated.shape == (BATCH,)
    assert terminated.dtype == truncated.dtype == info["solved"].dtype == info["failed"].dtype == bool
    assert set(info) == {"solved", "failed", "distance"}


@pytest.fixture(scope="module")
def unicycle():
    env = envs.make("h17_unicycle")
    return env, jax.jit(env.step)


def test_the_time_limit_truncates_and_does_not_terminate(unicycle):
    env, step = unicycle
    _, state = env.reset(jax.random.key(0), 2)
    state = state._replace(time=jnp.array([254, 255], jnp.int32))
    *_, terminated, truncated, _ = step(jax.random.key(0), state, jnp.zeros((2, 1)))
    assert truncated.tolist() == [False, True]
    assert terminated.tolist() == [False, False]


def test_an_upright_unicycle_falls_and_fails(unicycle):
    env, step = unicycle
    _, state = env.reset(jax.random.key(0), 2)
    rewards = []
    for _ in range(120):
        _, state, reward, terminated, _, info = step(jax.random.key(1), state, jnp.ones((2, 1)))
        rewards.append(np.asarray(reward))
        assert (terminated == (info["solved"] | info["failed"])).all()
        if terminated.any():
            break
    assert rewards[-1].min() == -1.0
    assert not np.concatenate(rewards[:-1]).any()


def test_noise_depends_on_the_episodes_own_key_alone(unicycle):
    env, step = unicycle
    keys = jax.random.split(jax.random.key(5), 4)
    _, four = env.reset(keys[0], 4)
    _, two = env.reset(keys[0], 2)
    obs4 = step(keys, four, jnp.zeros((4, 1)))[0]
    obs2 = step(keys[2:], two, jnp.zeros((2, 1)))[0]
    np.testing.assert_allclose(obs4[2:], obs2, atol=1e-6)
    assert np.abs(obs4[0] - obs4[1]).max() > 1e-4


def test_noise_has_its_size_and_is_added_before_clipping():
    env = envs.make("h17_unicycle", noise_std=0.1)
    noise = env._noise(jax.random.key(0), (20_000, 1))
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)
    quiet = envs.make("h17_unicycle", noise_std=0.0)
    _, state = quiet.reset(jax.random.key(0), 2)
    step = jax.jit(quiet.step)
    beyond = step(jax.random.key(0), state, jnp.full((2, 1), 7.0))[0]
    bound = step(jax.random.key(0), state, jnp.ones((2, 1)))[0]
    np.testing.assert_array_equal(beyond, bound)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_what_is_predicted_is_what_happens_without_noise(unicycle, steps):
    """Also for an environment with noise, of actions beyond the bounds, and from any time on."""
    env, step = unicycle
    quiet = envs.make("h17_unicycle", noise_std=0.0)
    actions = 2.0 * jax.random.normal(jax.random.key(1), (2, 8, 1))
    keys = jax.random.split(jax.random.key(0), 2)
    state = step(keys, env.reset(keys, 2)[1], actions[:, 0])[1]._replace(time=jnp.array([7, 250], jnp.int32))
    predicted = jax.jit(env.predict)(state, actions, jnp.int32(steps))
    assert predicted.time.tolist() == [7 + steps, 250 + steps]
    assert env.noise_std > 0
    for index in range(steps):
        state = jax.jit(quiet.step)(keys, state, actions[:, index])[1]
    np.testing.assert_allclose(env.observe(predicted), env.observe(state), atol=1e-6)
    assert jax.tree.map(jnp.shape, predicted) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize("name", envs.TASKS)
def test_the_robot_s_own_numbers_are_those_of_moving_bodies_without_a_role(name):
    """Wiggling a body moves exactly its own numbers of an observation, in both interfaces."""
    for interface in envs.INTERFACES:
        env = envs.make(name, interface=interface)
        assert (env.own.shape, env.own.dtype) == ((env.obs_size,), bool)
        bodies = [jnp.zeros((len(env.scene.moving), 1)) for _ in range(6)]
        rest, robot = np.asarray(env._observe(bodies))[0], np.zeros(env.obs_size, bool)
        for index, body in enumerate(env.scene.moving):
            moved = np.asarray(env._observe([column.at[index].add(0.5) for column in bodies]))[0] != rest
            assert moved.sum() == 7
            assert (env.own[moved] == (body.role == scene.NO_ROLE)).all(), body
            robot |= moved & (body.role == scene.NO_ROLE)
        np.testing.assert_array_equal(env.own, robot)
        assert robot.any(), "every task has a robot"


def test_take_and_where(unicycle):
    env, step = unicycle
    _, start = env.reset(jax.random.key(0), 3)
    _, moved, *_ = step(jax.random.split(jax.random.key(0), 3), start, jnp.ones((3, 1)))
    mixed = env.where(jnp.array([True, False, True]), start, moved)
    assert mixed.time.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(env.observe(mixed)[1], env.observe(moved)[1])
    picked_states = env.take(mixed, jnp.array([1, 1]))
    np.testing.assert_array_equal(env.observe(picked_states), np.repeat(env.observe(moved)[1:2], 2, 0))
    np.testing.assert_allclose(env.distance(start), env.distance(mixed)[0], rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"interface": "pixels"}, {"engine": "box2d"}, {"noise_std": -1.0}, {"start_std": -1.0}]
)
def test_wrong_options_are_named(options):
    (name, value), *_ = options.items()
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        envs.make("catapult", **options)


def test_the_stock_engine_holds_the_same_contract(stock_step):
    stock = envs.make("catcher_v3", engine="kinetix", interface="kinetix", noise_std=0.0)
    stock.engine.step = stock_step
    fast = envs.make("catcher_v3", interface="kinetix", noise_std=0.0)
    action = jnp.tile(jnp.array([[1.0, 0.2, -0.3, 0.1, 0.7, 0.0], [-1.0, 0.0, 0.5, 0.0, 0.0, 1.0]]), (16, 1))
    (obs, state), (fast_obs, fast_state) = (env.reset(jax.random.key(0), 32) for env in (stock, fast))
    np.testing.assert_allclose(obs, fast_obs, atol=1e-6)
    fast_step = jax.jit(fast.step)
    for _ in range(3):
        obs, state, reward, terminated, truncated, info = stock.step(jax.random.key(0), state, action)
        fast_obs, fast_state, *_ = fast_step(jax.random.key(0), fast_state, action)
    np.testing.assert_allclose(obs, fast_obs, atol=1e-4)
    np.testing.assert_allclose(stock.distance(state), fast.distance(fast_state), atol=1e-5)
    assert reward.shape == terminated.shape == truncated.shape == info["solved"].shape == (32,)
    assert state.time.tolist() == [3] * 32
    # The symbolic observation is kinetix-env's own.
    for episode in range(2):
        single = jax.tree.map(lambda leaf, episode=episode: leaf[..., episode], state.sim)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            np.testing.assert_allclose(stock.engine.env.get_obs(single), obs[episode], atol=1e-6)


@pytest.mark.parametrize("name", envs.TASKS)
def test_symbolic_observation_of_every_scene(name):

    engine = kinetix_engine.KinetixEngine(envs.make(name).scene)
    sim = engine.initial(1)
    ours = observation.Symbolic(engine.scene)(engine.bodies(sim))[0]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = engine.env.get_obs(engine.start)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_compact_observation_is_readable():
    env = envs.make("mjc_swimmer")
    obs, _ = env.reset(jax.random.key(0), 1)
    first = env.scene.moving[0]
    np.testing.assert_allclose(obs[0, :7], [*first.position, 0.0, 0.0, 0.0, 0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("engine", ["fast", "kinetix"])
def test_starts_differ_by_as_much_as_they_are_told_to(engine):
    env = envs.make("catcher_v3", engine=engine, start_std=1e-3)  # quads and a ball
    _, state = env.reset(jax.random.key(0), 256)
    _, nominal_state = envs.make("catcher_v3", engine=engine).reset(jax.random.key(0), 256)
    for name, perturbed, nominal in zip(
        "xya", env.engine.bodies(state.sim), env.engine.bodies(nominal_state.sim), strict=False
    ):
        assert np.ptp(nominal, axis=1).max() == 0, name
        moves = np.asarray(perturbed - nominal)
        np.testing.assert_allclose(moves.std(1), 1e-3, rtol=0.2, err_msg=name)
        np.testing.assert_allclose(moves.mean(1), 0.0, atol=4e-4, err_msg=name)


def test_a_start_belongs_to_its_own_key_alone():
    env = envs.make("trampoline")  # the task whose starts differ
    assert env.start_std > 0
    keys = jax.random.split(jax.random.key(3), 4)
    many, _ = env.reset(keys, 4)
    assert len(np.unique(many[:, 0])) == 4
    np.testing.assert_array_equal(env.reset(keys[2:], 2)[0], many[2:])
    np.testing.assert_array_equal(env.reset(keys[1], 1)[0], many[1:2])
    np.testing.assert_array_equal(envs.make("trampoline", start_std=0.0).reset(keys, 4)[0].std(0), 0.0)


def test_both_engines_start_where_they_are_told_to():
    starts = []
    for engine in ("fast", "kinetix"):
        env = envs.make("catcher_v3", engine=engine, start_std=1e-3)
        starts.append(env.engine.bodies(env.reset(jax.random.key(1), 8)[1].sim))
    for fast, stock in zip(*starts, strict=True):
        np.testing.assert_array_equal(fast, stock)


def played(env, key):
    """Five control steps: observations, of a batch of two."""
    _, state = env.reset(key, 2)
    action = jnp.full((2, env.action_size), 0.3)

    def step(state, key):
        obs, state, *_ = env.step(key, state, action)
        return state, obs

    return np.asarray(jax.jit(lambda state, keys: jax.lax.scan(step, state, keys)[1])(state, jax.random.split(key, 5)))


@pytest.mark.parametrize("name", ["h17_unicycle", "trampoline"])
def test_64_bits_and_keys_of_the_old_style_change_nothing(name, lenient):
    env = envs.make(name)
    expected = played(env, jax.random.key(4))
    np.testing.assert_array_equal(played(env, jax.random.PRNGKey(4)), expected)
    with jax.enable_x64(True):
        wide = played(env, jax.random.key(4))
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, expected)
    keys = jax.random.split(jax.random.key(5), 2)
    state = env.reset(keys, 2)[1]
    raw_state = env.reset(jax.random.key_data(keys), 2)[1]
    for key, start in ((keys, state), (jax.random.key_data(keys), raw_state)):
        last = jax.jit(env.step)(key, start, jnp.zeros((2, env.action_size)))[0]
        expected_last = last if key is keys else expected_last  # noqa: F821
        np.testing.assert_array_equal(last, expected_last)


@pytest.mark.parametrize("option", ["noise_std", "start_std"])
@pytest.mark.parametrize("value", [np.inf, np.nan, -1.0])
def test_noise_is_finite(option, value):
    with pytest.raises(ValueError, match=rf"{option} is .*must be 0 or more, and finite"):
        envs.make("h17_unicycle", **{option: value})
