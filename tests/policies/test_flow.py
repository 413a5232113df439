"""The flow policy: what its formula says, and what the published model computes with the same weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.policies import checkpoint, flow, import_reference, sampling

CONFIG = flow.FlowConfig(5, 2, horizon=4, layers=2, channels=8, channel_hidden=12, token_hidden=6)
TOLERANCE = 2e-5

pytestmark = pytest.mark.usefixtures("exact")


@pytest.fixture(scope="module")
def recorded(reference):
    with np.load(reference / "flow_policy_small.npz") as file:
        yield file


@pytest.fixture(scope="module")
def published(reference):
    return import_reference.load(reference / "flow_policy_small.pkl")


def random_policy(config=CONFIG, seed=0):
    """Parameters that are nowhere zero, so that every layer matters."""
    leaves, tree = jax.tree.flatten(flow.init(jax.random.key(seed), config))
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    leaves = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, leaves)
    return flow.FlowPolicy(params, config, jnp.zeros(config.obs_size), jnp.ones(config.obs_size))


def inputs(config=CONFIG, batch=3, seed=7):
    keys = jax.random.split(jax.random.key(seed), 2)
    shape = (batch, config.horizon, config.action_size)
    return jax.random.normal(keys[0], (batch, config.obs_size)), jax.random.normal(keys[1], shape)


@pytest.mark.parametrize("time", [0.0, 0.2, 0.55, 1.0])
def test_velocity_of_the_published_model(recorded, published, time):
    obs, x_t = jnp.asarray(recorded["obs"]), jnp.asarray(recorded["x_t"])
    for shape in ((), (5,), (5, 8)):
        velocity = published.velocity(obs, x_t, jnp.full(shape, time))
        np.testing.assert_allclose(velocity, recorded[f"velocity/t={time}"], atol=TOLERANCE, rtol=0, err_msg=str(shape))


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_actions_of_the_published_model(recorded, published, steps):
    obs, noise = jnp.asarray(recorded["obs"]), jnp.asarray(recorded["noise"])
    actions = sampling.euler(lambda x_t, m: published.velocity(obs, x_t, m), noise, published.time_modulations(steps))
    np.testing.assert_allclose(actions, recorded[f"action/steps={steps}"], atol=TOLERANCE, rtol=0)


def test_loss_of_the_published_model(recorded, published):
    action, time, noise = (jnp.asarray(recorded[f"loss/{name}"]) for name in ("action", "time", "noise"))
    loss = flow.loss(published.params, jnp.asarray(recorded["obs"]), action, time=time, noise=noise)
    np.testing.assert_allclose(loss, recorded["loss/value"], atol=TOLERANCE, rtol=0)


def test_importing_gives_the_recorded_weights(recorded, published):
    flat = checkpoint.flatten(published.params)
    for name, value in flat.items():
        np.testing.assert_array_equal(value, recorded[f"weights/{name}"], err_msg=name)
    sizes = flow.FlowConfig(14, 3, horizon=8, layers=2, channels=32, channel_hidden=64, token_hidden=16)
    assert published.config == sizes


def test_each_step_of_a_chunk_may_have_its_own_time():
    policy, (obs, x_t) = random_policy(), inputs()
    blank = jnp.zeros_like(x_t)  # alike at every step, so that the time is all that tells steps apart
    time = jnp.full((3, 4), 0.5).at[:, 2].set(0.9)
    mixed, plain = policy.velocity(obs, blank, time), policy.velocity(obs, blank, jnp.float32(0.5))
    assert not np.allclose(mixed[:, 2], plain[:, 2], atol=1e-3)
    # Each episode has its times to itself.
    time = time.at[1].set(0.1)
    alone = policy.velocity(obs[1:2], x_t[1:2], jnp.full((1, 4), 0.1))
    np.testing.assert_allclose(policy.velocity(obs, x_t, time)[1:2], alone, atol=1e-5)


def test_per_episode_times_are_the_scalar_ones():
    policy, (obs, x_t) = random_policy(), inputs()
    times = jnp.array([0.0, 0.3, 0.8])
    together = policy.velocity(obs, x_t, times)
    for i, time in enumerate(times):
        np.testing.assert_allclose(together[i], policy.velocity(obs, x_t, time)[i], atol=1e-5)


def test_every_input_and_parameter_matters():
    policy, (obs, x_t) = random_policy(), inputs()
    gradients = jax.grad(
        lambda *all_of_it: (flow.velocity(*all_of_it) ** 2).sum(), argnums=(0, 1, 2, 3), allow_int=False
    )(policy.params, obs, x_t, jnp.full(3, 0.4))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


def test_every_block_of_a_fresh_network_is_the_identity():
    params, (obs, x_t) = flow.init(jax.random.key(0), CONFIG), inputs()
    without_blocks = {**params, "mlp_stack": {}}
    for time in (0.1, 0.9):  # nor does flow time matter
        velocity = flow.velocity(params, obs, x_t, jnp.float32(time))
        np.testing.assert_allclose(velocity, flow.velocity(without_blocks, obs, x_t, jnp.float32(0.5)), atol=1e-6)
        assert np.abs(velocity).max() > 0.1


def plain_velocity(params, obs, x_t, time):
    """The architecture again, for one chunk [H, A], as the words of the paper's appendix have it; in double precision."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def linear(layer, x):
        return x @ layer["kernel"] + layer.get("bias", 0.0)

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    def silu(x):
        return x / (1 + np.exp(-x))

    def gelu(x):  # the tanh approximation
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    half = params["in_proj"]["kernel"].shape[1] // 2
    periods = np.geomspace(4e-3, 4.0, half)
    waves = 2 * np.pi * time / periods
    layers = params["time_mlp"]["layers"]
    embedding = silu(linear(layers["2"], silu(linear(layers["0"], np.concatenate([np.sin(waves), np.cos(waves)])))))
    x = linear(params["in_proj"], np.concatenate([x_t, np.tile(obs, (len(x_t), 1))], -1))
    for block in params["mlp_stack"].values():
        scale, shift, gate = np.split(linear(block["adaln_1"], embedding), 3)
        y = (norm(x) * (1 + scale) + shift).T
        x = x + gate * linear(block["token_mix_out"], gelu(linear(block["token_mix_in"], y))).T
        scale, shift, gate = np.split(linear(block["adaln_2"], embedding), 3)
        y = norm(x) * (1 + scale) + shift
        x = x + gate * linear(block["channel_mix_out"], gelu(linear(block["channel_mix_in"], y)))
    scale, shift = np.split(linear(params["final_adaln"], embedding), 2)
    return linear(params["out_proj"], norm(x) * (1 + scale) + shift)


