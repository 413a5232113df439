"""Long work looks alive: a bar where there is a terminal, elsewhere a line a minute, both with rate and time left."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES, SECONDS_TO_FIRST_LINE = 60.0, 2.0  # where there is no terminal
BAR_WIDTH = 12
TRUSTED_SECONDS = 30.0  # so long the expected work is believed, before the pace that is met takes over


class Progress:
    """How far some work is. The time left goes by its expected ``work`` where that is known, else by counting."""

    def __init__(self, title: str, total: int, unit: str = "", *, done: int = 0, work: float | None = None):
        """``unit``: what is counted, in the plural; ``done`` before; ``work``: seconds that all of the rest should take."""
        self.title, self.total, self.unit, self.done, self.work = title, total, unit, done, work
        self.note, self.work_done, self.is_waiting = "", 0.0, False
        self.began = self.advanced = self.told = time.monotonic()
        self.uncounted_seconds, self.uncounted = 0.0, done  # of waiting, and what became done meanwhile or before

    def __call__(self, done: int, total: int | None = None, note: str = "", work: float | None = None) -> None:
        """So many are done, by now ``work`` of the expected seconds; ``note`` says what comes next, or how it goes."""
        self._end_waiting(done - self.done)
        if done > self.done:
            self.advanced = time.monotonic()
        self.done, self.total, self.note = done, self.total if total is None else total, note
        self.work_done = self.work_done if work is None else work

    def wait(self, note: str) -> None:
        """Something is waited for that says nothing about the pace, such as compiling."""
        self._end_waiting(0)
        self.note, self.is_waiting = note, True

    def _end_waiting(self, done: int) -> None:
        now = time.monotonic()
        if self.is_waiting:
            self.uncounted_seconds += now - self.told
            self.uncounted += done
        self.told, self.is_waiting = now, False

    def seconds_left(self) -> float | None:
        """None where nothing says it yet."""
        now, counted = time.monotonic(), self.done - self.uncounted
        if self.work is not None:
            slowness = (self.advanced - self.began + TRUSTED_SECONDS) / (self.work_done + TRUSTED_SECONDS)
            left = (self.work - self.work_done) * slowness
        elif counted > 0:
            left = (self.total - self.done) * self._seconds_counted(self.advanced) / counted
        else:
            return None
        waited = now - self.told if self.is_waiting and self.work is None else 0.0
        left -= now - self.advanced - waited
        return left if left > 0 or self.done >= self.total else None  # it takes longer than was thought

    def share(self) -> float:
        """Of the work that is done, from 0 to 1."""
        if self.done >= self.total:
            return 1.0
        return min(self.work_done / self.work, 1.0) if self.work else self.done / self.total

    def _seconds_counted(self, until: float) -> float:
        return until - self.began - self.uncounted_seconds

    def figures(self) -> str:
        """Count, rate, time left: "37/240, 1.4 cells/s, some 2:25 left"; where all is done, the time it took."""
        now, parts = time.monotonic(), [f"{self.done:,}/{self.total:,}"]
        counted, seconds = self.done - self.uncounted, self._seconds_counted(self.advanced)
        if counted > 0 and seconds > 0:
            parts.append(_rate(counted / seconds, self.unit))
        if self.done >= self.total:
            return ", ".join([*parts, f"took {clock(now - self.began)}"])
        left = self.seconds_left()
        return ", ".join(parts if left is None else [*parts, f"some {clock(left)} left"])

    def line(self) -> str:
        """All of it, for a log file."""
        return f"{self.title}: {self.figures()}" + f", {self.note}" * bool(self.note)


def clock(seconds: float) -> str:
    """0:07, 12:30 or 3:00:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _rate(rate: float, unit: str) -> str:
    name, value = next(((name, rate * s) for name, s in (("s", 1), ("min", 60)) if rate * s >= 1), ("h", rate * 3600))
    return f"{value:,.0f} {unit}/{name}" if value >= 20 else f"{value:.1f} {unit}/{name}"


@contextlib.contextmanager
def bar(title: str, total: int, unit: str = "steps", *, done: int = 0, work: float | None = None) -> Iterator[Progress]:
    """Shows a ``Progress`` on stderr while it lasts; nothing where there is nothing to do."""
    state = Progress(title, total, unit, done=done, work=work)
    if done >= total:
        yield state
    elif sys.stderr.isatty():
        with _on_terminal(state):
            yield state
    else:
        with _in_lines(state):
            yield state


@contextlib.contextmanager
def _on_terminal(state: Progress) -> Iterator[None]:
    import rich.console
    import rich.live
    import rich.text

    console = rich.console.Console(stderr=True)
    mark = "-" if console.options.ascii_only else "━"

    def row() -> rich.text.Text:
        full = round(BAR_WIDTH * state.share())
        bar = ((mark * full, "green"), (mark * (BAR_WIDTH - full), "grey37"))
        texts = (f"{state.title} ", *bar, f" {state.figures()}", (f"  {state.note}", "dim"))
        return rich.text.Text.assemble(*texts, no_wrap=True, overflow="ellipsis")

    own_stdout = sys.stdout.isatty()  # a file that stdout goes to gets what is printed meanwhile
    with rich.live.Live(get_renderable=row, console=console, refresh_per_second=4, redirect_stdout=own_stdout):
        yield


def each(title: str, items: Sequence[Item], unit: str) -> Iterator[Item]:
    """The items in turn, with a bar that names the one that is at work."""
    with bar(title, len(items), unit) as advance:
        for number, item in enumerate(items):
            advance(number, note=", ".join(map(str, item)) if isinstance(item, tuple) else str(item))
            yield item
        advance(len(items))


def _waited(stopped: threading.Event, seconds: float) -> bool:
    """Whether it was stopped within so many seconds."""
    return stopped.wait(seconds)


@contextlib.contextmanager
def _in_lines(state: Progress) -> Iterator[None]:
    """A line soon, then every minute, whatever the work does meanwhile; and one at its end, unless that is an error."""
    stopped = threading.Event()

    def print_lines() -> None:
        pause = SECONDS_TO_FIRST_LINE
        while not _waited(stopped, pause):
            _print(state.line())
            pause = SECONDS_BETWEEN_LINES

    thread = threading.Thread(target=print_lines, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
    if time.monotonic() - state.began >= SECONDS_TO_FIRST_LINE:
        _print(state.line())


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")  # in one piece
    sys.stderr.flush()
