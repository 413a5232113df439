"""Play a task on a real clock: python scripts/realtime.py task=h17_unicycle strategy=[naive,rtc] latency=[0,33,100]"""

import _entry

if __name__ == "__main__":
    _entry.main("realtime", "rtc_bench.reporting.settings:RealtimeConfig", "rtc_bench.reporting.realtime:run")
