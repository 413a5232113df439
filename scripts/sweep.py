"""Sweep inference delay over tasks and strategies: python scripts/sweep.py delay=0..4"""

import _entry

if __name__ == "__main__":
    _entry.main("sweep", "rtc_bench.config:SweepConfig", "rtc_bench.sweep:run")
