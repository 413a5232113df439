"""Inpainting methods and those that learn, in closed form: with velocity fields that are written here, not learned."""

import dataclasses
import fractions
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.policies import flow, sampling
from rtc_bench.strategies import base, limits, naive, rtc
from rtc_bench.strategies.inpainting import inpaint, paint, rtc_sigma
from rtc_bench.strategies.trained import adapted, remac, sft, soft_rtc, tt_rtc, vlash

H, A, OBS, B = 8, 2, 3, 3
N = 5  # flow steps
OWN = jnp.array([True, False, True])
MATRIX = np.random.default_rng(0).normal(size=(H, H)) / 4
DRIFT = np.random.default_rng(1).normal(size=(1, H, A))

pytestmark = pytest.mark.usefixtures("exact")


@dataclasses.dataclass
class Field:
    """In a policy's place: a velocity field, and the inputs of its evaluations."""

    field: Callable  # (obs [B, O], x_t [B, H, A], time [1 or B, 1 or H, 1]) -> [B, H, A]
    calls: list = dataclasses.field(default_factory=list)
    config = flow.FlowConfig(OBS, A, H)
    sample = flow.FlowPolicy.sample

    def velocity(self, obs, x_t, time):
        time = time.time if isinstance(time, flow.TimeModulation) else time
        self.calls.append((obs, x_t, time))
        return self.field(obs, x_t, time.reshape((*time.shape, 1, 1, 1)[:3]))

    def time_modulations(self, steps):
        return flow.TimeModulation(jnp.asarray(sampling.times(steps)), (), ())


def drifting(obs, x_t, time):
    return jnp.broadcast_to(jnp.float32(DRIFT), x_t.shape)


def mixing(obs, x_t, time):
    """Linear in the chunk; the later, the faster."""
    return (1 + time) * jnp.einsum("ij,bja->bia", jnp.float32(MATRIX), x_t)


def mixing_in_numpy(x_t, time):
    return (1 + time) * np.einsum("ij,bja->bia", MATRIX, x_t)


def still(obs, x_t, time):
    return jnp.zeros_like(x_t)


def request(d, s=3):
    generator = np.random.default_rng(2)
    obs, ahead = jnp.float32(generator.normal(size=(2, B, OBS)))
    previous, noise = jnp.float32(generator.normal(size=(2, B, H, A)))
    return base.Request(obs, previous, jnp.int32(d), jnp.int32(s), noise, None, ahead, OWN)


def planned(strategy, field, asked):
    """The chunk, and the inputs of all evaluations of the field, in order."""
    policy = Field(field)
    with jax.disable_jit():
        chunk, _ = strategy.plan(policy, asked, ())
    return np.asarray(chunk), policy.calls


# --- RTC with the prior's spread ---


@pytest.mark.parametrize("spread", [fractions.Fraction(2, 5), fractions.Fraction(1), fractions.Fraction(3)])
def test_guidance_weight_with_a_spread(spread):
    for k in range(1, N):
        t = fractions.Fraction(k, N)
        exact = (1 - t) / t * ((1 - t) ** 2 + t**2 * spread**2) / ((1 - t) ** 2 * spread**2)
        for limit in (3.0, 100.0):
            weight = rtc.guidance_weight(jnp.float32(t), limit, float(spread))
            np.testing.assert_allclose(weight, min(limit, float(exact)), rtol=1e-5)
    assert rtc.guidance_weight(jnp.float32(0), 100.0, float(spread)) == 100


@pytest.mark.parametrize("time", [0.0, 0.2, 0.6, 0.8])
def test_a_spread_of_one_is_the_paper_s(time):
    weight, paper = rtc.guidance_weight(jnp.float32(time), 5.0, 1.0), rtc.guidance_weight(jnp.float32(time), 5.0)
    np.testing.assert_allclose(weight, paper, rtol=1e-6)


