"""Record expert data of one task: python scripts/generate_data.py task=mjc_swimmer"""

import _entry

if __name__ == "__main__":
    _entry.main(
        "generate_data", "rtc_bench.training.settings:GenerateDataConfig", "rtc_bench.training.pipeline:generate_data"
    )
