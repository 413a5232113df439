"""Train a flow policy on one task's data: python scripts/train_flow.py task=mjc_swimmer"""

import _entry

if __name__ == "__main__":
    _entry.main("train_flow", "rtc_bench.config:TrainFlowConfig", "rtc_bench.pipeline:train_flows")
