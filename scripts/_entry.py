"""The door of every script: command line -> hydra -> a frozen dataclass -> one call.

A user's own mistake, a full disk or ctrl-C is answered with one line and exit status 2 (130 for ctrl-C), without a
traceback; RTC_BENCH_DEBUG=1 shows it.
"""

import dataclasses
import errno
import hashlib
import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import sys
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
if importlib.util.find_spec("rtc_bench") is None:  # a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from rtc_bench import config as configs  # light: no JAX

OURS = ("envs", "policies", "rtc_bench")  # ValueErrors defined here are a user's to mend
QUIET_OVERRIDES = ("out", "batch", "wandb")  # do not change a run's numbers, so not part of its name either
LONGEST_NAME = 100  # characters of a run's name
REMEDIES = {
    errno.ENOSPC: "free some space, or give out= on another disk, and run the same command again",
    errno.EDQUOT: "free some space, or give out= on another disk, and run the same command again",
    errno.EACCES: "give out= where you may write",
    errno.EPERM: "give out= where you may write",
    errno.EROFS: "give out= where you may write",
}


def main(config_name: str, target: str, config_type: str) -> typing.NoReturn:
    """Run ``target`` ("package.module:function") on the config, and exit.

    ``config_name`` is a file in configs/; ``config_type`` ("package.module:Class") a configs.Settings dataclass. Neither
    ``target`` nor JAX is imported before the command line is known to be good.
    """
    try:
        arguments = sys.argv[1:]
        settings = _load(config_type)
        if {"-h", "--help"} & set(arguments):
            print(help_text(config_name, settings), end="")
        else:
            config = compose(config_name, settings, arguments)
            _load(target)(config)
            sys.stdout.flush()
    except KeyboardInterrupt:
        _fail("interrupted; where it saves as it goes, the same command continues", 130)
    except BrokenPipeError:  # the reader of our output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        _fail(f"{error.filename or 'file'}: {error.strerror or error}" + (f"; {remedy}" if remedy else ""), 2)
    except ValueError as error:
        if type(error).__module__.partition(".")[0] not in OURS:
            raise
        _fail(str(error), 2)
    sys.exit(0)


def _fail(message: str, status: int) -> typing.NoReturn:
    if os.environ.get("RTC_BENCH_DEBUG"):
        raise  # noqa: PLE0704  (called while an exception is handled)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _load(place: str):
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def compose(config_name: str, settings: type[configs.Settings], arguments: list[str]) -> configs.Settings:
    """The checked settings for a command line. Raises ConfigError."""
    import hydra
    import omegaconf
    from hydra.core.override_parser import overrides_parser
    from hydra.errors import HydraException

    valid, groups = _keys(settings), _groups(config_name)
    overrides = []
    for argument in arguments:
        _check_form(argument, settings)
        try:
            override = overrides_parser.OverridesParser.create().parse_override(argument)
        except HydraException:
            raise configs.ConfigError(
                f"cannot read {argument!r}; write key=value, with quotes as in key='\"a b\"'"
            ) from None
        _check_override(override, argument, valid, groups)
        free = override.key_or_group.partition(".")[0] in _free(settings)
        overrides.append(f"++{argument.lstrip('+')}" if free else argument)
    if not omegaconf.OmegaConf.has_resolver("run_name"):
        omegaconf.OmegaConf.register_new_resolver("run_name", lambda default: run_name(default, arguments))
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = hydra.compose(config_name, overrides)
        missing = omegaconf.OmegaConf.missing_keys(composed)
        if missing:
            needed = sorted(missing)
            example = f"{needed[0]}=…"
            raise configs.ConfigError(f"{', '.join(needed)} is not given; add {example}, see --help")
        values = omegaconf.OmegaConf.to_container(composed, resolve=True)
    except (HydraException, omegaconf.errors.OmegaConfBaseException) as error:
        raise configs.ConfigError(f"{' '.join(str(error).split())}; see --help") from error
    return settings.from_mapping(typing.cast(dict, values))