@pytest.mark.parametrize("time", [0.0, 0.37, 1.0])
def test_velocity_follows_the_architecture(time):
    policy, (obs, x_t) = random_policy(), inputs()
    velocity = policy.velocity(obs, x_t, jnp.float32(time))
    for b in range(3):
        expected = plain_velocity(policy.params, np.asarray(obs[b]), np.asarray(x_t[b]), time)
        # The fastest wave turns 250 times: float32 is coarse.
        np.testing.assert_allclose(velocity[b], expected, atol=1e-3)


def test_observations_are_normalised_on_entry():
    policy, (obs, x_t) = random_policy(), inputs()
    mean, std = jnp.arange(5.0), jnp.arange(1.0, 6.0)
    scaled = dataclasses.replace(policy, obs_mean=mean, obs_std=std)
    raw = obs * std[None] + mean[None]
    time = jnp.float32(0.5)
    np.testing.assert_allclose(scaled.velocity(raw, x_t, time), policy.velocity(obs, x_t, time), atol=1e-4)


def test_loss_is_the_error_at_the_interpolated_point():
    policy, (obs, action) = random_policy(), inputs()
    noise, time = jax.random.normal(jax.random.key(3), action.shape), jnp.array([0.0, 0.25, 1.0])
    errors = []
    for i, t in enumerate([0.0, 0.25, 1.0]):
        x_t = (1 - t) * noise[i] + t * action[i]
        velocity = policy.velocity(obs[i : i + 1], x_t[None], jnp.float32(t))[0]
        errors.append(np.square(np.asarray(velocity) - np.asarray(action[i] - noise[i])).mean())
    expected = np.mean(errors)
    np.testing.assert_allclose(flow.loss(policy.params, obs, action, time=time, noise=noise), expected, rtol=1e-5)


