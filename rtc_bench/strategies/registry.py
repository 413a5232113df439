"""Strategies by name, and one's own by file or dotted path."""

import dataclasses
import types
from typing import Any

from rtc_bench.common import errors, foreign_code, schema

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
    "served": ("rtc_bench.strategies.inpainting.served:Served", {}),
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
    cls = class_of(target)
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
        line = foreign_code.line_of(error, *foreign_code.source_files(cls))
        raise errors.ConfigError(
            f"strategy {spec!r} with {values}: {type(error).__name__}: {error} ({line})"
        ) from error


def trained_names() -> tuple[str, ...]:
    """The names of those that learn."""
    return tuple(name for name, (target, _) in REGISTRY.items() if class_of(target).training is not None)


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


def class_of(target: str) -> type[Any]:
    """The class of a strategy, by "package.module:Class" or "folder/file.py:Class". Raises UnknownStrategy."""
    check_spec(target)
    source, name = foreign_code.parts(target)
    module = foreign_code.load_module(target, "strategy", UnknownStrategy)
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
