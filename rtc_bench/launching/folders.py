"""Stages that read and write folders, run on a Ray cluster: the files travel by content, and come back as they change."""

import concurrent.futures
import contextlib
import dataclasses
import pathlib
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rtc_bench.common import files, progress
from rtc_bench.launching import settings, units, worker

SECONDS = 30.0  # between looks at what has changed
OUT = "out"  # the setting that names the folder where results go

Files = dict[str, bytes | None]  # name below a folder -> content; None: taken away


class Stage(NamedTuple):
    """Work on a folder."""

    name: str  # in messages
    function: Callable[[Any], Any]  # of ``config``, whose folders will be others by then
    config: Any  # settings
    inputs: dict[str, Sequence[str]]  # setting that names a folder -> patterns of the files in it that are needed


class Ended(NamedTuple):
    """How a stage ended."""

    value: Any  # of its function
    error: Exception | None  # of this package, that it was ended by


def run(title: str, stages: Sequence[Stage], launcher: settings.LauncherConfig) -> Iterator[tuple[Stage, Ended]]:
    """How stages end, one after another. Their files appear in ``config.out`` as they are written, so that a stage whose
    worker died, or the same command run again, goes on from them. Raises what ``units.run`` does.
    """
    by_name = {stage.name: stage for stage in stages}
    ended = 0
    with progress.bar(title, len(stages), "pieces") as advance:

        def tell(note: str) -> None:
            if ended < len(stages):
                advance(ended, note=note)

        sent = [units.Unit(stage.name, lambda stage=stage: _payload(stage)) for stage in stages]
        for unit, result in units.run(_work, sent, launcher, tell):
            stage = by_name[unit.name]
            if isinstance(result, Ended):
                ended += 1
                advance(ended)
                yield stage, result
            else:
                _write(pathlib.Path(stage.config.out), result)


def _payload(stage: Stage) -> tuple:
    inputs = {name: _read(pathlib.Path(getattr(stage.config, name)), own) for name, own in stage.inputs.items()}
    return stage.function, stage.config, inputs


def _read(folder: pathlib.Path, patterns: Sequence[str]) -> Files:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def _write(folder: pathlib.Path, changes: Files) -> None:
    """A manifest last, since what it tells of must be there; and nothing is taken away before that."""
    for name in sorted(changes, key=lambda name: (changes[name] is None, name.endswith("manifest.json"), name)):
        content = changes[name]
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            files.write_whole(folder / name, content)


def _work(function: Callable[[Any], Any], config: Any, inputs: dict[str, Files]) -> Iterator[Files | Ended]:
    """On a worker: the function on folders of its own; what changes in ``out``, and how it ended."""
    with tempfile.TemporaryDirectory(prefix="rtc_bench-") as root:
        own = {name: str(pathlib.Path(root) / name) for name in {OUT, *inputs}}
        for name, content in inputs.items():
            _write(pathlib.Path(own[name]), content)
        config_here = dataclasses.replace(config, launcher=settings.LauncherConfig(), **own)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            before = _stamps(pathlib.Path(own[OUT]))
            future = pool.submit(function, config_here)
            yield from _changes(pathlib.Path(own[OUT]), before, future)
            try:
                yield Ended(future.result(), None)
            except (ValueError, RuntimeError) as error:
                if not worker.is_told(error):
                    raise
                message = str(error)
                for name, folder in own.items():  # a user knows his own folders
                    message = message.replace(folder, str(pathlib.Path(getattr(config, name)).absolute()))
                error.args = (message,)
                yield Ended(None, error)


Stamps = dict[str, tuple[int, int]]  # file -> time and size


def _changes(folder: pathlib.Path, before: Stamps, future: concurrent.futures.Future) -> Iterator[Files]:
    """What changes in a folder until the future is there."""
    done = False
    while not done:
        done = bool(concurrent.futures.wait([future], timeout=SECONDS).done)
        now = _stamps(folder)
        changed = {name for name, _ in before.items() ^ now.items()}
        if changed:
            yield {name: _content(folder / name) for name in changed}
        before = now


def _content(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _stamps(folder: pathlib.Path) -> Stamps:
    """Of files that are whole."""
    stamps: Stamps = {}
    for path in folder.rglob("[!.]*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                stamps[str(path.relative_to(folder))] = status.st_mtime_ns, status.st_size
    return stamps
