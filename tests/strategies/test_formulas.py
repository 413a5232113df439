"""The formulas of RTC, BID and temporal ensembling, in closed form."""

import fractions
import math

import jax
import jax.numpy as jnp
import line_task
import numpy as np
import pytest

from rtc_bench.evaluation.execution import timeline
from rtc_bench.strategies import base, bid, prefix_weights, rtc, temporal_ensembling

H = 8
CELLS = [(d, s) for d in range(5) for s in range(max(d, 1), H - d + 1)]

# --- prefix weights ---


def weight(i, start, end, schedule):
    """The formula of METHODS for one step; the end wins where the bounds cross."""
    if i >= end:
        return 0.0
    if i < start:
        return 1.0
    c = (end - i) / (end - start + 1)
    return {"exp": c * (math.exp(c) - 1) / (math.e - 1), "linear": c, "ones": 1.0, "zeros": 0.0}[schedule]


@pytest.mark.parametrize("schedule", prefix_weights.SCHEDULES)
def test_prefix_weights_follow_the_formula(schedule):
    weights_of = jax.jit(lambda start, end: prefix_weights.prefix_weights(start, end, H, schedule))
    for start in range(H):
        for end in range(H + 1):
            expected = [weight(i, start, end, schedule) for i in range(H)]
            np.testing.assert_allclose(weights_of(start, end), expected, atol=1e-6, err_msg=f"{start}, {end}")


def test_length_of_the_soft_region():
    lengths = []
    for d in range(5):
        weights = np.asarray(prefix_weights.prefix_weights(jnp.int32(d), jnp.int32(H - max(d, 1)), H, "exp"))
        lengths.append(int(((weights > 0) & (weights < 1)).sum()))
    assert lengths == [7, 6, 4, 2, 0]


def test_weights_never_rise():
    for d, s in CELLS:
        for schedule in prefix_weights.SCHEDULES:
            assert (np.diff(prefix_weights.prefix_weights(jnp.int32(d), jnp.int32(H - s), H, schedule)) <= 0).all()


# --- real-time chunking ---


def test_guidance_weights_of_five_steps():
    expected = [5.0]
    for k in range(1, 5):
        t = fractions.Fraction(k, 5)
        expected.append(min(5.0, float((1 - t) / t * (t**2 + (1 - t) ** 2) / (1 - t) ** 2)))
    np.testing.assert_allclose(expected, [5, 4.25, 13 / 6, 13 / 6, 4.25])  # as METHODS has them
    guidance_weights = [rtc.guidance_weight(jnp.float32(k / 5), 5.0) for k in range(5)]
    np.testing.assert_allclose(guidance_weights, expected, rtol=1e-5)


@pytest.mark.parametrize("time", [0.0, 0.4, 0.8])
def test_guided_velocity_of_a_linear_field(time):
    # v(x) = M x over the chunk's steps: the estimate is (I + (1 - t) M) x, its Jacobian that matrix, and the pull is
    # its transpose applied to W (Y - estimate).
    generator = np.random.default_rng(0)
    matrix, x_t, target = (
        generator.normal(size=(H, H)),
        generator.normal(size=(3, H, 2)),
        generator.normal(size=(3, H, 2)),
    )
    weights = np.linspace(1, 0, H)
    jacobian = np.eye(H) + (1 - time) * matrix
    g = 5.0 if time == 0 else min(5.0, (1 - time) / time * (time**2 + (1 - time) ** 2) / (1 - time) ** 2)
    error = weights[None, :, None] * (target - np.einsum("ij,bja->bia", jacobian, x_t))
    expected = np.einsum("ij,bja->bia", matrix, x_t) + g * np.einsum("ji,bja->bia", jacobian, error)
    v, change = rtc.pull(
        lambda x: jnp.einsum("ij,bja->bia", jnp.float32(matrix), x),
        jnp.float32(x_t),
        jnp.float32(time),
        target=jnp.float32(target),
        weights=jnp.float32(weights),
    )
    guidance = rtc.Rtc().guidance(jnp.float32(time))
    np.testing.assert_allclose(v + guidance * change, expected, atol=2e-4)


