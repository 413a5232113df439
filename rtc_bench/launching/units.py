"""Units of work, run on a Ray cluster: each by a worker of its own, tried again where a worker dies."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rtc_bench.common import errors, versions
from rtc_bench.launching import carried_code, cluster, settings, worker


class Unit(NamedTuple):
    """A piece of work."""

    name: str  # in messages
    payload: Callable[
        [], tuple
    ]  # what the work is called with; asked for at every try, since less is left to do by then


class WorkersDied(RuntimeError):
    """The workers of a unit died again and again."""


def run(
    work: Callable[..., Iterator[Any]],
    units: Sequence[Unit],
    launcher: settings.LauncherConfig,
    on_change: Callable[[str], None] = lambda note: None,
) -> Iterator[tuple[Unit, Any]]:
    """Every unit's results as they come: a worker iterates over ``work(*payload)``. ``on_change`` hears how units stand.

    What a worker raises of this package's errors is raised here as it is. Raises ConfigError where there is no such cluster,
    and WorkersDied.
    """
    running = _Run(work, launcher, cluster.connect(launcher), len(units))
    try:
        for unit in units:
            running.start(unit)
        while running.attempts:
            on_change(running.note())
            yield from running.next_results()
        on_change(running.note())
    except KeyboardInterrupt:
        cluster.disconnect()  # nothing else is tidied up then
        raise
    finally:
        running.end()


@dataclasses.dataclass(eq=False)
class _Attempt:
    """A unit's worker."""

    unit: Unit
    worker: Any
    started: bool = False


class _Run:
    """The units that are not done."""

    def __init__(self, work: Callable, launcher: settings.LauncherConfig, capacity: cluster.Capacity, count: int):
        import ray

        self.ray, self.work, self.launcher, self.count = ray, work, launcher, count
        environment = {versions.COMMIT: versions.commit()}
        if not capacity.gpus:
            environment["RTC_BENCH_DEVICES"] = str(launcher.cpus)
        resources = {"num_cpus": 1, "num_gpus": 1} if capacity.gpus else {"num_cpus": launcher.cpus}
        self.worker = ray.remote(worker.Worker).options(max_restarts=0, **resources)
        self.common = sys.argv, environment, carried_code.collect()
        self.attempts: dict[Any, _Attempt] = {}  # by the answer that is waited for
        self.done = 0
        self.deaths: dict[str, int] = {}  # of a unit's workers, since its last result

    def note(self) -> str:
        """How units stand."""
        running = sum(attempt.started for attempt in self.attempts.values())
        return f"{self.done} done, {running} running, {self.count - self.done - running} waiting"

    def start(self, unit: Unit) -> None:
        """Ask for a worker. Raises ConfigError for what cannot be sent to one."""
        import ray.cloudpickle

        try:
            content = ray.cloudpickle.dumps((self.work, unit.payload()))
        except Exception as error:  # whatever a user's objects raise
            raise errors.ConfigError(
                f"{unit.name} cannot be sent to a worker ({type(error).__name__}: {errors.first_line(error)}); "
                "what a strategy or policy holds must be picklable; or use launcher=local"
            ) from error
        attempt = _Attempt(unit, self.worker.remote())
        self.attempts[attempt.worker.start.remote(*self.common, content)] = attempt

    def next_results(self) -> Iterator[tuple[Unit, Any]]:
        """Those that have come within a second."""
        for answer in self.ray.wait(list(self.attempts), timeout=1.0)[0]:
            attempt = self.attempts.pop(answer)
            try:
                kind, value = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError:
                raise  # a defect of ours: all of it is shown
            except self.ray.exceptions.RayError as error:
                self._try_again(attempt, error)
                continue
            if kind == worker.ERROR:
                raise value
            if kind == worker.END:
                self.done += 1
                self.ray.kill(attempt.worker)
                continue
            self.attempts[attempt.worker.next.remote()] = attempt  # it works on while its result is dealt with
            if attempt.started:
                self.deaths[attempt.unit.name] = 0
                yield attempt.unit, value
            attempt.started = True

    def _try_again(self, attempt: _Attempt, error: Exception) -> None:
        name = attempt.unit.name
        self.deaths[name] = self.deaths.get(name, 0) + 1
        if isinstance(error, self.ray.exceptions.RuntimeEnvSetupError | self.ray.exceptions.ActorUnschedulableError):
            raise errors.ConfigError(f"Ray cannot start a worker for {name}: {_cause(error)}") from error
        if self.deaths[name] >= self.launcher.tries:
            raise WorkersDied(
                f"{name}: {self.deaths[name]} workers died one after another ({_cause(error)}); what is finished is kept; "
                "look for memory running out there, and run the same command again"
            ) from error
        print(f"{name}: its worker died ({_cause(error)}); it goes on in another", file=sys.stderr, flush=True)
        self.ray.kill(attempt.worker)
        self.start(attempt.unit)

    def end(self) -> None:
        """Stop the workers that are left."""
        if self.ray.is_initialized():
            for attempt in self.attempts.values():
                self.ray.kill(attempt.worker)


def _cause(error: Exception) -> str:
    return errors.first_line(error).strip().rstrip(".:")
