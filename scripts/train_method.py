"""Train what a strategy that learns needs, for every task: python scripts/train_method.py strategy=tt_rtc"""

import _checkout

if __name__ == "__main__":
    _checkout.run("train-method")
