"""The command line of `rtc-bench` and of every script: words -> hydra -> a frozen dataclass -> one call.

A user's own mistake, a full disk or ctrl-C is answered with one line and exit status 2 (130 for ctrl-C), without a
traceback; RTC_BENCH_DEBUG=1 shows it.
"""

import dataclasses
import errno
import importlib
import importlib.metadata
import inspect
import os
import pathlib
import re
import shlex
import sys
import typing

from rtc_bench.commands import table
from rtc_bench.common import errors, schema

CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"

DRY_RUN = "--dry-run"
PACKAGE = "rtc_bench"  # errors defined in it are a user's to mend
if not os.environ.get("WANDB_MODE"):  # empty is not set
    os.environ.pop("WANDB_MODE", None)

REMEDIES = {
    errno.ENOSPC: "free some space, or give out= on another disk, and run the same command again",
    errno.EDQUOT: "free some space, or give out= on another disk, and run the same command again",
    errno.EACCES: "check who may read and write it, or give out= where you may write",
    errno.EPERM: "give out= where you may write",
    errno.EROFS: "give out= where you may write",
}


def main() -> typing.NoReturn:
    """`rtc-bench <command> <settings>`: run the command, and exit."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview(), end="")
    elif name == "--version":
        print(importlib.metadata.version("rtc-bench"))
    elif name in table.COMMANDS:
        run(name, arguments)
    else:
        names = ", ".join(table.COMMANDS)
        _fail(f"unknown command {name!r}{errors.did_you_mean(name, table.COMMANDS)}; commands: {names}", 2)
    sys.exit(0)


def overview() -> str:
    """All commands, with a line each."""
    width = max(map(len, table.COMMANDS))
    lines = [f"  {name:<{width}}  {_head(name)[0]}" for name in table.COMMANDS]
    return "\n".join(
        [
            "Does my action-chunking method survive inference delay?",
            "",
            "  rtc-bench <command> setting=value ...",
            "  rtc-bench <command> --help             its settings",
            "",
            *lines,
            "",
        ]
    )


def run(name: str, arguments: list[str] | None = None) -> typing.NoReturn:
    """Run a command of the table on the settings that the arguments give (the process's own if None), and exit.

    Neither its function nor JAX is imported before the arguments are known to be good.
    """
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        if {"-h", "--help"} & set(arguments):
            print(help_text(name), end="")
        else:
            dry_run = DRY_RUN in arguments
            if dry_run and not _load(table.COMMANDS[name].settings).DRY_RUN:
                raise errors.ConfigError(f"{name} takes no {DRY_RUN}: it has nothing long to plan; leave it away")
            config = compose(name, [text for text in arguments if text != DRY_RUN])
            _load(table.COMMANDS[name].function)(config, **({"dry_run": True} if dry_run else {}))
            sys.stdout.flush()
    except KeyboardInterrupt:
        _print_error("interrupted; where it saves as it goes, the same command continues")
        sys.stdout.flush()
        os._exit(130)  # files are written whole; a thread that still compiles would hold the exit up
    except BrokenPipeError:  # the reader of our output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}" + (f"; {remedy}" if remedy else ""), 2)
    except (ValueError, RuntimeError) as error:
        if type(error).__module__.partition(".")[0] != PACKAGE:
            raise
        _fail(str(error), 2)
    sys.exit(0)


def _fail(message: str, status: int) -> typing.NoReturn:
    _print_error(message)
    sys.exit(status)


def _print_error(message: str) -> None:
    if os.environ.get("RTC_BENCH_DEBUG"):
        raise  # the exception that is being handled
    print(f"error: {message}", file=sys.stderr)


def _load(target: str):
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def compose(command: str, arguments: list[str]) -> schema.Settings:
    """The checked settings for a command line. Raises ConfigError."""
    import hydra
    import omegaconf
    from hydra.errors import HydraException

    settings_class, config_name = _load(table.COMMANDS[command].settings), _config_name(command)
    arguments = _named(settings_class, arguments)
    valid, groups = _keys(settings_class), _groups(config_name, settings_class)
    free = [name for name, info in valid.items() if info["free"]]
    overrides = []
    for argument in arguments:
        _check_form(argument, valid)
        argument, override = _parse(argument, valid)
        _check_override(override, argument, [*valid, *(f"{name}." for name in free)], groups)
        if override.is_sweep_override():
            key, _, value = argument.partition("=")
            if key in valid and not valid[key]["list"]:
                raise errors.ConfigError(
                    f"{argument!r} is a list, {key} takes one value; write {key}={value.split(',')[0]}"
                )
            hint = shlex.quote(f"{key}=[{value}]")
            raise errors.ConfigError(f"{argument!r} is a list without brackets; write {hint}")
        added = override.key_or_group.startswith(tuple(f"{name}." for name in free))
        if override.key_or_group == "preset":
            argument = f"{override.key_or_group}/{config_name}={argument.partition('=')[2]}"
        overrides.append(f"++{argument.lstrip('+')}" if added else argument)
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = hydra.compose(config_name, overrides)
        missing = omegaconf.OmegaConf.missing_keys(composed)
        if missing:
            names = sorted(missing)
            raise errors.ConfigError(f"{', '.join(names)} is not given; add {names[0]}=..., see --help")
        values = omegaconf.OmegaConf.to_container(composed, resolve=True)
    except (HydraException, omegaconf.errors.OmegaConfBaseException) as error:
        raise errors.ConfigError(f"{' '.join(str(error).split())}; see --help") from error
    return settings_class.from_mapping(typing.cast(dict, values))


def _parse(argument: str, valid: dict[str, dict]) -> tuple[str, typing.Any]:
    """Hydra's override, and the argument; what hydra cannot read, and a text it would take apart, is put into quotes."""
    from hydra.core.override_parser import overrides_parser
    from hydra.errors import HydraException

    key, _, value = argument.partition("=")
    escaped = re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + "\\" * bool(match[2]) + match[2], value)
    quoted = f'{key}="{escaped}"'
    parse = overrides_parser.OverridesParser.create().parse_override
    try:
        override = parse(argument)
        taken_apart = override.is_sweep_override() or isinstance(override.value(), int | float)  # such as out=nan
        if not (taken_apart and valid.get(key, {}).get("text")):
            return argument, override
        return quoted, parse(quoted)
    except HydraException:
        try:
            return quoted, parse(quoted)
        except HydraException:
            raise errors.ConfigError(f"cannot read {argument!r}; write key=value, see --help") from None