@pytest.mark.parametrize(("d", "s"), [(0, 1), (2, 3), (4, 4)])
def test_guided_chunk_of_a_field_that_is_nought(d, s):
    # v = 0: each of n steps moves x by g(t) W (Y - x) / n, so the gap Y - x shrinks by the factor 1 - g W / n.
    noise, old = (jax.random.normal(jax.random.key(seed), (2, H, 1)) for seed in (0, 1))
    old = timeline.shift(old, jnp.int32(s))
    request = base.Request(jnp.zeros((2, 2)), old, jnp.int32(d), jnp.int32(s), noise, None)
    chunk, _ = rtc.Rtc().plan(line_task.policy(), request, ())
    weights = np.array([weight(i, d, H - s, "exp") for i in range(H)])
    gap = 1.0
    for g in (5, 4.25, 13 / 6, 13 / 6, 4.25):
        gap = gap * (1 - g * weights / 5)
    np.testing.assert_allclose(chunk, old + (noise - old) * gap[None, :, None], atol=1e-5)
    np.testing.assert_allclose(chunk[:, :d], old[:, :d], atol=1e-5)  # the first factor is 0 where the weight is 1


# --- bidirectional decoding ---


def test_losses_follow_their_sums():
    generator = np.random.default_rng(1)
    chunks, strong, weak = (generator.normal(size=(n, 2, H, 3)).astype(np.float32) for n in (4, 2, 2))
    previous, weights = generator.normal(size=(2, H, 3)).astype(np.float32), np.linspace(1, 0, H, dtype=np.float32)

    def step_distances(chunk, reference):
        return np.sqrt(((chunk - reference) ** 2).sum(-1))  # [H]

    backward = bid.backward_loss(jnp.array(chunks), jnp.array(previous), jnp.array(weights))
    forward = bid.forward_loss(jnp.array(chunks), jnp.array(strong), jnp.array(weak))
    for n in range(4):
        for b in range(2):
            expected = (weights * step_distances(chunks[n, b], previous[b])).sum()
            np.testing.assert_allclose(backward[n, b], expected, rtol=1e-5)
            near = sum(step_distances(chunks[n, b], strong[k, b]).sum() for k in range(2))
            far = sum(step_distances(chunks[n, b], weak[k, b]).sum() for k in range(2))
            np.testing.assert_allclose(forward[n, b], (near - far) / 4, rtol=1e-4, atol=1e-5)


def constant(*values):
    """[N, 1, H, 1], each sample the same at every step."""
    return jnp.array(values)[:, None, None, None] * jnp.ones((1, 1, H, 1))


def chosen(chunks, weak, previous, keep=1):
    chunk = bid.select(chunks, weak, previous, jnp.ones(H), keep=keep, counted=jnp.ones(1))
    return float(chunk[0, 0, 0])


def test_the_sample_nearest_to_the_old_chunk_is_taken():
    assert chosen(constant(3.0, -1.0, 1.5), None, constant(1.0)[0]) == 1.5


def test_a_weak_policy_near_by_pushes_away():
    # Old chunk 0, H = 8, N = 2. Backward losses of 1 and -1.1: 8 and 8.8, so that 1 wins alone.
    assert chosen(constant(1.0, -1.1), None, constant(0.0)[0]) == 1.0
    # The two best strong samples are both of them, the weak ones 1.0 and 1.1. Forward, times 8 steps / N = 4:
    # (0 + 2.1 - 0 - 0.1) * 4 = 8 for 1, sum 16; (2.1 + 0 - 2.1 - 2.2) * 4 = -8.8 for -1.1, sum 0.
    assert chosen(constant(1.0, -1.1), constant(1.0, 1.1), constant(0.0)[0], keep=2) == pytest.approx(-1.1)


