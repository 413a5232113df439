"""Strategies by name, and one's own by file or dotted path."""

import dataclasses
import importlib
import importlib.util
import inspect
import pathlib
import sys
import traceback
import types
import zlib
from typing import Any

from rtc_bench.common import errors, schema

# name -> (module:class, fixed options)
REGISTRY: dict[str, tuple[str, dict[str, Any]]] = {
    "naive": ("rtc_bench.strategies.naive:Naive", {}),
    "temporal_ensembling": ("rtc_bench.strategies.temporal_ensembling:TemporalEnsembling", {}),
    "bid": ("rtc_bench.strategies.bid:Bid", {}),
    # As the published code runs BID.
    "bid_no_weak": ("rtc_bench.strategies.bid:Bid", {"use_weak": False, "samples": 16}),
    "rtc": ("rtc_bench.strategies.rtc:Rtc", {}),
    "rtc_linear": ("rtc_bench.strategies.rtc:Rtc", {"schedule": "linear"}),
    "rtc_ones": ("rtc_bench.strategies.rtc:Rtc", {"schedule": "ones"}),
    "rtc_hard": ("rtc_bench.strategies.rtc:Rtc", {"schedule": "zeros"}),
    "rtc_sigma": ("rtc_bench.strategies.inpainting.rtc_sigma:RtcSigma", {}),
    "rtc_sigma_identity": ("rtc_bench.strategies.inpainting.rtc_sigma:RtcSigmaIdentity", {}),
    "inpaint": ("rtc_bench.strategies.inpainting.inpaint:Inpaint", {}),
    "paint": ("rtc_bench.strategies.inpainting.paint:Paint", {}),
    "tt_rtc": ("rtc_bench.strategies.trained.tt_rtc:TtRtc", {}),
    "soft_rtc": ("rtc_bench.strategies.trained.soft_rtc:SoftRtc", {}),
    "vlash": ("rtc_bench.strategies.trained.vlash:Vlash", {}),
    "remac": ("rtc_bench.strategies.trained.remac:Remac", {}),
    "a2c2": ("rtc_bench.strategies.trained.a2c2:A2c2", {}),
    "a2c2_alone": ("rtc_bench.strategies.trained.a2c2:A2c2Alone", {}),
    "sft": ("rtc_bench.strategies.trained.sft:Sft", {}),
    "synchronous": ("rtc_bench.strategies.limits:Synchronous", {}),
    "oracle": ("rtc_bench.strategies.limits:Oracle", {}),
}
NAMES = tuple(REGISTRY)


class UnknownStrategy(errors.ConfigError):
    """A strategy that is neither a name in the registry nor a class that can be imported."""


def build(spec: str, **options: Any):
    """A strategy by name, "package.module:Class" or "folder/file.py:Class"; ``options`` set its fields.

    Raises UnknownStrategy, and ConfigError for options it does not have.
    """
    target, fixed = REGISTRY.get(spec, (spec, {}))
    cls = _imported(target)
    fields = [field.name for field in dataclasses.fields(cls)]
    for name in options:
        if name not in fields:
            near = errors.did_you_mean(name, fields)
            raise errors.ConfigError(
                f"options.{name_of(spec)}.{name}: strategy {spec!r} has no option {name!r}{near}; "
                f"options: {', '.join(fields)}"
            )
    values = dict(fixed)
    try:
        values |= schema.check_types(cls, options)
        return cls(**values)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"options.{name_of(spec)}.{error}") from None
    except Exception as error:  # of a foreign strategy's own checks
        line = _line(error, inspect.getfile(cls))
        raise errors.ConfigError(
            f"strategy {spec!r} with {values}: {type(error).__name__}: {error} ({line})"
        ) from error


def trained_names() -> tuple[str, ...]:
    """The names of those that learn."""
    return tuple(name for name, (target, _) in REGISTRY.items() if _imported(target).training is not None)


def name_of(spec: str) -> str:
    """What a strategy is called in tables and options: a foreign one by its class."""
    return spec.rpartition(":")[2]


def check_spec(spec: str) -> None:
    """Raise UnknownStrategy early, without importing, for what cannot be one."""
    if spec.endswith(".py"):
        raise UnknownStrategy(f"strategy {spec!r} is a file; name the class in it too: {spec}:Class")
    if spec in REGISTRY or ":" in spec or "." in spec:
        return
    near = errors.did_you_mean(spec, NAMES)
    raise UnknownStrategy(
        f"unknown strategy {spec!r}{near}; strategies: {', '.join(NAMES)}, or your own as package.module:Class or file.py:Class"
    )


def _imported(target: str):
    check_spec(target)
    source, _, name = target.rpartition(":") if ":" in target else target.rpartition(".")
    try:
        module = _from_file(pathlib.Path(source)) if source.endswith(".py") else _from_module(source)
    except (ImportError, OSError) as error:
        raise UnknownStrategy(
            f"strategy {target!r} cannot be imported: {error}; check the path and PYTHONPATH"
        ) from error
    except errors.ConfigError as error:  # of what the module builds, such as a training stage
        raise UnknownStrategy(f"strategy {target!r}: {error} ({_line(error, source)})") from error
    except Exception as error:  # whatever the code of a foreign module does
        raise UnknownStrategy(
            f"strategy {target!r} cannot be imported: {type(error).__name__}: {error} ({_line(error, source)})"
        ) from error
    cls = getattr(module, name, None)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and hasattr(cls, "plan")):
        names = [key for key, value in vars(module).items() if _is_strategy(value, module)]
        raise UnknownStrategy(
            f"{source!r} has no strategy {name!r}{errors.did_you_mean(name, names)}; it holds {', '.join(names) or 'none'}; "
            "a strategy is a frozen dataclass derived from rtc_bench.strategies.base.Strategy"
        )
    return cls


def _is_strategy(value: Any, module: types.ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "plan")


def _line(error: Exception, source: str) -> str:
    """Where in a foreign file, or else in what it called, it happened."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(pathlib.Path(source).resolve())]
    return f"{(own or frames)[-1].filename}:{(own or frames)[-1].lineno}"


def _from_module(name: str):
    if str(pathlib.Path.cwd()) not in sys.path:
        sys.path.append(str(pathlib.Path.cwd()))  # a file beside where the command is run
    return importlib.import_module(name)


def _from_file(path: pathlib.Path):
    path = path.resolve()
    name = f"strategy_file_{zlib.crc32(bytes(path)):08x}_{path.stem}"  # no file may pose as a module of the same name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
