"""CPU seconds of `--help` for every script, after warm caches: python scripts/bench_startup.py

Writes results/benchmarks/startup.csv (script, cpu_s: the median of several runs).
"""

import pathlib
import resource
import statistics
import subprocess
import sys

SCRIPTS = pathlib.Path(__file__).resolve().parent
TABLE = SCRIPTS.parent / "results" / "benchmarks" / "startup.csv"
REPEATS = 7


def cpu_seconds(script: pathlib.Path) -> float:
    """User and system time of one run in a child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(script), "--help"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and write the table."""
    entries = sorted(path for path in SCRIPTS.glob("*.py") if not path.name.startswith(("_", "bench_")))
    lines = ["script,cpu_s"]
    for path in entries:
        cpu_seconds(path)
        lines.append(f"{path.stem},{statistics.median(cpu_seconds(path) for _ in range(REPEATS)):.3f}")
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text(), end="")


if __name__ == "__main__":
    main()
