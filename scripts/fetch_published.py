"""The policies of the published benchmark, converted: python scripts/fetch_published.py"""

import _entry

if __name__ == "__main__":
    _entry.main(
        "fetch_published",
        "rtc_bench.policies.published.settings:FetchPublishedConfig",
        "rtc_bench.policies.published.fetching:fetch",
    )
