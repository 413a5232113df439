"""What a bar says, by a clock of its own: count, rate, time left, and when lines come."""

import io
import sys
import threading

import pytest

from rtc_bench.common import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_count_rate_and_time_left(clock):
    state = progress.Progress("sweep", 240, "cells")
    assert state.line() == "sweep: 0/240"
    clock.now += 20
    state(40, note="mjc_walker bid d=2 s=2")
    assert state.line() == "sweep: 40/240, 2.0 cells/s, some 1:40 left, mjc_walker bid d=2 s=2"
    clock.now += 30  # nothing more was done meanwhile
    assert state.line() == "sweep: 40/240, 2.0 cells/s, some 1:10 left, mjc_walker bid d=2 s=2"
    clock.now += 100  # longer than all of the rest was to take: nobody knows
    assert state.line() == "sweep: 40/240, 2.0 cells/s, mjc_walker bid d=2 s=2"
    state(240)
    assert state.line() == "sweep: 240/240, 1.6 cells/s, took 2:30"


@pytest.mark.parametrize(
    ("count", "seconds", "rate"),
    [(1_200_000, 10, "120,000 steps/s"), (3, 2, "1.5 steps/s"), (1, 30, "2.0 steps/min"), (2, 3600, "2.0 steps/h")],
)
def test_a_rate_has_a_unit_in_which_it_is_one_or_more(clock, count, seconds, rate):
    state = progress.Progress("", 10**7, "steps")
    clock.now += seconds
    state(count)
    assert state.figures().split(", ", 1)[1].startswith(rate)


def test_what_was_done_before_says_nothing_about_the_pace(clock):
    state = progress.Progress("flow", 10, "epochs", done=6)
    clock.now += 60
    state(8)
    assert state.figures() == "8/10, 2.0 epochs/min, some 1:00 left"


def test_compiling_says_nothing_about_the_pace(clock):
    """30 s of compiling with the first round, then 2 s a round: 16 s for the other 8."""
    state = progress.Progress("train", 10, "rounds")
    state.wait("compiling mjc_walker")
    clock.now += 30
    assert state.line() == "train: 0/10, compiling mjc_walker"
    state(1)
    clock.now += 2
    state(2)
    assert state.figures() == "2/10, 30 rounds/min, some 0:16 left"


def test_expected_work_counts_rather_than_cells(clock):
    """Of 2 x 10 s and 8 x 1,000 s the former are done, twice as slowly: at first expectation counts, later the pace."""
    state = progress.Progress("sweep", 10, "cells", work=8020.0)
    assert state.seconds_left() == 8020
    clock.now += 40
    state(2, work=20.0)
    slowness = (40 + progress.TRUSTED_SECONDS) / (20 + progress.TRUSTED_SECONDS)
    assert state.seconds_left() == pytest.approx(8000 * slowness)
    assert state.share() == pytest.approx(20 / 8020)
    clock.now += 2000
    state(3, work=1020.0)
    assert state.seconds_left() == pytest.approx(7000 * 2, rel=0.02)


@pytest.fixture
def lines(monkeypatch, clock):
    """A call that lets three pauses pass; they take no time, but the clock goes on."""
    begun, passed, more = threading.Event(), threading.Event(), [3]

    def waited(stopped, seconds):
        begun.wait(10)
        if not more[0]:
            passed.set()
            return stopped.wait()
        more[0] -= 1
        clock.now += seconds
        return False

    monkeypatch.setattr(progress, "_waited", waited)

    def pass_pauses():
        begun.set()
        assert passed.wait(10)

    return pass_pauses


def test_a_log_file_gets_a_line_soon_one_a_minute_and_one_at_the_end(lines, clock, capsys):
    with progress.bar("sweep", 4, "cells") as advance:
        advance.wait("compiling catapult")
        lines()
        clock.now += 8
        advance(4)
    text = capsys.readouterr().err.splitlines()
    assert text[:3] == ["sweep: 0/4, compiling catapult"] * 3  # nothing was done, and still it is heard of
    assert text[3:] == ["sweep: 4/4, took 2:10"]  # 2 + 60 + 60 + 8
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_stops_the_lines(lines, error, capsys):
    def work():
        with progress.bar("sweep", 4, "cells"):
            lines()
            raise error

    with pytest.raises(error):
        work()
    assert capsys.readouterr().err.splitlines() == ["sweep: 0/4"] * 3
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_nothing_to_do_and_what_is_soon_done_say_nothing(capsys):
    with progress.bar("sweep", 0):
        pass
    assert list(progress.each("tasks", ["a", "b"], "tasks")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch, clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.bar("sweep", 4, "cells") as advance:
        clock.now += 2
        advance(2, note="catapult rtc d=1 s=1")
    text = sys.stderr.getvalue()
    assert "2/4, 1.0 cells/s, some 0:02 left" in text
    assert "catapult rtc d=1 s=1" in text
    assert text.endswith("\x1b[?25h")  # the cursor is back
