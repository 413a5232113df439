"""Train experts of one task: python scripts/train_expert.py task=mjc_swimmer"""

import _entry

if __name__ == "__main__":
    _entry.main(
        "train_expert", "rtc_bench.training.settings:TrainExpertConfig", "rtc_bench.training.pipeline:train_experts"
    )
