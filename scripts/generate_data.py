"""Record expert data of one task: python scripts/generate_data.py task=mjc_swimmer"""

import _checkout

if __name__ == "__main__":
    _checkout.run("generate-data")
