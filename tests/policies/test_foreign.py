"""Policies made elsewhere: what strategies get of them, and how a user learns what is wrong with his."""

import dataclasses
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.common import errors
from rtc_bench.policies import flow, foreign, host_callback
from rtc_bench.strategies import contract, registry

O, A, H, B = 3, 2, 4, 5  # noqa: E741
HEAD = """
import jax, jax.numpy as jnp, numpy as np

class Velocity:
    horizon = 4
    params = {"pull": jnp.float32(1.0), "target": jnp.ones((3, 2))}

    def velocity(self, params, obs, x_t, time):
        goal = (obs @ params["target"])[:, None, :]
        return params["pull"] * (goal - x_t)

class Chunk:
    horizon = 4

    def chunk(self, params, obs, noise):
        return noise + obs[:, None, :2]

def load(task):
    if task == "catapult":
        raise KeyError("no catapult")
    return Velocity()

def chunks(task):
    return Chunk()
"""


def write(folder, code=""):
    path = folder / "mine.py"
    path.write_text(HEAD + textwrap.dedent(code))
    return path


@pytest.fixture
def adapted(tmp_path):
    path = write(tmp_path)

    def adapt(name):
        return foreign.adapt(foreign.load(f"{path}:{name}", "mjc_swimmer"), obs_size=O, action_size=A)

    return adapt


def arrays():
    keys = jax.random.split(jax.random.key(0), 2)
    return jax.random.normal(keys[0], (B, O)), jax.random.normal(keys[1], (B, H, A))


def test_a_chunk_of_a_velocity_is_its_euler_integral(adapted):
    """x + (goal - x) / n, n times, leaves (1 - 1/n)^n of the distance from noise to goal."""
    obs, noise = arrays()
    goal = np.repeat(np.asarray(obs).sum(1)[:, None, None], H, 1)  # a matrix of ones
    for steps in (1, 5):
        rest = (1 - 1 / steps) ** steps
        chunk = adapted("load").sample(obs, noise, steps)
        np.testing.assert_allclose(chunk, goal + rest * (np.asarray(noise) - goal), atol=1e-5)


def test_a_chunk_without_velocity_is_the_policy_s_own(adapted):
    obs, noise = arrays()
    policy = adapted("chunks")
    np.testing.assert_array_equal(policy.sample(obs, noise, 5), noise + obs[:, None, :2])
    assert not policy.gives_velocity
    with pytest.raises(errors.ConfigError, match=r"mine.py:chunks gives chunks and no velocity"):
        policy.velocity(obs, noise, jnp.float32(0.5))


@pytest.mark.parametrize(("time", "shape"), [((), (B,)), ((B,), (B,)), ((1, H), (B, H)), ((B, H), (B, H))])
def test_flow_time_is_of_episodes_or_of_their_actions(adapted, time, shape):
    class Asking:
        def velocity(self, params, obs, x_t, time):
            shapes.append(time.shape)
            return x_t

    shapes, policy = [], adapted("load")
    asking = dataclasses.replace(policy, source=dataclasses.replace(policy.source, policy=Asking()))
    asking.velocity(*arrays(), jnp.zeros(time))
    asking.velocity(*arrays(), flow.TimeModulation(jnp.zeros(time), (), ()))
    assert shapes == [shape, shape]


def test_params_are_an_argument_of_compiled_programs(adapted):
    policy = adapted("load")
    sample = jax.jit(lambda policy, obs, noise: policy.sample(obs, noise, 1))
    obs, noise = arrays()
    halved = policy.with_params({**policy.params, "pull": jnp.float32(0.5)})
    np.testing.assert_allclose(sample(halved, obs, noise), (sample(policy, obs, noise) + noise) / 2, atol=1e-5)
    assert sample._cache_size() == 1


FITTING = ("naive", "temporal_ensembling", "bid_no_weak", "synchronous", "oracle")


@pytest.mark.parametrize(("policy", "names"), [("load", (*FITTING, "rtc", "rtc_sigma", "paint")), ("chunks", FITTING)])
def test_built_in_strategies_keep_the_contract_with_it(adapted, policy, names):
    for name in names:
        contract.check(registry.build(name), adapted(policy))


def test_the_digest_is_of_file_and_params(tmp_path):
    def digest(code):
        path = write(tmp_path, code)
        return foreign.load(f"{path}:load", "mjc_swimmer").digest

    plain = digest("")
    assert plain == digest("")
    assert plain != digest("# another comment")
    numbers = tmp_path / "numbers.npy"
    reading = f"""
        Velocity.params = {{"pull": jnp.float32(1.0), "target": jnp.asarray(np.load({str(numbers)!r}))}}
        """
    np.save(numbers, np.ones((3, 2), np.float32))
    before = digest(reading)
    np.save(numbers, np.zeros((3, 2), np.float32))
    assert digest(reading) != before


