"""The door of every script: hydra composes a config, it becomes a frozen dataclass, one function is called.

Nothing heavy is imported before the settings are known to be good, and no user sees a traceback for a typo
(RTC_BENCH_DEBUG=1 shows it).
"""

import importlib
import os
import pathlib
import sys
from typing import Any

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"
INTERRUPTED = 130  # what a shell expects after ctrl-C


def main(config_name: str, settings: str, function: str) -> None:
    """Run "package.module:function" with the dataclass "package.module:Class" that configs/<config_name>.yaml describes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's remarks on its own cache
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(_help(config_name))
        return
    debug = bool(os.environ.get("RTC_BENCH_DEBUG"))
    try:
        _imported(function)(compose(config_name, settings, arguments))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; what was finished is kept, run the same command to go on\n")
        sys.exit(INTERRUPTED)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if debug or not _ours(error):
            raise
        sys.stderr.write(f"error: {_message(error)}\n")
        sys.exit(2)


def compose(config_name: str, settings: str, arguments: list[str]) -> Any:
    """The dataclass of a config and its command-line overrides. Raises ConfigError."""
    import hydra
    import hydra.errors
    import omegaconf

    from rtc_bench import config as configs

    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = hydra.compose(config_name, overrides=arguments)
        values = omegaconf.OmegaConf.to_container(composed, resolve=True)
    except (hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException) as error:
        raise configs.ConfigError(_told(error, config_name, arguments)) from error
    missing = [name for name, value in values.items() if value == "???"]
    if missing:
        raise configs.ConfigError(f"{missing[0]}= is missing; {_example(config_name)}")
    return _imported(settings).from_mapping(values)


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _ours(error: BaseException) -> bool:
    """Errors that a user can act on. Anything else is a bug, and its traceback is wanted."""
    if isinstance(error, OSError):
        return True
    kinds = {cls.__name__ for cls in type(error).__mro__}
    return bool(kinds & {"ConfigError", "CheckpointError", "UnknownTask", "SearchFailed", "UnsupportedLevel"})


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return (
            f"{where}{error.strerror}; free space or choose another folder with out=, then run the same command again"
        )
    return str(error)


def _keys(config_name: str) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((CONFIGS / f"{config_name}.yaml").read_text())


def _told(error: BaseException, config_name: str, arguments: list[str]) -> str:
    from rtc_bench import config as configs

    valid = [name for name in _keys(config_name) if name != "defaults"]
    groups = [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    for argument in arguments:
        name, equals, value = argument.lstrip("+~").partition("=")
        if not equals:
            return f"{argument!r} is not key=value; {_example(config_name)}"
        if name in groups:
            choices = sorted(path.stem for path in (CONFIGS / name).glob("*.yaml"))
            if value not in choices:
                return f"{name}={value}{configs.nearest(value, choices)}; {name}s: {', '.join(choices)}"
        elif name.partition(".")[0] not in valid:
            return f"unknown setting {name!r}{configs.nearest(name, valid)}; settings: {', '.join(valid)}"
    return f"{str(error).splitlines()[0]}; see --help"


def _example(config_name: str) -> str:
    return f"such as `python scripts/{config_name}.py task=mjc_swimmer`; see --help"


def _help(config_name: str) -> str:
    """The config file is the reference: every key with its default and comment."""
    script = pathlib.Path(sys.argv[0]).name
    text = (CONFIGS / f"{config_name}.yaml").read_text().strip()
    presets = sorted(path.stem for path in (CONFIGS / "preset").glob("*.yaml")) if "preset" in text else []
    chosen = f"\npreset= one of {', '.join(presets)} (see configs/preset/)\n" if presets else ""
    return f"usage: python scripts/{script} key=value ...\n\n{text}\n{chosen}"
