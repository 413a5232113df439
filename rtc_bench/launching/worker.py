"""What runs on a worker: a unit of work, result by result. Light until it starts: JAX shall see its own devices."""

import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rtc_bench.launching import carried_code

PACKAGE = __name__.partition(".")[0]
RESULT, END, ERROR = "result", "end", "error"  # what an answer is


def is_told(error: BaseException) -> bool:
    """Whether it is one of this package's errors, whose message is all that a user needs."""
    return isinstance(error, ValueError | RuntimeError) and type(error).__module__.partition(".")[0] == PACKAGE


class Worker:
    """The body of a Ray actor, which does one unit of work in a process of its own."""

    def __init__(self):
        self._results: Iterator[Any] = iter(())

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        modules: Sequence[carried_code.Module],
        content: bytes,
    ) -> tuple[str, Any]:
        """Begin the work that ``content`` holds, pickled: a function, and what it is called with; it returns an iterator."""
        sys.argv = list(arguments)  # whoever writes down the command writes down the user's
        os.environ.update(environment)
        carried_code.install(modules)

        def begin() -> None:
            from rtc_bench.common import devices

            devices.setup()  # before arrays are unpickled
            work, payload = pickle.loads(content)
            self._results = work(*payload)

        return _answer(begin)

    def next(self) -> tuple[str, Any]:
        """RESULT and the next one; or END; or ERROR and what a user can mend."""
        return _answer(lambda: next(self._results))


def _answer(call) -> tuple[str, Any]:
    try:
        return RESULT, call()
    except StopIteration:
        return END, None
    except ImportError as error:
        from rtc_bench.common import errors

        remedy = f"node {os.uname().nodename} lacks it: install there what this machine has, in the same versions"
        return ERROR, errors.ConfigError(f"{error}; {remedy}")
    except (ValueError, RuntimeError) as error:
        if not is_told(error):
            raise
        return ERROR, error
