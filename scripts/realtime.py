"""Play a task on a real clock: python scripts/realtime.py task=h17_unicycle strategy=[naive,rtc] latency=[0,33,100]"""

import _checkout

if __name__ == "__main__":
    _checkout.run("realtime")
