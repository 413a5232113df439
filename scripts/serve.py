"""Serve a task's policy under a strategy to any openpi client: python scripts/serve.py task=mjc_swimmer strategy=rtc"""

import _checkout

if __name__ == "__main__":
    _checkout.run("serve")
