"""A loop that keeps its rate."""

import math
import time
from collections.abc import Callable

TOLERANCE = 0.1  # of a period; operating systems wake a loop up some 0.1 ms late at any time


class Pacer:
    """Call ``wait`` at the top of a loop: control step k begins at start + k / hz, the start being the first call.

    A late step does not move those after it, so the rate holds in the mean and delays keep their unit::

        due        0     1     2     3     4     5
        begun      0     1     2          3 4    5         step 3 is late, 4 as well, 5 is in time

    ``clock`` and ``sleep`` are in seconds.
    """

    def __init__(
        self,
        hz: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Raises ValueError for a rate that is none."""
        if not (math.isfinite(hz) and hz > 0):
            raise ValueError(f"hz={hz} is not a rate; give a number above 0")
        self.hz = hz
        self.missed = 0  # control steps that began more than TOLERANCE of a period late
        self.worst_lateness = 0.0  # seconds
        self._clock, self._sleep = clock, sleep
        self._start: float | None = None
        self._step = 0

    def wait(self) -> float:
        """Until the next control step is due; by how many seconds it is late."""
        now = self._clock()
        self._start = now if self._start is None else self._start
        due = self._start + self._step / self.hz
        while now < due:
            self._sleep(due - now)
            now = self._clock()
        self._step += 1
        self.missed += now - due > TOLERANCE / self.hz
        self.worst_lateness = max(self.worst_lateness, now - due)
        return now - due
