"""All methods of some runs side by side: python scripts/rank_methods.py run=[results/laptop,results/methods/*]"""

import _entry

if __name__ == "__main__":
    _entry.main("rank_methods", "rtc_bench.reporting.settings:RankMethodsConfig", "rtc_bench.reporting.methods:rank")
