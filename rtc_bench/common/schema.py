"""What settings are: frozen dataclasses that are built from a config file's mapping and checked. Light: no JAX."""

import contextlib
import dataclasses
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from rtc_bench.common import errors


class Settings:
    """Base of every settings dataclass: building one from the mapping that a config file holds."""

    UNNAMED: ClassVar[str] = ""  # the setting that command-line arguments without a name go to
    DRY_RUN: ClassVar[bool] = False  # whether the command that takes these settings also takes dry_run=True

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Checks names and types, also of nested settings. Raises ConfigError."""
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if not isinstance(values, Mapping):
            raise errors.ConfigError(f"{values!r} is not a group of settings; its settings are {', '.join(fields)}")
        for name in values:
            if name not in fields:
                raise errors.ConfigError(
                    f"unknown setting {name!r}{errors.did_you_mean(name, fields)}; settings: {', '.join(fields)}"
                )
        return cls(**check_types(cls, values))


def check_types(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for fields of any dataclass, each checked against its field's type; unknown names pass. Raises ConfigError."""
    hints = typing.get_type_hints(cls)
    return {name: _check_type(name, value, hints.get(name, Any)) for name, value in values.items()}


def _check_type(name: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Settings):
        try:
            return value if isinstance(value, hint) else hint.from_mapping(value)
        except errors.ConfigError as error:
            raise errors.ConfigError(f"in {name}: {error}") from None
    plain = typing.get_origin(hint) or hint
    if plain is float and isinstance(value, int | float) and not isinstance(value, bool):
        check_finite(name, value)
        return float(value)
    if plain is tuple and isinstance(value, list | tuple):
        return tuple(_expanded(item) for item in value)
    if plain in (int, float, str, bool) and (
        not isinstance(value, plain) or isinstance(value, bool) is not (plain is bool)
    ):
        raise errors.ConfigError(f"{name}={value!r} is not {_NAMES[plain]}; give {_NAMES[plain]}")
    if isinstance(hint, types.UnionType):
        return _check_union(name, value, typing.get_args(hint))
    return _expanded(value) if plain is str else value


def _expanded(value: Any) -> Any:
    """A path below ~ as the shell would have it; no other text begins so."""
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


def _check_union(name: str, value: Any, hints: tuple) -> Any:
    if float in hints and isinstance(value, float):
        check_finite(name, value)
    for hint in hints:
        if hint is type(None) and value is None:
            return None
        with contextlib.suppress(errors.ConfigError):
            checked = _check_type(name, value, hint)
            if isinstance(checked, typing.get_origin(hint) or hint):
                return checked
    kinds = " or ".join(_NAMES.get(typing.get_origin(hint) or hint, "null") for hint in hints)
    raise errors.ConfigError(f"{name}={value!r} is not {kinds}; give {kinds}")


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", tuple: "a list"}


MOST_NUMBERS = 1000  # of a range
LARGEST = 3.4e38  # of float32, in which everything is computed


def check_finite(name: str, value: float) -> None:
    """Raise ConfigError for inf, nan, and numbers that are inf in float32."""
    if not abs(value) <= LARGEST:
        raise errors.ConfigError(f"{name}={value} is not a finite number (of 32 bits); give one")


def at_least(settings: Any, **bounds: float) -> None:
    """Raise ConfigError for the first field that is below its bound, or not finite."""
    for name, bound in bounds.items():
        value = getattr(settings, name)
        check_finite(name, value)
        if not value >= bound:
            raise errors.ConfigError(f"{name}={value} is too small; it must be {bound} or more")


def above(settings: Any, **bounds: float) -> None:
    """Raise ConfigError for the first field that is not above its bound, or not finite."""
    for name, bound in bounds.items():
        value = getattr(settings, name)
        check_finite(name, value)
        if not value > bound:
            raise errors.ConfigError(f"{name}={value} is out of range; it must be above {bound}")


def check_seed(seed: int, count: int = 1) -> None:
    """Raise ConfigError unless a seed, and the ``count - 1`` after it, are such as JAX's keys take."""
    if not 0 <= seed <= 2**32 - count:
        raise errors.ConfigError(f"seed={seed} is out of range; seeds are from 0 to 2**32 - 1")


def check_shares(settings: Any, *names: str) -> None:
    """Raise ConfigError for the first field that is not between 0 and 1."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise errors.ConfigError(f"{name}={value} is not a share; give a number from 0 to 1")


def one_of(settings: Any, **valid: tuple[str, ...]) -> None:
    """Raise ConfigError for the first field whose value is not among the valid ones."""
    for name, words in valid.items():
        value = getattr(settings, name)
        if value not in words:
            raise errors.ConfigError(
                f"{name}={value!r} is not valid{errors.did_you_mean(value, words)}; {name}: {', '.join(words)}"
            )


def as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    """A name or a list of names, as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def whole_numbers(name: str, value: Any, *, words: tuple[str, ...] = ()) -> tuple[int, ...]:
    """2, [0, 2, 4] or "0..4" as a tuple of whole numbers. Raises ConfigError, which also offers ``words``."""
    shape = ", ".join(f"{name}={example}" for example in ("2", "[0,2,4]", "0..4", *words))
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", value.strip())):
        low, high = int(match[1]), int(match[2])
        if low > high:
            raise errors.ConfigError(f"{name}={value} runs backwards; write {name}={high}..{low}")
        if high - low >= MOST_NUMBERS:
            raise errors.ConfigError(f"{name}={value} are more than {MOST_NUMBERS} numbers; name fewer")
        return tuple(range(low, high + 1))
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    items = tuple(int(item) if isinstance(item, str) and item.strip().isdigit() else item for item in items)
    if not items or any(isinstance(item, bool) or not isinstance(item, int) for item in items):
        raise errors.ConfigError(f"{name}={value!r} is not a whole number, list or range; write {shape}")
    return tuple(dict.fromkeys(items))
