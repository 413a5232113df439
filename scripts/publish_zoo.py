"""Make finished policies the shipped ones: python scripts/publish_zoo.py task=mjc_swimmer"""

import _checkout

if __name__ == "__main__":
    _checkout.run("publish-zoo")
