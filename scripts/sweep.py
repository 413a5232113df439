"""Sweep inference delay over tasks and strategies: python scripts/sweep.py delay=0..4"""

import _checkout

if __name__ == "__main__":
    _checkout.run("sweep")
