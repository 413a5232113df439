"""A run beside the published solve rates: python scripts/compare_published.py run=results/laptop"""

import _entry

if __name__ == "__main__":
    _entry.main(
        "compare_published",
        "rtc_bench.reporting.settings:ComparePublishedConfig",
        "rtc_bench.reporting.published:compare",
    )
