"""Train a flow policy on one task's data: python scripts/train_flow.py task=mjc_swimmer"""

import _checkout

if __name__ == "__main__":
    _checkout.run("train-flow")