@pytest.mark.parametrize("strategy", [rtc_sigma.RtcSigma, rtc_sigma.RtcSigmaIdentity])
@pytest.mark.parametrize(("steps", "limit", "beta"), [(5, None, 5), (3, None, 3), (5, 2.0, 2)])
def test_guided_chunk_of_a_field_that_is_nought(strategy, steps, limit, beta):
    # Each of n steps moves x by g(t) W (Y - x) / n, so the gap Y - x shrinks by the factor 1 - g W / n.
    asked, spread = request(2), 1.5
    strategy = strategy(spread=spread, max_guidance_weight=limit, flow_steps=steps, schedule="linear")
    chunk, _ = planned(strategy, still, asked)
    weights = np.array([1, 1, 3 / 4, 2 / 4, 1 / 4, 0, 0, 0])  # linear from d = 2 to H - s = 5
    gap = np.ones(H)
    for k in range(steps):
        t = k / steps
        guidance = (1 - t) / t * (1 / spread**2 + t**2 / (1 - t) ** 2) if k else np.inf
        gap *= 1 - min(beta, guidance) * weights / steps
    expected = asked.previous + (asked.noise - asked.previous) * gap[None, :, None]
    np.testing.assert_allclose(chunk, expected, atol=1e-5)


def test_the_identity_stands_for_the_jacobian_of_the_estimate():
    generator = np.random.default_rng(3)
    x_t, target = generator.normal(size=(2, B, H, A))
    weights, time = np.linspace(1, 0, H), 0.4
    inputs = {"target": jnp.float32(target), "weights": jnp.float32(weights)}

    def pulls(field):
        arguments = (lambda x: field(None, x, time), jnp.float32(x_t), jnp.float32(time))
        return [pull(*arguments, **inputs) for pull in (rtc.pull, rtc.pull_by_error)]

    (v, change), (same_v, error) = pulls(mixing)
    expected_v = mixing_in_numpy(x_t, time)
    np.testing.assert_allclose(v, expected_v, atol=1e-5)
    np.testing.assert_array_equal(v, same_v)
    expected = weights[None, :, None] * (target - x_t - (1 - time) * expected_v)
    np.testing.assert_allclose(error, expected, atol=1e-5)
    assert np.abs(change - error).max() > 0.1
    (v, change), (same_v, error) = pulls(drifting)  # the estimate moves as x_t does
    np.testing.assert_array_equal(v, same_v)
    np.testing.assert_allclose(change, error, atol=1e-6)


# --- overwriting, and PAINT ---


@pytest.mark.parametrize("d", [0, 1, 4])
def test_fixed_actions_are_overwritten_before_every_evaluation(d):
    asked = request(d)
    chunk, calls = planned(inpaint.Inpaint(), mixing, asked)
    noise, previous = np.float64(asked.noise), np.float64(asked.previous)
    assert len(calls) == N
    x_t = noise.copy()
    for k, (_, seen, _) in enumerate(calls):
        x_t[:, :d] = (1 - k / N) * noise[:, :d] + k / N * previous[:, :d]
        np.testing.assert_allclose(seen, x_t, atol=1e-5)
        x_t += mixing_in_numpy(x_t, k / N) / N
    np.testing.assert_allclose(chunk[:, d:], x_t[:, d:], atol=1e-5)


@pytest.mark.parametrize("d", [0, 1, 4])
def test_paint_goes_forward_back_and_forward(d):
    asked = request(d)
    chunk, calls = planned(paint.Paint(), mixing, asked)
    up, down = [0, 0.2, 0.4, 0.6, 0.8], [0.8, 0.6, 0.4, 0.2, 0]
    np.testing.assert_allclose([time for *_, time in calls], up + down + up, atol=1e-6)

    def forward(x_t):
        for time in up:
            x_t = x_t + mixing_in_numpy(x_t, time) / N
        return x_t

    noise, x_t = np.float64(asked.noise), forward(np.float64(asked.noise))
    x_t[:, :d] = asked.previous[:, :d]
    for time in down:
        x_t = x_t - mixing_in_numpy(x_t, time) / N
    expected = forward(np.concatenate([x_t[:, :d], noise[:, d:]], 1))
    np.testing.assert_allclose(chunk, expected, atol=1e-5)


