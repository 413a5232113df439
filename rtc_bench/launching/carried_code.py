"""A user's modules, taken along: those that this process has imported from files of his own, and importing them elsewhere."""

import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
import sysconfig
from collections.abc import Sequence
from typing import NamedTuple

PACKAGE = __name__.partition(".")[0]


class Module(NamedTuple):
    """A module as it was imported."""

    name: str
    file: str  # "" of a folder without __init__.py
    source: bytes
    folders: list[str] | None  # of a package: where its modules lay


def collect() -> list[Module]:
    """What has been imported that neither Python, nor an installed package, nor this one brings."""
    installed = _installed()
    modules = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        folders = list(getattr(module, "__path__", None) or []) or None
        place = pathlib.Path(file or (folders or [""])[0]).resolve()
        is_ours = name.partition(".")[0] in (PACKAGE, "__main__", "__mp_main__")
        is_source = file.endswith(".py") if file else folders is not None
        if is_source and not is_ours and place.exists() and not installed & {*place.parents}:
            modules.append(Module(name, file, place.read_bytes() if file else b"", folders))
    return modules


def _installed() -> set[pathlib.Path]:
    """Folders of Python's own modules, and those that packages are installed in, wherever they are."""
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    sites = {folder for folder in sys.path if folder and any(pathlib.Path(folder).glob("*.dist-info"))}
    return {pathlib.Path(folder).resolve() for folder in standard | sites}


def install(modules: Sequence[Module]) -> None:
    """Have these modules imported from what was taken along; their file names stay those of the user's machine."""
    sys.meta_path.insert(0, _Importer({module.name: module for module in modules}))


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Finds and loads modules that were taken along."""

    def __init__(self, modules: dict[str, Module]):
        self.modules = modules

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.modules:
            return None
        module = self.modules[fullname]
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=module.file or None)
        spec.has_location = bool(module.file)
        spec.submodule_search_locations = module.folders
        return spec

    def get_filename(self, fullname: str) -> str:
        return self.modules[fullname].file

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.modules[fullname].source)

    def is_package(self, fullname: str) -> bool:
        return self.modules[fullname].folders is not None

    def get_data(self, path: str) -> bytes:
        """Of a module's file, as the loader of a file would have it."""
        for module in self.modules.values():
            if module.file == path:
                return module.source
        raise FileNotFoundError(f"{path}: only the code was taken along")
