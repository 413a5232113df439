"""Which checkpoints a sweep takes."""

import pytest

from rtc_bench.common import errors
from rtc_bench.evaluation import settings, sweep_inputs
from rtc_bench.policies import checkpoint


def test_a_folder_holds_policies_flat_or_as_training_leaves_them(tmp_path):
    for policy_path in (
        "flow/mjc_walker/mjc_walker",
        "flow/mjc_walker/resume",
        "flow/car_launch/car_launch",
        "flat/catapult",
    ):
        checkpoint.save(tmp_path / f"{policy_path}.safetensors", {}, {"kind": "flow"})
    checkpoint_paths = sweep_inputs.checkpoint_files(settings.SweepConfig(policy=str(tmp_path / "flow")))
    assert list(checkpoint_paths) == ["mjc_walker", "car_launch"]  # in the tasks' order
    assert checkpoint_paths["mjc_walker"] == tmp_path / "flow" / "mjc_walker" / "mjc_walker.safetensors"
    assert list(sweep_inputs.checkpoint_files(settings.SweepConfig(policy=str(tmp_path / "flat")))) == ["catapult"]
    with pytest.raises(errors.ConfigError, match=r"holds no <task>.safetensors"):
        sweep_inputs.checkpoint_files(settings.SweepConfig(policy=str(tmp_path)))
