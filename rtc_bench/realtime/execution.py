"""Algorithm 1 of arXiv 2506.07339 without threads or a clock: when a chunk is asked for, and which action is executed."""

import collections
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from rtc_bench.realtime import estimates

HOLD, ZERO, REPEAT = "hold", "zero", "repeat"
UNDERRUNS = {  # what is executed past the chunk's end -> what that means
    HOLD: "the last executed action again",
    ZERO: "an action of zeros",
    REPEAT: "the newest chunk's last action",
}


@dataclasses.dataclass(frozen=True)
class ControllerConfig:
    """Raises ValueError for what cannot be executed."""

    prediction_horizon: int  # H, actions in a chunk
    action_size: int  # A
    execution_horizon: int  # s_min, control steps between two requests at least
    initial_delay: int = 1  # control steps, the delay queue's first entry
    remembered_delays: int = 10  # b, the delay queue's length
    estimate: estimates.Estimate = estimates.maximum  # of the next delay, from the delay queue
    underrun: str = HOLD  # one of UNDERRUNS

    def __post_init__(self):
        least = {"prediction_horizon": 1, "action_size": 1, "execution_horizon": 1, "remembered_delays": 1}
        for name, bound in {**least, "initial_delay": 0}.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name}={getattr(self, name)} is too small; it must be {bound} or more")
        if self.execution_horizon > self.prediction_horizon:
            raise ValueError(
                f"execution_horizon={self.execution_horizon} is too large: a chunk has {self.prediction_horizon} actions; "
                f"give 1 to {self.prediction_horizon}"
            )
        if self.underrun not in UNDERRUNS:
            raise ValueError(f"underrun={self.underrun!r} is not valid; underrun: {', '.join(UNDERRUNS)}")

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """[H, A]."""
        return self.prediction_horizon, self.action_size


class Request(NamedTuple):
    """What a chunk is inferred from; the answer's index 0 is ``step``, as ``previous``'s is."""

    obs: Any  # as it was given to the controller
    previous: np.ndarray  # [H, A] float32, the chunk now executing from this step on; past its end it is 0
    delay: int  # d, the estimate, no more than what is left of the chunk
    elapsed: int  # s, control steps since the request before; H - elapsed actions of ``previous`` are left
    step: int  # control step of the observation


class InferenceRecord(NamedTuple):
    """What became of a request that was answered."""

    step: int  # control step of the request
    estimate: int  # control steps, before it was clipped
    delay: int  # control steps, what the request was told
    observed_delay: int  # control steps, D
    seconds: float  # of inference


class Counts(NamedTuple):
    """What happened so far."""

    steps: int  # actions executed
    requests: int  # without the cold start
    underruns: int  # control steps past a chunk's end
    misestimates: int  # answered requests whose estimate, before it was clipped, was not the observed delay


class Execution:
    """The state between control steps. At each: ``request`` if ``is_due``, then ``action``; ``arrive`` when inference ends.

    A chunk's index 0 is the control step of the observation that it was inferred from, because that is how policies are
    trained: (o_t, a_t .. a_(t+H-1)). In the paper's text the action of that step is already gone when the request is made,
    so that there index 0 is the step after it and a delay is one less.

    A chunk that arrives before control step t, asked for at r, replaces the old one at once; its delay is D = t - r, and t
    executes its action D. The next request is made when max(s_min, D) steps have passed. Here H = 6, s_min = 2; chunk b
    arrives late::

        step        0    1    2    3    4    5    6    7    8    9
        request     a         b                        c         d
        inference   a---|     b-----------------------|c---|     d---
        D               1                             5    1
        executed    e0   a1   a2   a3   a4   a5   (a5) b5   c1   c2      e: the first chunk, from ``begin``

    At step 6 nothing is left of a: an underrun, here under ``hold``. b is worth a single action, and what c is told of it is
    d = 1 at most, although the delay queue's longest entry is 5.
    """

    def __init__(self, config: ControllerConfig):
        self.config = config
        self.step = 0  # the next control step
        self.records: list[InferenceRecord] = []  # of answered requests, in their order
        self._requests = self._underruns = self._misestimates = 0
        self._delays = collections.deque([config.initial_delay], maxlen=config.remembered_delays)
        self._chunk: np.ndarray | None = None  # [H, A], executing
        self._chunk_step = 0  # control step of its index 0
        self._open: Request | None = None  # not answered yet
        self._estimate = config.initial_delay  # control steps, that request's, before it was clipped
        self._executed: np.ndarray | None = None  # [A], the last executed action

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        return Counts(self.step, self._requests, self._underruns, self._misestimates)

    @property
    def has_begun(self) -> bool:
        """Whether there is a chunk to execute."""
        return self._chunk is not None

    @property
    def is_due(self) -> bool:
        """Whether a chunk is to be asked for at this step: always at the first one, never while one is inferred."""
        waited = self.step - self._chunk_step
        return self.has_begun and self._open is None and (not self._requests or waited >= self.config.execution_horizon)

    def cold_request(self, obs: Any) -> Request:
        """For the chunk that is executing at the first request: nothing precedes it (``elapsed`` is H, ``delay`` 0)."""
        previous = np.zeros(self.config.chunk_shape, np.float32)
        return Request(obs, previous, delay=0, elapsed=self.config.prediction_horizon, step=self.step)

    def begin(self, chunk: np.ndarray) -> None:
        """Execute ``chunk`` [H, A] from the first control step on. Its inference leaves no trace in the delay queue."""
        self._chunk = chunk

    def request(self, obs: Any) -> Request:
        """Ask for a chunk at this step. Raises RuntimeError if none is due."""
        if self._chunk is None or not self.is_due:
            raise RuntimeError(f"no chunk is due at control step {self.step}")
        shift = self.step - self._chunk_step
        left = self._chunk[shift:]
        previous = np.zeros(self.config.chunk_shape, np.float32)
        previous[: len(left)] = left
        self._estimate = int(self.config.estimate(tuple(self._delays)))
        delay = min(max(self._estimate, 0), len(left))
        elapsed = shift if self._requests else self.config.execution_horizon
        self._requests += 1
        self._open = Request(obs, previous, delay, elapsed, self.step)
        return self._open

    def arrive(self, chunk: np.ndarray, seconds: float = math.nan) -> None:
        """The answer [H, A] to the request, after ``seconds`` of inference. Raises RuntimeError if none was made."""
        if self._open is None:
            raise RuntimeError("a chunk arrived that was not asked for")
        asked = self._open.step
        observed = self.step - asked
        self._delays.append(observed)
        self._misestimates += self._estimate != observed
        self.records.append(InferenceRecord(asked, self._estimate, self._open.delay, observed, seconds))
        self._chunk, self._chunk_step, self._open = chunk, asked, None

    def action(self) -> np.ndarray:
        """The action [A] of this control step, which ends with it. Raises RuntimeError before ``begin``."""
        if self._chunk is None:
            raise RuntimeError("there is no chunk to execute yet")
        index = self.step - self._chunk_step
        if index < len(self._chunk):
            action = self._chunk[index]
        else:
            self._underruns += 1
            choices = {HOLD: self._executed, ZERO: np.zeros_like(self._chunk[-1]), REPEAT: self._chunk[-1]}
            action = choices[self.config.underrun]
        self.step += 1
        self._executed = action
        return action.copy()  # the caller may write to it; the chunk is still needed
