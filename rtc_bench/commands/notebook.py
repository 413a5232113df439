"""A sweep and a comparison as calls that return tables, for notebooks and programs: ``rtc_bench.evaluate``, ``.compare``."""

import atexit
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import pandas as pd

from rtc_bench.analysis import paired_comparison
from rtc_bench.commands import compare as compare_command
from rtc_bench.commands import sweep as sweep_command
from rtc_bench.common import errors
from rtc_bench.evaluation import results, run_folder, settings
from rtc_bench.evaluation import sweep as sweeps
from rtc_bench.strategies import base, registry

OneStrategy = str | type[base.Strategy] | base.Strategy
Strategies = OneStrategy | list[OneStrategy] | tuple[OneStrategy, ...]
Out = str | os.PathLike | None


def evaluate(
    strategy: Strategies, *, task: Any = "all", delay: Any = "0..4", out: Out = None, **more_settings: Any
) -> pd.DataFrame:
    """Solve rates and smoothness of strategies under inference delay: the rows and columns of results.csv.

    ``strategy``: a name, "file.py:Class", "package.module:Class", a class, an object with its options set, or a list of
    these; a class may stand in the notebook itself. ``delay``: 2, [0, 2, 4], or "0..4". ``task``: a name, a list, or "all".
    ``more_settings`` are those of ``rtc-bench sweep``: ``episodes=64, options={"rtc": {"max_guidance_weight": 3}}``.

    Finished cells are kept until Python ends, so that a call that was interrupted continues and the same call again is
    quick; with ``out`` in that run folder, for good. wandb is off unless ``wandb={"mode": "offline"}``, with ``out``.
    Raises ConfigError and what else ``evaluation.sweep.prepare`` does.
    """
    config = _settings(settings.SweepConfig, out, {"task": task, "delay": delay, **more_settings}, strategy=strategy)
    prepared = sweeps.prepare(config)
    folder = pathlib.Path(out) if out else compare_command.folder_of(prepared, _folder_of_this_process())
    is_new = sweeps.fill_run_folder(prepared, folder)
    runs = run_folder.load([folder])
    if is_new and config.wandb.mode != "disabled":
        sweep_command.log(config, runs, folder)
    return pd.DataFrame([dataclasses.asdict(row) for row in runs.rows], columns=list(results.COLUMNS))


def compare(
    strategy: Strategies,
    *,
    baseline: Strategies = settings.CompareConfig.baseline,
    task: Any = "all",
    delay: Any = "0..4",
    out: Out = None,
    **more_settings: Any,
) -> pd.DataFrame:
    """Where strategies win against baselines, by paired episodes: the rows and columns of comparisons.csv.

    A row for each strategy, baseline and delay: the difference of solve rates with its 95 % interval and a verdict (ahead,
    behind, undecided), in the mean over tasks and in each task; without a delay: the mean over delays. Arguments are those of
    ``evaluate``; ``out`` is a folder of run folders. Baselines that were played are not played again.
    """
    chosen = {"task": task, "delay": delay, **more_settings}
    config = _settings(settings.CompareConfig, out, chosen, strategy=strategy, baseline=baseline)
    records = []
    for played in compare_command.play(config):
        for comparisons in compare_command.verdicts(played).values():
            records += paired_comparison.records([comparison for part in comparisons for comparison in part])
        if played.is_new and config.wandb.mode != "disabled":
            sweep_command.log(config, played.runs, played.folder)
    return pd.DataFrame(records).astype({"delay": "Int64"})


def _settings(cls: type[settings.SweepConfig], out: Out, values: Mapping[str, Any], **strategies: Strategies) -> Any:
    """Checked settings; strategies become specs and options. Raises ConfigError."""
    values = {name: list(value) if isinstance(value, range) else value for name, value in values.items()}
    if isinstance(values.get("launcher"), str):
        values["launcher"] = {"name": values["launcher"]}
    wandb = values.get("wandb", {"mode": "disabled"})
    if not out and wandb != {"mode": "disabled"}:
        raise errors.ConfigError("wandb= is given, and no folder that keeps the run; give out= as well")
    options = dict(values.get("options") or {})
    flow_steps = values.get("flow_steps", settings.SweepConfig.flow_steps)
    for name, given in strategies.items():
        values[name] = []
        for one in given if isinstance(given, list | tuple) else [given]:
            spec, own_options = _spec(one, flow_steps)
            values[name].append(spec)
            if own_options:
                own_name = registry.name_of(spec)
                options[own_name] = {**options.get(own_name, {}), **own_options}
    folder = os.fspath(out) if out else str(_folder_of_this_process())
    return cls.from_mapping({**values, "options": options, "wandb": wandb, "out": folder})


@functools.cache
def _folder_of_this_process() -> pathlib.Path:
    folder = tempfile.mkdtemp(prefix="rtc_bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


def _spec(strategy: OneStrategy, flow_steps: int) -> tuple[str, dict[str, Any]]:
    """The spec that finds a strategy's class, and the options that it has been given. Raises ConfigError."""
    if isinstance(strategy, str):
        return strategy, {}
    cls = strategy if isinstance(strategy, type) else type(strategy)
    if not issubclass(cls, base.Strategy):
        raise errors.ConfigError(
            f"strategy={strategy!r} is none; give a name, file.py:Class, a class derived from "
            "rtc_bench.strategies.base.Strategy, an object of one, or a list of these"
        )
    target = f"{cls.__module__}:{cls.__qualname__}"
    if "<locals>" in target or registry.class_of(target) is not cls:
        raise errors.ConfigError(
            f"strategy {cls.__qualname__} is not what {cls.__module__} has by this name now; define the class at the top "
            "of a cell or a file, and make the object again after a change"
        )
    names = {own: name for name, (own, fixed) in registry.REGISTRY.items() if not fixed}
    spec = names.get(target, target)
    return spec, {} if isinstance(strategy, type) else _options(strategy, registry.name_of(spec), flow_steps)


def _options(strategy: base.Strategy, name: str, flow_steps: int) -> dict[str, Any]:
    """Those of its fields that are not as a sweep with these flow steps would set them."""
    options = {}
    for field in dataclasses.fields(strategy):
        value = getattr(strategy, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = flow_steps if field.name == "flow_steps" else default
        if value is not default and value != default:
            options[field.name] = value
    try:
        return json.loads(json.dumps(options))
    except TypeError as error:
        raise errors.ConfigError(f"options of {name}: {error}; use numbers, texts and lists of them") from None
