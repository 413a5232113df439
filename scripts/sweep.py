"""Sweep inference delay over tasks and strategies: python scripts/sweep.py delay=0..4"""

import _entry

if __name__ == "__main__":
    _entry.main("sweep", "rtc_bench.evaluation.settings:SweepConfig", "rtc_bench.commands:sweep")
