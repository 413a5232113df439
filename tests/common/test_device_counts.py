"""Eight devices give the same episodes, data and training as one, also where they do not divide the number of episodes."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
from rtc_bench.common import devices
devices.setup()
import jax, line_task, numpy as np, track_task
from rtc_bench import envs
from rtc_bench.evaluation import coherence, evaluator
from rtc_bench.evaluation.latency import schedule
from rtc_bench.method_training import moments
from rtc_bench.strategies import registry
from rtc_bench.training import expert_data, expert_training, experts, search, settings

results = {}
line, policy = line_task.Line(goal=6.0, noise_std=0.5), line_task.policy()
delays = schedule.Delays(*(np.random.default_rng(0).integers(0, 3, (12, 256), np.int32) for _ in range(2)))
play = evaluator.Evaluator(line, policy, registry.build("rtc", flow_steps=2))
few = evaluator.Evaluator(line, policy, registry.build("rtc", flow_steps=2), batch=1)
cell = {"seed": 3, "delay": 1, "horizon": 2}
for name, outcomes in {
    "constant": play(episodes=12, **cell),
    "varying": play(episodes=12, delays=delays, **cell),
    "fewer than devices": play(episodes=4, **cell),
    "one at a time": few(episodes=3, **cell),
}.items():
    results |= {f"{name} {field}": getattr(outcomes, field) for field in ("solved", "length", "total_reward", "requests")}
results["coherence"] = coherence.measure(line_task.Line(max_steps=40), policy, seed=0, episodes=12)

envs.make = lambda name, noise_std=0.1, **rest: track_task.Track(noise_std, name="catapult")
config = settings.TrainExpertConfig(task="catapult", seeds=2, envs=8, rollout=4, minibatches=1, epochs=1, width=4)
trainer = expert_training.ExpertTrainer(config)
states = [trainer.initial_state(seed, search.no_paths(trainer.env)) for seed in range(2)]
size = trainer.seeds_at_once
trained = [item for i in range(0, 2, size) for item in trainer.advance(states[i : i + size], 2)]
members = [state.expert for state, _ in trained]
results |= {f"expert {i}": leaf for i, leaf in enumerate(jax.tree.leaves(members))}
evaluate = experts.ExpertEvaluator(trainer.env, trainer.network, history_length=config.history)
results["solved by expert"] = evaluate.sampled(members[0], seed=0, episodes=12)
recording = expert_data.Recorder(trainer.env, config)(members, np.full(2, 0.5), seed=0, part=0, episodes=12)
results |= {f"data {name}": column for name, column in recording.steps._asdict().items()}
moments.EPISODES = 12
track_policy = line_task.policy(obs_size=7)
rolled = moments.of_rollouts(trainer.env, track_policy, members[0], config, steps=1, seed=0)
results |= {f"moments {name}": column for name, column in rolled._asdict().items()}
np.savez(sys.argv[1], devices=jax.device_count(), **results)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By number of devices: what the program computed."""
    folder = tmp_path_factory.mktemp("devices")
    for count in (1, 8):  # all other tests run on two
        environment = {**os.environ, "RTC_BENCH_DEVICES": str(count)}
        environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", str(TESTS.parent))])
        command = [sys.executable, "-c", PROGRAM, folder / f"{count}.npz"]
        done = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return {count: dict(np.load(folder / f"{count}.npz")) for count in (1, 8)}


def test_results_do_not_depend_on_the_number_of_devices(results):
    one, several = dict(results[1]), dict(results[8])
    assert (one.pop("devices"), several.pop("devices")) == (1, 8)
    assert one.keys() == several.keys()
    for name, expected in one.items():
        np.testing.assert_allclose(several[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)
