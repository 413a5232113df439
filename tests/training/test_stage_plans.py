"""What training stages say before they start, and dry runs: everything is checked, and no file changes."""

import dataclasses

import jax
import pytest

from rtc_bench.common import costs
from rtc_bench.policies import checkpoint
from rtc_bench.training import expert_training, flow_training, pipeline, plan, settings


@pytest.fixture(autouse=True)
def _measured(monkeypatch):
    """Two cores; 10 s of catapult for a million steps, 1 s to record 100,000, 5 s an epoch of them, 20 s for a program."""
    values = {("expert", "catapult"): 10.0, ("record", "catapult"): 1.0, ("epoch", ""): 5.0}
    monkeypatch.setattr(costs, "measured", lambda: {**values, ("compile", "catapult"): 20.0})
    monkeypatch.setattr(costs, "cores", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 2)


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_experts_cost_the_steps_that_are_left_and_an_odd_one_a_device(tmp_path):
    """Seed 0 is there and seed 1 half done: 2 M steps of it, 4 M of seed 2 beside it; then seed 2 alone."""
    config = settings.TrainExpertConfig("catapult", seeds=3, steps=4_000_000, out=str(tmp_path))
    deciding = expert_training._deciding_settings(config)
    folder = tmp_path / "catapult"
    checkpoint.save(folder / "seed0.safetensors", {}, {"kind": "expert", "config": deciding})
    half = 2_000_000 // (config.envs * config.rollout)
    checkpoint.save(folder / "seed1.resume", {}, {"kind": "expert-resume", "config": deciding, "iterations": half})
    part = plan.experts(config)
    left = 6.0 - half * config.envs * config.rollout / 1e6 + 2.0
    assert (part.total, part.missing) == (3, 2)
    assert part.seconds == pytest.approx(20 + 10 * left)
    alone = plan.experts(dataclasses.replace(config, seeds=1, seed=2))
    assert alone.seconds == pytest.approx(20 + 10 * 4 * 2)
    assert plan.experts(dataclasses.replace(config, width=256)).seconds is None
    assert plan.experts(dataclasses.replace(config, width=256)).missing == 3


def test_a_dry_run_of_experts_writes_nothing(tmp_path, capsys):
    pipeline.train_experts(settings.TrainExpertConfig("catapult", out=str(tmp_path)), dry_run=True)
    assert "8 experts, some 6 minutes on 2 cores" in capsys.readouterr().out  # 20 s, and 32 M steps
    assert not list(tmp_path.iterdir())


def test_dry_runs_of_data_and_flow_policies_write_nothing(data, small_flow, tmp_path, capsys):
    config, _ = data
    flow = small_flow(config, tmp_path, epochs=2, eval_every=0)
    before = contents(tmp_path)
    pipeline.generate_data(config, dry_run=True)
    pipeline.generate_data(dataclasses.replace(config, steps=6_000_000), dry_run=True)
    pipeline.train_flows(flow, dry_run=True)
    assert contents(tmp_path) == before
    flow_training.train(flow)
    before = contents(tmp_path)
    pipeline.train_flows(flow, dry_run=True)
    assert contents(tmp_path) == before
    out = [line for line in capsys.readouterr().out.splitlines() if line.startswith("1 ")]
    assert [line.partition(" -> ")[0] for line in out] == [
        "1 data set, 1 of them done before",
        "1 data set, some 1 minute on 2 cores",
        "1 flow policy, on 2 cores",
        "1 flow policy, 1 of them done before",
    ]


def test_a_dry_run_refuses_what_training_would_task_by_task(tmp_path):
    config = settings.GenerateDataConfig(("catapult", "trampoline"), experts=str(tmp_path / "none"), out=str(tmp_path))
    with pytest.raises(pipeline.Unfinished, match=r"2 of 2 tasks failed\. catapult: no expert of catapult in"):
        pipeline.generate_data(config, dry_run=True)
