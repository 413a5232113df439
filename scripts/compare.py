"""Where a new strategy wins: python scripts/compare.py strategy=my_package.my_file:MyMethod baseline=[naive,rtc]"""

import _checkout

if __name__ == "__main__":
    _checkout.run("compare")
