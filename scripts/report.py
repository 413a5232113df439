"""A page, figures and tables of run folders: python scripts/report.py results/benchmark"""

import _entry

if __name__ == "__main__":
    _entry.main("report", "rtc_bench.reporting.settings:ReportConfig", "rtc_bench.reporting.report:report")