def _named(settings_class: type[schema.Settings], arguments: list[str]) -> list[str]:
    """Arguments without a name go to the setting that admits such, as a list."""
    plain = [text for text in arguments if "=" not in text and not text.startswith(("-", "+", "~"))]
    if not settings_class.UNNAMED or not plain:
        return arguments
    quoted = ",".join("'" + text.replace("'", "\\'") + "'" for text in plain)
    return [text for text in arguments if text not in plain] + [f"{settings_class.UNNAMED}=[{quoted}]"]


def _check_form(argument: str, valid: dict[str, dict]) -> None:
    if argument.startswith("-"):
        raise errors.ConfigError(f"unknown flag {argument!r}; settings are written key=value, see --help")
    if "=" not in argument or argument.startswith("~"):
        name = argument.lstrip("+~").partition("=")[0]
        example = name if name in valid else next(iter(valid))
        raise errors.ConfigError(f"{argument!r} is not key=value; write for example {example}=..., see --help")


def _check_override(override, argument: str, valid: list[str], groups: dict[str, list[str]]) -> None:
    """``valid`` names ending in "." admit any key below them."""
    key, value = override.key_or_group, argument.partition("=")[2]
    if key in groups:
        if value not in groups[key]:
            near = errors.did_you_mean(value, groups[key])
            raise errors.ConfigError(f"unknown {key} {value!r}{near}; {key}: {', '.join(groups[key])}")
    elif key not in valid and not any(name.endswith(".") and key.startswith(name) for name in valid):
        names = [name for name in [*groups, *valid] if not name.endswith(".")]
        inside = [f"{name}=..." for name in names if name.startswith(f"{key}.")]
        if inside:
            raise errors.ConfigError(f"{key!r} is a group of settings; write {', '.join(inside)}")
        raise errors.ConfigError(
            f"unknown setting {key!r}{errors.did_you_mean(key, names)}; settings: {', '.join(names)}"
        )


