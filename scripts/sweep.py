"""Sweep inference delay and execution horizon over tasks and strategies: `python scripts/sweep.py --help`."""

import _entry

if __name__ == "__main__":
    _entry.main("sweep", target="rtc_bench.sweep:run", config_type="rtc_bench.config:SweepConfig")