def told(tmp_path, code, spec="load", task="mjc_swimmer"):
    """What a user reads."""
    path = write(tmp_path, code)
    with pytest.raises(errors.ConfigError) as raised:
        foreign.adapt(foreign.load(f"{path}:{spec}", task), obs_size=O, action_size=A)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message, path


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("Velocity.horizon = 0", "horizon is 0; it must be a whole number, 1 or more"),
        ("del Velocity.horizon", "horizon is None; it must be"),
        ("del Velocity.velocity", "has no function velocity(params, obs, x_t, time) and none chunk"),
        ("Velocity.params = {'name': 'x'}", "params['name'] is of str; params must hold arrays of numbers alone"),
        ("Velocity.params = {'x': jnp.array([1, jnp.nan])}", "params['x'] holds inf or nan"),
        (
            "Velocity.velocity = lambda *a: a[3][:, 0]",
            "must return [B, H, A], float32[3, 4, 2]; it returns float32[3, 2]",
        ),
        ("Velocity.velocity = lambda *a: a[3].astype(jnp.float16)", "it returns float16[3, 4, 2]"),
        ("Velocity.velocity = lambda *a: None", "it returns NoneType"),
        ("Velocity.velocity = lambda *a: a[3] * jnp.nan", "returns inf or nan for observations of 0"),
        ("Velocity.velocity = lambda *a: a[3] if a[4][0] else 0  # here", "a Python branch on a traced value"),
        ("Velocity.velocity = lambda *a: a[3] @ jnp.ones((5, 5))  # here", "TypeError: dot_general requires"),
        (
            "Velocity.velocity = lambda *a: jax.pure_callback(lambda x: 1 / 0, a[3], a[3])  # here",
            "ZeroDivisionError: ",
        ),
        ("def load(task):\n    return open  # here\nx = 1 / 0  # here", "ZeroDivisionError: division by zero"),
        ("Velocity.velocity = property(lambda self: 1 / 0)  # here", "load: ZeroDivisionError: division by zero"),
        ("def load(task):\n    return undefined  # here", "NameError: name 'undefined' is not defined"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path, code, answer):
    message, path = told(tmp_path, code)
    assert answer in message
    if "# here" in code:
        lines = path.read_text().splitlines()
        line = max(number for number, text in enumerate(lines, 1) if text.endswith("# here"))
        assert f"{path}:{line}" in message


def test_a_task_that_is_refused(tmp_path):
    path = write(tmp_path)
    with pytest.raises(foreign.NoPolicyForTask, match=r"has nothing for task 'catapult': KeyError: 'no catapult'"):
        foreign.load(f"{path}:load", "catapult")


def test_a_function_that_is_not_there(tmp_path):
    message, _ = told(tmp_path, "", spec="lod")
    assert "no function 'lod' there (did you mean 'load'?); it holds Velocity, Chunk, load, chunks" in message


@pytest.mark.parametrize("spec", ["gone.py:load", "no_such_package.module:load"])
def test_a_file_that_is_not_there(spec):
    with pytest.raises(errors.ConfigError, match=rf"policy '{re.escape(spec)}' cannot be imported: .*check the path"):
        foreign.load(spec, "mjc_swimmer")


def test_what_names_a_function(tmp_path):
    (tmp_path / "a:b").mkdir()
    specs = ["zoo", "runs/flow", "runs/x.safetensors", str(tmp_path / "a:b"), "file.py:load", "package.module:load"]
    assert [foreign.is_spec(spec) for spec in specs] == [False, False, False, False, True, True]
    with pytest.raises(
        errors.ConfigError, match=r"policy=mine.py is a file; name the function in it too: policy=mine.py:"
    ):
        foreign.is_spec("mine.py")


def test_what_a_function_of_numpy_arrays_failed_by_is_raised_whatever_else_happened(adapted):
    def fail(arguments):
        raise errors.ConfigError("the server is gone")

    def asked():
        return np.asarray(jax.jit(lambda x: host_callback.call(fail, x, {"x": x}))(jnp.ones(3)))

    policy = adapted("chunks")
    assert foreign.calling(policy, lambda: 3) == 3
    for call in (asked, lambda: asked() @ np.ones(4)):
        with pytest.raises(errors.ConfigError, match="the server is gone"):
            foreign.calling(policy, call)
    assert foreign.calling(policy, lambda: 3) == 3  # told once