def test_a_policy_without_an_early_checkpoint_says_so():
    with pytest.raises(ValueError, match="no early checkpoint"):
        random_policy().weak_policy()


@pytest.mark.parametrize(("field", "value"), [("layers", 0), ("channels", 7), ("action_size", 0)])
def test_sizes_are_checked(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        dataclasses.replace(CONFIG, **{field: value})


def test_a_time_modulation_is_what_the_network_makes_of_its_time():
    policy = random_policy()
    key = jax.random.key(3)
    obs = jax.random.normal(key, (3, policy.config.obs_size))
    x_t = jax.random.normal(key, (3, policy.config.horizon, policy.config.action_size))
    modulations = policy.time_modulations(5)
    for i, time in enumerate(sampling.times(5)):
        modulation = jax.tree.map(lambda leaf, i=i: leaf[i], modulations)
        np.testing.assert_allclose(
            policy.velocity(obs, x_t, modulation), policy.velocity(obs, x_t, jnp.float32(time)), atol=1e-5
        )


def test_time_modulations_are_not_computed_again(monkeypatch):
    policy = dataclasses.replace(random_policy(), weak=random_policy().params)
    ready = policy.with_time_modulations({5, 2})
    wanted = [policy.time_modulations(5), policy.weak_policy().time_modulations(2)]
    monkeypatch.setattr(flow, "time_modulation", lambda *_: 1 / 0)
    for modulation, expected in zip(
        (ready.time_modulations(5), ready.weak_policy().time_modulations(2)), wanted, strict=True
    ):
        jax.tree.map(np.testing.assert_array_equal, modulation, expected)
    with pytest.raises(ZeroDivisionError):
        ready.time_modulations(3)  # nobody said that it would be asked for


def test_euler_of_a_constant_field_goes_straight():
    noise, rate = jnp.ones((2, 4, 1)), jnp.full((2, 4, 1), 3.0)
    np.testing.assert_allclose(sampling.euler(lambda x_t, time: rate, noise, sampling.times(5)), 4.0, rtol=1e-6)


def test_euler_of_a_decaying_field():
    # x' = -x in n steps of 1/n: (1 - 1/n)^n; the times it is asked at are 0, 1/n, ...
    noise, times = jnp.ones((1, 1, 1)), []

    def velocity(x_t, time):
        jax.debug.callback(lambda t: times.append(float(t)), time)
        return -x_t

    np.testing.assert_allclose(sampling.euler(velocity, noise, sampling.times(4)), 0.75**4, rtol=1e-6)
    jax.effects_barrier()
    np.testing.assert_allclose(sorted(times), [0.0, 0.25, 0.5, 0.75], atol=1e-6)


def test_the_cheap_activation_is_the_published_one_and_so_is_its_derivative():
    x = jnp.linspace(-12.0, 12.0, 4801)
    np.testing.assert_allclose(flow._gelu(x), jax.nn.gelu(x), atol=4e-6)  # float32 of numbers up to 12
    derivatives = (jax.vmap(jax.grad(function))(x) for function in (flow._gelu, jax.nn.gelu))
    np.testing.assert_allclose(*derivatives, atol=1e-5)


def test_embedded_observations_stand_for_the_observations():
    policy = random_policy()
    obs, noise = inputs()
    embedded = policy.embedded(obs)
    np.testing.assert_array_equal(policy.sample(embedded, noise, 3), policy.sample(obs, noise, 3))
    assert not np.allclose(policy.sample(policy.embedded(obs + 1.0), noise, 3), policy.sample(obs, noise, 3))
