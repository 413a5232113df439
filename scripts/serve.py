"""Serve a task's policy under a strategy to any openpi client: python scripts/serve.py task=mjc_swimmer strategy=rtc"""

import _entry

if __name__ == "__main__":
    _entry.main("serve", "rtc_bench.realtime.serving.settings:ServeConfig", "rtc_bench.commands:serve")
