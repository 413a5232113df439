"""Where a new strategy wins: python scripts/compare.py strategy=my_package.my_file:MyMethod baseline=[naive,rtc]"""

import _entry

if __name__ == "__main__":
    _entry.main("compare", "rtc_bench.evaluation.settings:CompareConfig", "rtc_bench.commands:compare")
