"""Algorithm 1 of arXiv 2506.07339: actions at a fixed rate, while the next chunk is inferred in the background."""

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from rtc_bench.realtime import execution


class InferenceFailed(RuntimeError):
    """Inference raised, or its answer is no chunk; the cause is the original error."""


class InferenceHangs(RuntimeError):
    """Inference did not end in time when the controller was stopped."""


class NotRunning(RuntimeError):
    """An action was asked for before ``start`` or after ``stop``."""


class Controller:
    """``start`` once, then ``get_action`` at every control step; ``infer`` turns a request into a chunk [H, A].

    ``execution.Execution`` draws who executes when. Inference runs in one thread, the cold start too, because compiled
    programs and settings may belong to a thread; no lock is held meanwhile. An observation is handed to ``infer`` as it is,
    so do not write to it afterwards. Chunks are kept as float32. ``clock`` gives the seconds of inference.
    """

    def __init__(
        self,
        infer: Callable[[execution.Request], Any],
        config: execution.ControllerConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._infer, self._config, self._clock = infer, config, clock
        self._execution = execution.Execution(config)
        self._changed = threading.Condition()  # guards what is below, and the execution
        self._request: execution.Request | None = None  # being inferred, or about to be
        self._failure: tuple[int, BaseException] | None = None  # control step of the request, error
        self._stopped = False
        # A daemon: if inference hangs, the process can end all the same.
        self._thread = threading.Thread(target=self._inference_loop, name="inference", daemon=True)

    def start(self, obs: Any) -> float:
        """Infer the first chunk and wait for it (cold start: compilation); its seconds, which no estimate will see.

        Raises InferenceFailed, and NotRunning if it was started or stopped before.
        """
        with self._changed:
            if self._stopped or self._thread.ident is not None:
                raise NotRunning("a controller starts once; make a new one")
            begun = self._clock()
            self._request = self._execution.cold_request(obs)
            self._thread.start()
            self._changed.wait_for(lambda: self._request is None or self._stopped)
            self._check()
            return self._clock() - begun

    def get_action(self, obs: Any) -> np.ndarray:
        """The action [A] of this control step, without waiting; asks for a chunk with ``obs`` when one is due.

        Raises InferenceFailed, also ever after, if inference failed since, and NotRunning; neither takes a control step.
        """
        with self._changed:
            self._check()
            if self._execution.is_due:
                self._request = self._execution.request(obs)
                self._changed.notify_all()
            return self._execution.action()

    def wait_for_answer(self, timeout: float) -> bool:
        """Wait until nothing is being inferred, for ``timeout`` seconds at most; whether it is so. For a world that waits."""
        with self._changed:
            return self._changed.wait_for(lambda: self._request is None or self._stopped, timeout)

    def stop(self, timeout: float = 2.0) -> None:
        """End the thread; an answer that is still to come is dropped. Raises InferenceHangs after ``timeout`` seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise InferenceHangs(
                f"inference did not end within {timeout:g} s; its thread goes on, its answer will be dropped, and being a "
                "daemon it ends with the process at the latest"
            )

    @property
    def records(self) -> list[execution.InferenceRecord]:
        """Of every answered request, in their order."""
        with self._changed:
            return list(self._execution.records)

    @property
    def counts(self) -> execution.Counts:
        """What happened so far."""
        with self._changed:
            return self._execution.counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            self.stop()
        except InferenceHangs as hang:
            if error is None:
                raise
            error.add_note(str(hang))  # what went wrong first matters more

    def _check(self) -> None:
        if self._stopped:
            raise NotRunning("the controller was stopped; make a new one")
        if self._failure is not None:
            step, error = self._failure
            reason = str(error).strip().partition("\n")[0]
            raise InferenceFailed(
                f"inference asked for at control step {step} failed: {type(error).__name__}{reason and f': {reason}'}"
            ) from error
        if not self._execution.has_begun:
            raise NotRunning("there is no chunk yet; call start(obs) first, and let it return")

    def _inference_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._request is not None or self._stopped)
                request = self._request
                if self._stopped or request is None:
                    return
            try:
                begun = self._clock()
                chunk = _checked(self._infer(request), self._config.chunk_shape)
                seconds = self._clock() - begun
            except BaseException as error:  # also SystemExit, or the robot would wait for a thread that has ended
                with self._changed:
                    self._failure, self._request = (request.step, error), None
                    self._changed.notify_all()
                return
            with self._changed:
                if self._stopped:
                    return
                if self._execution.has_begun:
                    self._execution.arrive(chunk, seconds)
                else:
                    self._execution.begin(chunk)
                self._request = None
                self._changed.notify_all()


def _checked(answer: Any, shape: tuple[int, int]) -> np.ndarray:
    """An answer as a chunk [H, A] float32 of our own. Waits for asynchronous arrays. Raises ValueError."""
    chunk = np.array(answer, np.float32)
    if chunk.shape != shape:
        raise ValueError(f"the chunk's shape is {chunk.shape}, and must be [H, A] = {shape}")
    if not np.isfinite(chunk).all():
        index = int(np.argmin(np.isfinite(chunk).all(axis=1)))
        raise ValueError(f"the chunk's action {index} is inf or nan: {chunk[index].tolist()}")
    return chunk
