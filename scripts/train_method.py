"""Train what a strategy that learns needs, for every task: python scripts/train_method.py strategy=tt_rtc"""

import _entry

if __name__ == "__main__":
    _entry.main(
        "train_method",
        "rtc_bench.method_training.settings:TrainMethodConfig",
        "rtc_bench.method_training.pipeline:train_methods",
    )
