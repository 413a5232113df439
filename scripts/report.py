"""Table and curves of a run folder: python scripts/report.py run=results/benchmark"""

import _entry

if __name__ == "__main__":
    _entry.main("report", "rtc_bench.config:ReportConfig", "rtc_bench.report:run")
