"""A run beside the published solve rates: python scripts/compare_published.py --run results/laptop --out results/published

Reads --table (one row a method, task, delay and horizon) and a run folder that a sweep left. Writes README.md with the findings
one by one, curves.png, cells.csv, means.csv and findings.csv into --out.
"""

import pathlib

import _bench
from _entry import ROOT

from rtc_bench.analysis import published
from rtc_bench.common import errors, tables
from rtc_bench.evaluation import run_folder
from rtc_bench.reporting import published as published_report

SOURCE = (
    "Published policies (eight expert seeds, 1 M control steps a task, 256 channels x 4 layers; arXiv 2506.07339), evaluated "
    "with 2,048 episodes a cell beside arXiv 2604.25050: [solve_rates.csv](solve_rates.csv). Theirs and ours differ in policies "
    "and sizes; compare shapes and orders."
)


def main() -> None:
    """Compare, print the findings and write."""
    parser = _bench.output_parser(__doc__)
    parser.add_argument("--run", type=pathlib.Path, default=ROOT / "results" / "laptop", help="default results/laptop")
    table = ROOT / "results" / "published" / "solve_rates.csv"
    parser.add_argument("--table", type=pathlib.Path, default=table, help="default results/published/solve_rates.csv")
    args = _bench.parse(parser)
    try:
        runs, rates = run_folder.load([args.run]), published.read(args.table)
        published_report.write(runs, rates, args.out, source=SOURCE)
    except errors.ConfigError as error:
        parser.error(str(error))
    tables.show("findings", published_report.findings_table(published.findings(runs, rates)))


if __name__ == "__main__":
    main()
