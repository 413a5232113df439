"""CPU seconds of `--help` for every script, after warm caches.

Writes startup.csv (script, cpu_s: the median of several runs) into --out.
"""

import pathlib
import resource
import statistics
import subprocess
import sys

import _bench

SCRIPTS = pathlib.Path(__file__).resolve().parent
REPEATS = 7


def cpu_seconds(script: pathlib.Path) -> float:
    """User and system time of one run in a child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(script), "--help"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure, print and write."""
    args = _bench.parse(_bench.output_parser(__doc__))
    rows: list[_bench.Measurement] = []
    for path in sorted(path for path in SCRIPTS.glob("*.py") if not path.name.startswith(("_", "bench_"))):
        cpu_seconds(path)
        took = statistics.median(cpu_seconds(path) for _ in range(REPEATS))
        rows.append({"script": path.stem, "cpu_s": f"{took:.3f}"})
        _bench.record(args.out / "startup.csv", rows)


if __name__ == "__main__":
    main()
