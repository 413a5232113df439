"""Train a flow policy on one task's data: python scripts/train_flow.py task=mjc_swimmer"""

import _entry

if __name__ == "__main__":
    _entry.main("train_flow", "rtc_bench.training.settings:TrainFlowConfig", "rtc_bench.training.pipeline:train_flows")
