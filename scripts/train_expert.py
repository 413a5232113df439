"""Train experts of one task: python scripts/train_expert.py task=mjc_swimmer"""

import _checkout

if __name__ == "__main__":
    _checkout.run("train-expert")