def run_name(default: str, arguments: list[str]) -> str:
    """A name that the same command gets again: "laptop", or "laptop,delay=2,episodes=64".

    Settings that do not change a run's numbers are left out.
    """
    pairs = dict(argument.lstrip("+").split("=", 1) for argument in arguments)
    name = pairs.pop("preset", default)
    kept = sorted(f"{key}={value}" for key, value in pairs.items() if key.partition(".")[0] not in QUIET_OVERRIDES)
    full = ",".join([name, *kept])
    plain = re.sub(r"[^\w.,=+-]+", "_", full.replace("[", "").replace("]", ""))
    if len(plain) > LONGEST_NAME:
        return f"{plain[:LONGEST_NAME]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"
    return plain


def _check_form(argument: str, settings: type[configs.Settings]) -> None:
    if argument.startswith("-"):
        raise configs.ConfigError(f"unknown flag {argument!r}; settings are written key=value, see --help")
    if "=" not in argument:
        name = argument.lstrip("+~")
        example = name if name in _keys(settings) else "episodes" if "episodes" in _keys(settings) else "seed"
        raise configs.ConfigError(f"{argument!r} is not key=value; write for example {example}=…, see --help")


def _check_override(override, argument: str, valid: dict, groups: dict[str, list[str]]) -> None:
    key, value = override.key_or_group, argument.partition("=")[2]
    free = [name for name, info in valid.items() if info.get("free")]
    if key in groups:
        if value not in groups[key]:
            near = configs.nearest(value, groups[key])
            raise configs.ConfigError(f"unknown {key} {value!r}{near}; {key}: {', '.join(groups[key])}")
    elif key not in valid and key.partition(".")[0] not in free:
        names = [*groups, *valid]
        inside = [name for name in names if name.startswith(f"{key}.")]
        if inside:
            raise configs.ConfigError(
                f"{key!r} is a group of settings; write {', '.join(f'{name}=…' for name in inside)}"
            )
        raise configs.ConfigError(f"unknown setting {key!r}{configs.nearest(key, names)}; settings: {', '.join(names)}")
    if override.is_sweep_override():
        raise configs.ConfigError(f"{argument!r} is a list without brackets; write {key}=[{value}]")


def _free(settings: type[configs.Settings]) -> list[str]:
    return [name for name, info in _keys(settings).items() if info.get("free")]


def _keys(settings: type[configs.Settings], prefix: str = "") -> dict[str, dict]:
    """Every setting's dotted name -> its comment, and whether it is a mapping with keys of the user's choice."""
    comments = dict(re.findall(r"^    (\w+): [^#\n]*?(?:# (.*))?$", inspect.getsource(settings), re.MULTILINE))
    hints, found = typing.get_type_hints(settings), {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, configs.Settings):
            found |= _keys(hint, f"{prefix}{field.name}.")
        else:
            free = hint is dict or typing.get_origin(hint) is dict
            found[prefix + field.name] = {"comment": comments.get(field.name, ""), "free": free}
    return found


def _groups(config_name: str) -> dict[str, list[str]]:
    """The config groups that a primary config chooses from -> their options."""
    import yaml

    primary = yaml.safe_load((CONFIGS / f"{config_name}.yaml").read_text()) or {}
    chosen = [name for entry in primary.get("defaults", ()) if isinstance(entry, dict) for name in entry]
    return {name: sorted(path.stem for path in (CONFIGS / name).glob("*.yaml")) for name in chosen}


def help_text(config_name: str, settings: type[configs.Settings]) -> str:
    """Usage and examples (the comment that heads the config file), then every setting with its default."""
    import hydra
    import omegaconf

    head = []
    for line in (CONFIGS / f"{config_name}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").removeprefix(" "))
    omegaconf.OmegaConf.register_new_resolver("run_name", lambda default: default, replace=True)
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = hydra.compose(config_name)
    rows = [(f"{name}=", "|".join(options), "") for name, options in _groups(config_name).items()]
    for name, info in _keys(settings).items():
        if omegaconf.OmegaConf.is_missing(composed, name):
            shown = "(required)"
        else:
            value = omegaconf.OmegaConf.select(composed, name)
            shown = str(value).replace("'", "").replace(", ", ",")
        rows.append((f"{name}=", shown, info["comment"]))
    width = min(44, max(len(name + shown) for name, shown, _ in rows))
    lines = [f"  {name + shown:<{width}}  {comment}".rstrip() for name, shown, comment in rows]
    return "\n".join([*head, "", "settings and their defaults:", *lines, ""])
