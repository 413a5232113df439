"""The published policies of several tasks: downloaded, converted, and what is missing told in one line."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Mapping

from rtc_bench.common import devices, files, progress
from rtc_bench.policies import checkpoint, import_reference
from rtc_bench.policies.published import download, settings

INTERFACE = "kinetix"  # that they were made for


class Unfinished(RuntimeError):
    """Some policies are missing; the message names them, the reason and the remedy."""


def fetch(config: settings.FetchPublishedConfig) -> None:
    """Bring <out>/<task>.safetensors up to date, task by task; one that is there already costs nothing.

    Raises Unfinished, after all tasks, OSError where files cannot be written, and ConfigError where JAX has no device.
    """
    devices.setup()
    sources = {task: _sources(config, task) for task in config.tasks}
    wanted = {task: files_by_url for task, files_by_url in sources.items() if not _is_made(config, task, files_by_url)}
    failures: dict[str, Exception] = {}
    unreachable: download.Unreachable | None = None
    total = sum(map(len, wanted.values()))
    with progress.bar("published policies", total) as advance:
        for number, (task, files_by_url) in enumerate(wanted.items()):
            done = number * len(files_by_url)
            try:
                absent = _absent(files_by_url)
                if unreachable is not None and absent:
                    raise unreachable
                others = sum(len(_absent(later)) for later in list(wanted.values())[number + 1 :])
                for part, (url, file) in enumerate(absent.items()):
                    tell = functools.partial(advance, done + part, total)
                    _download(config, url, file, tell, len(absent) - part + others)
                _convert(config, task, files_by_url)
            except download.Unreachable as error:
                failures[task] = unreachable = error
            except (download.DownloadError, checkpoint.CheckpointError) as error:
                failures[task] = error
        if wanted and not failures:
            advance(total, total)
    there = len(config.tasks) - len(failures)
    new = len(wanted) - len(failures)
    if there:
        print(f"{there} of {len(config.tasks)} published policies are in {config.out}, {new} of them new", flush=True)
    if failures:
        raise Unfinished(_cannot_reach(config, unreachable) if unreachable else _missing(config, failures))


def _sources(config: settings.FetchPublishedConfig, task: str) -> dict[str, pathlib.Path]:
    """Address -> file, of a task's policy and then of its weak one."""
    paths = [_path(epoch, task) for epoch in _epochs(config)]
    return {f"{config.source.rstrip('/')}/{path}": _downloads(config) / path for path in paths}


def _epochs(config: settings.FetchPublishedConfig) -> tuple[int, ...]:
    return (config.epoch,) if config.early is None else (config.epoch, config.early)


def _path(epoch: int, task: str) -> str:
    return f"bc/{epoch}/policies/worlds_l_{task}.pkl"


def _downloads(config: settings.FetchPublishedConfig) -> pathlib.Path:
    return pathlib.Path(config.out) / "downloads"


def _converted(config: settings.FetchPublishedConfig, task: str) -> pathlib.Path:
    return pathlib.Path(config.out) / f"{task}.safetensors"


def _absent(files_by_url: Mapping[str, pathlib.Path]) -> dict[str, pathlib.Path]:
    return {url: file for url, file in files_by_url.items() if not download.is_whole(file, url)}


def _is_made(config: settings.FetchPublishedConfig, task: str, files_by_url: Mapping[str, pathlib.Path]) -> bool:
    """The checkpoint is made from these addresses, and from these files where they are still there.

    One that was made from others is deleted, so that nobody takes it for what is fetched now.
    """
    converted, made_from = _converted(config, task), {}
    with contextlib.suppress(checkpoint.CheckpointError):  # absent or damaged
        made_from = checkpoint.read_header(converted).get("sources", {})
    digests = {url: files.sha256(file) if file.exists() else made_from.get(url) for url, file in files_by_url.items()}
    if made_from and made_from != digests:
        converted.unlink()
    return bool(made_from) and made_from == digests


def _download(
    config: settings.FetchPublishedConfig, url: str, file: pathlib.Path, tell: Callable[[str], None], files_left: int
) -> None:
    name = "/".join(file.parts[-4:])
    tell(name)

    def tell_bytes(count: int, total: int | None) -> None:
        size = "" if total is None else f" of {total / 1e6:.1f}"
        tell(f"{name} {count / 1e6:.1f}{size} MB")

    options = {"timeout": config.timeout, "retries": config.retries, "files_like_it": files_left}
    download.fetch(url, file, **options, advance=tell_bytes)


def _convert(config: settings.FetchPublishedConfig, task: str, files_by_url: Mapping[str, pathlib.Path]) -> None:
    """Write the checkpoint. Raises CheckpointError."""
    pickle, *weak = files_by_url.values()
    policy = import_reference.load(pickle, weak=weak[0] if weak else None)
    digests = {url: files.sha256(file) for url, file in files_by_url.items()}
    card = {"task": task, "interface": INTERFACE, "data": f"published, epoch {config.epoch}", "sources": digests}
    checkpoint.save_flow(_converted(config, task), policy, card)


def _cannot_reach(config: settings.FetchPublishedConfig, error: download.Unreachable) -> str:
    names = " and ".join(dict.fromkeys(_path(epoch, "<task>") for epoch in _epochs(config)))
    return (
        f"cannot reach {error.url} ({error.reason}); check the network (behind a proxy set HTTPS_PROXY), give source= of "
        f"a mirror, or put {names} into {_downloads(config)} by hand, and run the same command again"
    )


def _missing(config: settings.FetchPublishedConfig, failures: Mapping[str, Exception]) -> str:
    """Tasks with the same reason stand together, with the first one's address."""
    tasks_by_reason: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for task, error in failures.items():
        if isinstance(error, download.DownloadError):
            reason, text = error.reason, f"{error.reason}, {error.url}"
        else:
            reason = text = f"{error}; delete that file to fetch it again"
        texts.setdefault(reason, text)
        tasks_by_reason.setdefault(reason, []).append(task)
    items = "; ".join(f"{', '.join(tasks)} ({texts[reason]})" for reason, tasks in tasks_by_reason.items())
    remedy = "give source= of a mirror that has them"
    if any(f"/bc/{config.early}/" in str(error) for error in failures.values()):
        remedy += ", or early=null to do without weak policies"
    return f"missing: {items}. Run the same command again later, or {remedy}; a sweep plays those that are there"
