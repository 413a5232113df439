"""Make finished policies the shipped ones: python scripts/publish_zoo.py task=mjc_swimmer"""

import _entry

if __name__ == "__main__":
    _entry.main("publish_zoo", "rtc_bench.training.settings:PublishZooConfig", "rtc_bench.training.publishing:publish")
