"""What the benchmark scripts share: their command line, and tables that are whole after every row."""

import argparse
import collections.abc
import contextlib
import pathlib

from _checkout import ROOT

from rtc_bench import envs
from rtc_bench.common import errors, tables
from rtc_bench.policies import checkpoint

Measurement = dict[str, object]


def task_parser(doc: str, tasks: collections.abc.Sequence[str] = envs.TASKS) -> argparse.ArgumentParser:
    """A command line with tasks (``tasks`` by default) and --out."""
    parser = output_parser(doc)
    parser.add_argument("tasks", nargs="*", metavar="task", default=list(tasks), help=f"default: {', '.join(tasks)}")
    return parser


def output_parser(doc: str) -> argparse.ArgumentParser:
    """A command line with --out."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = ROOT / "runs" / "benchmarks"
    parser.add_argument("--out", type=pathlib.Path, default=folder, help="folder; default runs/benchmarks")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; a task that does not exist, a count below 1 or a folder out of reach ends the script with one line."""
    args = parser.parse_args()
    for task in getattr(args, "tasks", []):
        if task not in envs.TASKS:
            parser.error(f"unknown task {task!r}; tasks: {', '.join(envs.TASKS)}")
    for name, value in vars(args).items():
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            parser.error(f"{name} is {value}; give 1 or more")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: {error.strerror}; give a folder where you may write")
    return args


@contextlib.contextmanager
def refusals(parser: argparse.ArgumentParser) -> collections.abc.Iterator[None]:
    """Data or policies that are missing or do not fit end the script with one line."""
    try:
        yield
    except (errors.ConfigError, checkpoint.CheckpointError) as error:
        parser.error(str(error))


def record(path: pathlib.Path, rows: list[Measurement], newest: Measurement | None = None) -> None:
    """Write all rows, and print the newest: the last one unless told."""
    tables.write(rows, path)
    show(newest or rows[-1])


def show(row: Measurement) -> None:
    """Print a row."""
    print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
