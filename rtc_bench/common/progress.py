"""Progress bars for long work; plain lines now and then where the output is not a terminal."""

import contextlib
import sys
import time
from collections.abc import Iterator

SECONDS_BETWEEN_LINES = 15.0  # between lines where there is no terminal


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator:
    """Yields ``advance(done, total, note="")``."""
    if sys.stderr.isatty():
        import rich.console
        import rich.progress as bars

        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
        columns = (
            *columns,
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[note]}"),
        )
        with bars.Progress(*columns, console=rich.console.Console(stderr=True)) as progress:
            task = progress.add_task(title, total=total, note="")
            yield lambda done, total, note="": progress.update(task, completed=done, total=total, note=note)
        return
    last = [0.0]

    def line(done: int, total: int, note: str = "") -> None:
        if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES or done >= total:
            last[0] = time.monotonic()
            print(f"{title}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    yield line
