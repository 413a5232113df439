"""RTC, BID and the prefix weights against what the published benchmark's own code computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rtc_bench.evaluation.execution import timeline
from rtc_bench.policies import checkpoint, flow, import_reference, sampling
from rtc_bench.strategies import base, bid, prefix_weights, rtc

TOLERANCE = 2e-5
CELLS = [(0, 1), (1, 1), (1, 4), (2, 3), (3, 3), (4, 4)]  # the recorded (d, s)

pytestmark = pytest.mark.usefixtures("exact")


@pytest.fixture(scope="module")
def recorded(reference):
    with np.load(reference / "flow_policy_small.npz") as file:  # entries that would need pickle are never touched
        yield file


@pytest.fixture(scope="module")
def policy(reference, recorded):
    strong = import_reference.load(reference / "flow_policy_small.pkl")
    weak = {name: recorded[f"weak_weights/{name}"] for name in checkpoint.flatten(strong.params)}
    return flow.FlowPolicy(strong.params, strong.config, strong.obs_mean, strong.obs_std, checkpoint.unflatten(weak))


def previous(recorded, horizon):
    return timeline.shift(jnp.asarray(recorded["prev_chunk"]), jnp.int32(horizon))


@pytest.mark.parametrize(
    ("schedule", "beta"), [("exp", 5.0), ("exp", 1.5), ("linear", 5.0), ("ones", 5.0), ("zeros", 5.0)]
)
def test_guided_chunks(recorded, policy, schedule, beta):
    strategy = rtc.Rtc(schedule=schedule, max_guidance_weight=beta)
    plan = jax.jit(lambda request: strategy.plan(policy, request, ())[0])
    obs, noise = jnp.asarray(recorded["obs"]), jnp.asarray(recorded["noise"])
    for d, s in CELLS:
        key = f"realtime/delay={d},horizon={s},schedule={schedule},beta={beta}"
        request = base.Request(obs, previous(recorded, s), jnp.int32(d), jnp.int32(s), noise, None)
        np.testing.assert_allclose(plan(request), recorded[key], atol=TOLERANCE, rtol=0, err_msg=key)


def samples(policy, recorded, count=4):
    """[N, B, H, A] from the recorded sample-major noise."""
    obs = jnp.tile(recorded["obs"], (count, 1))
    noise = jnp.asarray(recorded[f"bid_noise/n={count}"])
    chunks = sampling.euler(lambda x_t, time: policy.velocity(obs, x_t, time), noise, sampling.times(5))
    return chunks.reshape(count, -1, *chunks.shape[1:])


@pytest.mark.parametrize("kind", ["bid", "bid_weak"])
def test_bidirectional_decoding(recorded, policy, kind):
    strong = samples(policy, recorded)
    weak = samples(policy.weak_policy(), recorded) if kind == "bid_weak" else None
    chosen = set()
    for d, s in CELLS:
        key = f"{kind}/delay={d},horizon={s},n=4" + (",k=2" if kind == "bid_weak" else "")
        weights = prefix_weights.prefix_weights(jnp.int32(d), jnp.int32(8 - s), 8, "exp")
        chunk = bid.select(strong, weak, previous(recorded, s), weights, keep=2, counted=jnp.ones(3))
        np.testing.assert_allclose(chunk, recorded[key], atol=TOLERANCE, rtol=0, err_msg=key)
        chosen |= set(np.abs(strong - chunk[None]).sum((2, 3)).argmin(0).tolist())
    assert len(chosen) > 1  # or the test would not notice a wrong choice


def test_prefix_weights(recorded):
    keys = [key for key in recorded if key.startswith("prefix_weights/")]
    assert len(keys) == 6 * 9 * 4
    for key in keys:
        start, end, schedule = (part.split("=")[1] for part in key.split("/")[1].split(","))
        weights = prefix_weights.prefix_weights(jnp.int32(start), jnp.int32(end), 8, schedule)
        np.testing.assert_allclose(weights, recorded[key], atol=1e-6, rtol=0, err_msg=key)