def _keys(settings_class: type[schema.Settings], prefix: str = "") -> dict[str, dict]:
    """Every setting's dotted name -> its comment, and whether it is a mapping with keys of the user's choice."""
    sources = [inspect.getsource(cls) for cls in reversed(settings_class.__mro__) if issubclass(cls, schema.Settings)]
    comments = dict(re.findall(r"^    (\w+): [^#\n]*?(?:# (.*))?$", "\n".join(sources), re.MULTILINE))
    hints = typing.get_type_hints(settings_class)
    keys: dict[str, dict] = {}
    for field in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, schema.Settings):
            keys |= _keys(hint, f"{prefix}{field.name}.")
        else:
            free = hint is dict or typing.get_origin(hint) is dict
            kinds = {typing.get_origin(kind) or kind for kind in typing.get_args(hint) or (hint,)}
            keys[prefix + field.name] = {
                "comment": comments.get(field.name, ""),
                "free": free,
                "text": kinds <= {str, type(None)},
                "list": bool(kinds & {tuple, typing.Any}) or typing.get_origin(hint) is tuple,
            }
    return keys


def _config_name(command: str) -> str:
    return command.replace("-", "_")


def _groups(config_name: str, settings_class: type[schema.Settings]) -> dict[str, list[str]]:
    """The words of hydra's groups: this command's presets, if it has any, which are preset/<config>; and launcher."""
    settings = {field.name for field in dataclasses.fields(settings_class)}  # type: ignore[arg-type]
    folders = {"preset": CONFIGS / "preset" / config_name, **{name: CONFIGS / name for name in settings}}
    groups = {name: sorted(path.stem for path in folder.glob("*.yaml")) for name, folder in folders.items()}
    return {name: words for name, words in groups.items() if words}


def _head(command: str) -> list[str]:
    """What the command does, and examples: the comment that heads its config file, as this user types commands."""
    lines = []
    with (CONFIGS / f"{_config_name(command)}.yaml").open() as file:
        for line in file:
            if not line.startswith("#"):
                break
            line = line.removeprefix("#").removeprefix(" ").rstrip()
            lines.append(re.sub(r"\brtc-bench ([a-z-]+)", lambda match: errors.command(match[1]), line))
    return lines


def help_text(command: str) -> str:
    """Usage and examples, then every setting with its default."""
    import hydra
    import omegaconf

    settings_class, config_name = _load(table.COMMANDS[command].settings), _config_name(command)
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = hydra.compose(config_name)
    rows = [(f"{name}=", "|".join(options), "") for name, options in _groups(config_name, settings_class).items()]
    for name, info in _keys(settings_class).items():
        if omegaconf.OmegaConf.is_missing(composed, name):
            default = "(required)"
        else:
            value = omegaconf.OmegaConf.select(composed, name)
            default = "null" if value is None else str(value).replace("'", "").replace(", ", ",")
        rows.append((f"{name}=", default, info["comment"]))
    width = min(44, max(len(name + default) for name, default, _ in rows))
    lines = [f"  {name + default:<{width}}  {comment}".rstrip() for name, default, comment in rows]
    head = _head(command)
    if settings_class.DRY_RUN:
        head += ["", f"{DRY_RUN} checks everything, says what is missing and what that takes, and does nothing."]
    return "\n".join([*head, "", "settings and their defaults:", *lines, ""])
