"""Code of a user's own, by file or dotted path: how it is imported, and its errors told in one line with file and line."""

import hashlib
import importlib
import importlib.util
import inspect
import linecache
import pathlib
import pkgutil
import re
import sys
import traceback
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from rtc_bench.common import errors

_REMEDIES = {  # what JAX raises -> what was done, and what to do
    "TracerBoolConversionError": "a Python branch on a traced value, as {traced}; use jnp.where",
    "TracerArrayConversionError": "NumPy got a traced value; use jax.numpy",
    "TracerIntegerConversionError": "a traced value as an index or a size; use jnp.take, or a mask",
    "ConcretizationTypeError": "a traced value, as {traced}, where Python needs a number",
}
GENERATED = "<string>"  # the file of methods that dataclasses write
_OF_CALLBACKS = "JaxRuntimeError"  # what an error within a callback becomes; its text holds the traceback


def parts(target: str) -> tuple[str, str]:
    """ "folder/file.py:Name", "package.module:Name" or "package.module.Name" as file or module, and name."""
    source, _, name = target.rpartition(":") if ":" in target else target.rpartition(".")
    return source, name


def load_module(target: str, kind: str, error_type: type[errors.ConfigError]) -> types.ModuleType:
    """The module that holds ``target``, a ``kind`` such as "strategy". Raises ``error_type`` where it cannot be imported."""
    source, _ = parts(target)
    try:
        return _from_file(pathlib.Path(source)) if source.endswith(".py") else _from_module(source)
    except (ImportError, OSError) as error:
        raise error_type(f"{kind} {target!r} cannot be imported: {error}; check the path and PYTHONPATH") from error
    except errors.ConfigError as error:  # of what the module builds, such as a training stage
        raise error_type(f"{kind} {target!r}: {error} ({line_of(error, source)})") from error
    except Exception as error:  # whatever the code of a foreign module does
        line = line_of(error, source)
        raise error_type(f"{kind} {target!r} cannot be imported: {type(error).__name__}: {error} ({line})") from error


def _from_module(name: str) -> types.ModuleType:
    if str(pathlib.Path.cwd()) not in sys.path:
        sys.path.append(str(pathlib.Path.cwd()))  # a file beside where the command is run
    return importlib.import_module(name)


def _from_file(path: pathlib.Path) -> types.ModuleType:
    path = path.resolve()
    name = f"foreign_file_{zlib.crc32(bytes(path)):08x}_{path.stem}"  # no file may pose as a module of the same name
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


def source_files(cls: type) -> list[str]:
    """Where a class's code stands, as tracebacks name it: its file, or the notebook cells that hold its methods."""
    try:
        return [inspect.getfile(cls)]
    except (TypeError, OSError):
        functions = [value for value in vars(cls).values() if inspect.isfunction(value)]
        return sorted({function.__code__.co_filename for function in functions} - {GENERATED})


def digest(cls: type) -> str:
    """Of the file that a class stands in; in a notebook of its methods' cells, and its attributes. Raises ConfigError."""
    try:
        path = pathlib.Path(inspect.getfile(cls))
        code = (
            None if cls.__module__ == "__main__" else pkgutil.get_data(cls.__module__, path.name)
        )  # it may be no file
        return hashlib.sha256(code or path.read_bytes()).hexdigest()
    except (TypeError, OSError):
        text = ""
    for part in (part for part in cls.__mro__ if part.__module__ == cls.__module__):
        for file in source_files(part):
            lines = linecache.getlines(file)
            if not lines:
                raise errors.ConfigError(
                    f"the code of {cls.__name__} cannot be read; define it in a file or a notebook cell"
                )
            text += "".join(lines)
        own = {name: value for name, value in vars(part).items() if not (name.startswith("_") or callable(value))}
        text += f"{part.__qualname__} {[parent.__qualname__ for parent in part.__bases__]} "
        text += re.sub(r" at 0x[0-9a-f]+", "", str(own))  # of properties, whose code is in the cells
    return hashlib.sha256(text.encode()).hexdigest()


def place(code: Any) -> str:
    """File and line of a class or function; of a notebook's class the cells of its methods."""
    try:
        return f"{inspect.getfile(code)}:{inspect.getsourcelines(code)[1]}"
    except (TypeError, OSError):
        return ", ".join(source_files(code)) or code.__module__


def line_of(error: Exception, *sources: str) -> str:
    """Where in foreign files, or else in what they called, it happened."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    paths = {*sources, *(str(pathlib.Path(source).resolve()) for source in sources)}
    own = [frame for frame in frames if frame.filename in paths]
    return f"{(own or frames)[-1].filename}:{(own or frames)[-1].lineno}"


def calling(owners: Mapping[str, str], call: Callable[[], Any], error_type: type[errors.ConfigError]) -> Any:
    """What a call returns that runs foreign code. ``owners``: file -> the name of what stands in it.

    Raises ``error_type`` for an error in such a file; other errors, and ConfigErrors, pass.
    """
    try:
        return call()
    except errors.ConfigError:
        raise
    except Exception as error:  # whatever foreign code does
        lines = _lines(error)
        functions = {frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename in owners}
        for file, name in owners.items():
            if line := lines.get(file):
                raise error_type(f"{file}:{line}, {name}: {cause(error, learning='loss' in functions)}") from error
        raise


def _lines(error: Exception) -> dict[str, int]:
    """File -> the innermost of its lines that the error came through; of a callback JAX keeps nothing but a text."""
    lines = {frame.filename: frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__)}
    if type(error).__name__ == _OF_CALLBACKS:
        lines |= {file: int(line) for file, line in re.findall(r'File "(.*?)", line (\d+)', str(error))}
    return lines


def cause(error: Exception, *, learning: bool = False) -> str:
    """What went wrong, in one line; for what JAX raises, what to do. ``learning``: in a loss."""
    traced = "all that a loss gets is" if learning else "delay and horizon are"
    for cls in type(error).__mro__:  # by name: this module does not load JAX
        if cls.__name__ in _REMEDIES:
            return _REMEDIES[cls.__name__].format(traced=traced)
    if type(error).__name__ == _OF_CALLBACKS and "Traceback" in str(error):
        return re.findall(r"^\w[\w.]*(?:: .*)?$", str(error), re.MULTILINE)[-1]
    return f"{type(error).__name__}: {errors.first_line(error)}"