def test_dimensions_that_drive_nothing_can_be_left_out():
    noise = jax.random.normal(jax.random.key(0), (2, H, 2))
    old = noise.at[..., 1].add(100.0)  # in the second dimension every sample is equally far
    keys = jax.random.split(jax.random.key(1), 2)
    request = base.Request(jnp.zeros((2, 2)), old, jnp.int32(2), jnp.int32(2), noise, keys)
    strategy = bid.Bid(samples=64, use_weak=False, dimensions=(0,))
    chunk, _ = jax.jit(strategy.plan)(line_task.policy(action_size=2), request, ())
    np.testing.assert_array_equal(chunk, noise)
    with pytest.raises(ValueError, match=r"dimensions=\[2\] names 2; this policy's are 0 to 1"):
        bid.Bid(dimensions=(2,)).check(line_task.policy(action_size=2))


def test_every_sample_has_its_own_noise():
    # The old chunk is far to one side: with v = 0, the chosen sample is the largest of N normal ones in its first entry.
    episodes, samples = 400, 8
    keys = jax.random.split(jax.random.key(2), episodes)
    noise = jax.random.normal(jax.random.key(3), (episodes, H, 1))
    old = jnp.zeros((episodes, H, 1)).at[:, 0].set(1e3)
    request = base.Request(jnp.zeros((episodes, 2)), old, jnp.int32(1), jnp.int32(7), noise, keys)
    chunks, _ = jax.jit(bid.Bid(samples=samples, use_weak=False).plan)(line_task.policy(), request, ())
    largest = np.asarray(chunks[:, 0, 0])
    # P(max of N <= 1) = Phi(1)^N
    expected = (0.5 * (1 + math.erf(1 / math.sqrt(2)))) ** samples
    assert abs((largest <= 1).mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / episodes)
    assert abs((largest == np.asarray(noise[:, 0, 0])).mean() - 1 / samples) < 4 * math.sqrt(0.125 * 0.875 / episodes)


# --- temporal ensembling ---


def entry(asked_at, index):
    """Says which chunk and which index in it; no two averages of different ones agree."""
    return math.sin(1.0 + 37.0 * asked_at + index)


def average(step, d, s, m):
    """Mean over the chunks that are there at a control step and still predict it; before d there is the first one."""
    request_steps = [t for t in range(0, step + 1, s) if t + (d if t else 0) <= step < t + H]
    weights = [math.exp(-m * (t - request_steps[0])) for t in request_steps]
    return sum(w * entry(t, step - t) for w, t in zip(weights, request_steps, strict=True)) / sum(weights)


@pytest.mark.parametrize("m", [0.0, 0.3, -0.3])
def test_what_temporal_ensembling_executes_in_every_cell(m):
    strategy, policy, steps = temporal_ensembling.TemporalEnsembling(m=m), line_task.policy(), 23
    plan = jax.jit(strategy.plan)  # the toy policy's chunk is its noise
    for d, s in CELLS:
        memory, executed = strategy.init(policy, 1), []
        old = jnp.array([entry(0, i) for i in range(H)])[None, :, None]
        for time in range(0, steps, s):
            noise = jnp.array([entry(time, i) for i in range(H)])[None, :, None]
            request = base.Request(jnp.zeros((1, 2)), old, jnp.int32(d), jnp.int32(s), noise, None)
            new, memory = plan(policy, request, memory)
            chunk = timeline.merge(old, new, jnp.int32(d))
            executed += chunk[0, :s, 0].tolist()
            old = timeline.shift(chunk, jnp.int32(s))
        expected = [average(step, d, s, m) for step in range(steps)]
        np.testing.assert_allclose(executed[:steps], expected, atol=1e-5, err_msg=f"d={d}, s={s}")


def test_temporal_ensembling_at_every_step_is_the_textbook_s():
    # d = 0, s = 1 at step 10: the mean of what the last 8 chunks predict for it.
    assert average(10, 0, 1, 0.0) == pytest.approx(np.mean([entry(10 - age, age) for age in range(H)]))
