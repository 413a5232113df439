"""What is filmed: any policy that the sweep plays, at the delays that its chunks admit."""

import jax
import jax.numpy as jnp
import pytest

from rtc_bench import envs
from rtc_bench.common import errors
from rtc_bench.policies import checkpoint, flow
from rtc_bench.reporting import film, settings

TASK = "h17_unicycle"


@pytest.fixture
def episode_asked_for(tmp_path, monkeypatch):
    """Render with a policy of these sizes; what was to be played."""

    def render(horizon, interface="compact", **values):
        env = envs.make(TASK, interface=interface)
        config = flow.FlowConfig(env.obs_size, env.action_size, horizon, 1, 8, 8, 4)
        zeros = jnp.zeros(env.obs_size)
        policy = flow.FlowPolicy(flow.init(jax.random.key(0), config), config, zeros, zeros + 1)
        path = tmp_path / "policy.safetensors"
        checkpoint.save_flow(path, policy, {"task": TASK, "interface": interface})
        episodes = []
        monkeypatch.setattr(film, "side_by_side", lambda *_, **episode: episodes.append(episode) or {})
        monkeypatch.setattr(film, "save", lambda *_, **__: None)
        film.render(settings.RenderConfig(TASK, policy=str(path), interface=interface, **values))
        return episodes[0]["delay"], episodes[0]["horizon"]

    return render


def test_the_policy_says_which_delays_there_are(episode_asked_for):
    assert episode_asked_for(16, delay=6) == (6, 6)
    with pytest.raises(errors.ConfigError, match="delay=3 does not fit a chunk of 4"):
        episode_asked_for(4, delay=3)


def test_a_policy_of_the_other_interface_is_shown_too(episode_asked_for):
    assert episode_asked_for(8, interface="kinetix", delay=1) == (1, 1)