def test_paint_reaches_the_old_actions_where_a_way_back_is_exact():
    asked = request(3)
    chunk, _ = planned(paint.Paint(), drifting, asked)
    np.testing.assert_allclose(chunk[:, :3], asked.previous[:, :3], atol=1e-6)
    np.testing.assert_allclose(chunk[:, 3:], asked.noise[:, 3:] + DRIFT[:, 3:], atol=1e-5)


# --- what training stages share ---


@pytest.mark.parametrize("falling", [True, False])
def test_delays_to_train_for(falling):
    count = 20_000
    delays = adapted.draw_delays(jax.random.key(0), count, H, falling=falling)
    frequencies = np.bincount(delays, minlength=H // 2 + 1) / count
    expected = np.exp(4.0 - np.arange(5)) if falling else np.ones(5)
    expected /= expected.sum()
    assert (np.abs(frequencies - expected) < 4 * np.sqrt(expected * (1 - expected) / count)).all()


def test_masked_mean():
    error = jnp.arange(12.0).reshape(2, 3, 2)
    counted = jnp.array([[False, True, False], [False, True, True]])  # entries 2, 3 and 8 to 11
    assert adapted.masked_mean(error, counted) == pytest.approx((2 + 3 + 8 + 9 + 10 + 11) / 6)
    assert adapted.masked_mean(error, jnp.zeros((2, 3), bool)) == 0


def moments(count=200, *, length=H, progress=0.5):
    """Random ones, of which ``length`` steps are inside their episode."""
    generator = np.random.default_rng(4)
    obs, action = generator.normal(size=(count, H, OBS)), generator.normal(size=(count, 2 * H, A))
    inside = jnp.broadcast_to((jnp.arange(H) < length)[None], (count, H))
    return base.Batch(jnp.float32(obs), jnp.float32(action), inside, OWN, jnp.float32(progress))


def trained_on(strategy, field, batch, base_field=still):
    """The objective, and the inputs of the policy's and the base policy's only evaluation."""
    policy, base_policy = Field(field), Field(base_field)
    loss = strategy.objective(policy, base_policy, batch, jax.random.key(5))
    (seen,) = policy.calls
    return float(loss), [np.float64(value) for value in seen], base_policy.calls


def far_off_where_given(obs, x_t, time):
    """Nought, but for actions at flow time 1."""
    return jnp.where(time == 1, 1e3, jnp.zeros_like(x_t))


# --- training-time and soft RTC ---

SHARES = {  # with window = 2: 1 before d, (end - i) / (end - d + 1) up to end = min(2 d, 5), then 0
    0: [0, 0, 0, 0, 0, 0, 0, 0],
    1: [1, 1 / 2, 0, 0, 0, 0, 0, 0],
    2: [1, 1, 2 / 3, 1 / 3, 0, 0, 0, 0],
    3: [1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0],
    4: [1, 1, 1, 1, 1 / 2, 0, 0, 0],
}
STEPS = {d: [1] * d + [0] * (H - d) for d in range(5)}
GIVEN = [(tt_rtc.TtRtc(), STEPS), (soft_rtc.SoftRtc(), SHARES), (soft_rtc.SoftRtc(window=1.0), STEPS)]
given = pytest.mark.parametrize(("strategy", "shares"), GIVEN, ids=["tt_rtc", "soft_rtc", "window of 1"])


@given
def test_how_far_actions_are_given(strategy, shares):
    for d, expected in shares.items():
        np.testing.assert_allclose(strategy.given(jnp.int32(d), H), expected, atol=1e-6, err_msg=f"d={d}")


@given
@pytest.mark.parametrize("d", [0, 2, 4])
def test_given_actions_are_mixed_in_before_every_evaluation(strategy, shares, d):
    asked, share = request(d), np.array(shares[d], float)[None, :, None]
    chunk, calls = planned(strategy, mixing, asked)
    assert len(calls) == N
    x_t, previous = np.float64(asked.noise), np.float64(asked.previous)
    for k, (_, seen, seen_times) in enumerate(calls):
        mixed, times = share * previous + (1 - share) * x_t, share + (1 - share) * k / N
        np.testing.assert_allclose(seen, mixed, atol=1e-5)
        np.testing.assert_allclose(seen_times, times[..., 0], atol=1e-6)
        x_t = x_t + mixing_in_numpy(mixed, times) / N
    np.testing.assert_allclose(chunk, share * previous + (1 - share) * x_t, atol=1e-5)
    np.testing.assert_array_equal(chunk[:, :d], asked.previous[:, :d])


@given
def test_what_is_given_is_not_learned(strategy, shares):
    batch = moments()
    loss, (obs, x_t, times), _ = trained_on(strategy, far_off_where_given, batch)
    np.testing.assert_array_equal(obs, batch.obs[:, 0])
    action = np.float64(batch.action[:, :H])
    delay, time = (times == 1).sum(1), times[:, -1:]  # the last action is never given
    assert set(delay) == {0, 1, 2, 3, 4}
    assert (delay == 0).mean() > 0.5  # exp(4) of exp(4) + .. + exp(0)
    share = np.array([shares[d] for d in delay])
    np.testing.assert_allclose(times, share + (1 - share) * time, atol=1e-6)
    np.testing.assert_array_equal(x_t[times == 1], action[times == 1])
    free = times < 1
    target = (action - x_t)[free] / (1 - times[free])[:, None]  # x_t = (1 - t) noise + t action; action - noise
    np.testing.assert_allclose(loss, (target**2).mean(), rtol=1e-3)
    assert abs(target.std() - np.sqrt(2)) < 0.1  # the noise is a normal one


# --- REMAC ---


@pytest.mark.parametrize("d", [0, 2, 4])
def test_the_prefix_is_held_at_every_flow_step(d):
    asked = request(d)
    chunk, calls = planned(remac.Remac(), mixing, asked)
    assert len(calls) == N
    x_t = np.float64(asked.noise)
    for k, (_, seen, _) in enumerate(calls):
        held = np.concatenate([asked.previous[:, :d], x_t[:, d:]], 1)
        np.testing.assert_allclose(seen, held, atol=1e-5)
        np.testing.assert_array_equal(seen[:, :d], asked.previous[:, :d])
        x_t = x_t + mixing_in_numpy(held, k / N) / N
    np.testing.assert_allclose(chunk[:, d:], x_t[:, d:], atol=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_prefix_to_train_with_is_ever_less_the_data_s(progress):
    batch = moments(1000, progress=progress)
    loss, (_, x_t, time), ((_, base_x_t, base_time),) = trained_on(remac.Remac(), still, batch, drifting)
    np.testing.assert_array_equal(time, base_time)
    action, base_x_t = np.float64(batch.action[:, :H]), np.float64(base_x_t)
    predicted = base_x_t + (1 - time)[:, None, None] * DRIFT

    prefix = (x_t != base_x_t).all(-1)
    delay = prefix.sum(1)
    np.testing.assert_array_equal(prefix, np.arange(H)[None] < delay[:, None])
    frequencies = np.bincount(delay, minlength=5) / len(delay)
    assert (np.abs(frequencies - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(delay))).all()

    of_data = (x_t == action)[:, 0].all(-1)[delay > 0]
    held = np.where((x_t == action)[:, :1], action, predicted)
    np.testing.assert_allclose(x_t[prefix], held[prefix], atol=1e-5)
    assert abs(of_data.mean() - (1 - progress)) <= 4 * np.sqrt(progress * (1 - progress) / len(of_data))

    target = ((action - base_x_t) / (1 - time)[:, None, None])[~prefix]
    np.testing.assert_allclose(loss, (target**2).mean(), rtol=1e-3)


def test_the_base_policy_matters_as_training_goes_on():
    def losses(progress):
        batch = moments(progress=progress)
        return [trained_on(remac.Remac(), mixing, batch, field)[0] for field in (still, drifting)]

    same, as_well = losses(0.0)
    assert same == as_well
    one, other = losses(1.0)
    assert abs(one - other) > 1e-3


# --- VLASH, and the lines to measure against ---


def seeing(obs, x_t, time):
    """Every action's velocity is the observation's sum."""
    return jnp.broadcast_to(obs.sum(-1)[:, None, None], x_t.shape)


@pytest.mark.parametrize("own", [[False] * 3, [True] * 3, [True, False, True]])
def test_the_robot_s_own_part_is_looked_up_ahead(own):
    asked = request(3)._replace(own=jnp.array(own))
    chunk, calls = planned(vlash.Vlash(), seeing, asked)
    obs = np.where(np.array(own)[None], asked.ahead, asked.obs)
    assert len(calls) == N
    np.testing.assert_allclose(chunk, asked.noise + obs.sum(-1)[:, None, None], atol=1e-5)
    expected, _ = planned(naive.Naive(), seeing, asked._replace(obs=jnp.asarray(obs)))
    np.testing.assert_array_equal(chunk, expected)


@pytest.mark.parametrize(("length", "delays"), [(H, {0, 1, 2, 3, 4}), (3, {0, 1, 2}), (1, {0})])
def test_vlash_learns_chunks_that_begin_later_in_the_episode(length, delays):
    batch = moments(length=length)
    loss, (obs, x_t, time), _ = trained_on(vlash.Vlash(), still, batch)
    all_obs, action = np.float64(batch.obs), np.float64(batch.action)
    delay = (all_obs[:, :, 0] == obs[:, :1]).argmax(1)  # the first number is the robot's own
    assert set(delay) == delays
    assert length < H or (delay == 0).mean() < 0.4  # one of five
    rows = np.arange(len(delay))
    np.testing.assert_array_equal(obs, np.where(np.array(OWN)[None], all_obs[rows, delay], all_obs[:, 0]))
    later = np.stack([action[row, d : d + H] for row, d in zip(rows, delay, strict=True)])
    target = (later - x_t) / (1 - time)[:, None, None]
    np.testing.assert_allclose(loss, (target**2).mean(), rtol=1e-3)


def test_sft_learns_the_policy_s_own_objective():
    batch = moments()
    loss, (obs, x_t, time), _ = trained_on(sft.Sft(), still, batch)
    np.testing.assert_array_equal(obs, batch.obs[:, 0])
    target = (np.float64(batch.action[:, :H]) - x_t) / (1 - time)[:, None, None]
    np.testing.assert_allclose(loss, (target**2).mean(), rtol=1e-3)


@pytest.mark.parametrize("strategy", [sft.Sft(), limits.Synchronous(), limits.Oracle()])
def test_plain_chunks(strategy):
    asked = request(3)
    chunk, _ = planned(strategy, seeing, asked)
    obs = asked.ahead if strategy.looks_ahead else asked.obs
    expected, _ = planned(naive.Naive(), seeing, asked._replace(obs=obs))
    np.testing.assert_array_equal(chunk, expected)


def test_timings():
    timings = {cls: cls.timing for cls in (sft.Sft, limits.Synchronous, limits.Oracle, vlash.Vlash)}
    assert list(timings.values()) == [base.DELAYED, base.WAITING, base.FROM_ARRIVAL, base.FROM_ARRIVAL]
    assert [cls.looks_ahead for cls in timings] == [False, False, True, True]
