"""The rooms of the README against the code: who imports whom, what each folder holds, and house rules that can be counted."""

import ast
import graphlib
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAY_IMPORT = {  # from the ground up: a room imports only rooms above it in this table
    "common": (),
    "launching": ("common",),
    "envs": (),
    "policies": ("common",),
    "strategies": ("common", "policies"),
    "realtime": ("common", "policies", "strategies"),
    "evaluation": ("common", "launching", "envs", "policies", "strategies", "realtime"),
    "training": ("common", "launching", "envs", "policies", "strategies", "evaluation"),
    "method_training": ("common", "launching", "envs", "policies", "strategies", "evaluation", "training"),
    "analysis": ("common", "evaluation"),
    "reporting": ("common", "envs", "policies", "strategies", "realtime", "evaluation", "analysis"),
    "commands": (
        *("common", "envs", "policies", "strategies", "realtime", "evaluation", "training", "method_training"),
        *("analysis", "reporting"),
    ),
}
LINKS = ("envs", "policies")  # of the package, to folders beside it
FILES = sorted(
    path for folder in ("envs", "policies", "rtc_bench", "scripts") for path in (ROOT / folder).rglob("*.py")
)
SLOW = {"gymnax", "kinetix", "jax2d", "ray"}  # seconds to import: only inside functions, and in the adapter
ENTRIES, LINES, FUNCTION_LINES = 12, 400, 60  # at most: in a folder, in a file, in a function (a screen)


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: pathlib.Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("rtc_bench", *parts) if parts[0] in LINKS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imports(path: pathlib.Path, *, only_top: bool = False) -> set[str]:
    """Dotted names of the modules that a file imports; of ours down to the module, of others the package."""
    tree = ast.parse(path.read_text())
    imported = set()
    for node in tree.body if only_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= {name if name in MODULES else node.module for name in names}
    return {name if name in MODULES else name.partition(".")[0] for name in imported}


def room(module_name: str) -> str:
    return module_name.split(".")[1]


def test_there_is_something_to_check():
    assert len(FILES) > 80
    assert {room(name) for name in MODULES if name.startswith("rtc_bench.")} == set(MAY_IMPORT)


def test_the_table_runs_one_way():
    rooms = list(MAY_IMPORT)
    for number, (importer, imported) in enumerate(MAY_IMPORT.items()):
        assert set(imported) <= set(rooms[:number]), importer


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_run_one_way(path):
    imported, importer = imports(path), module(path)
    assert not imported & {"envs", "policies"}, "they are rtc_bench.envs and rtc_bench.policies"
    if importer.startswith("rtc_bench."):
        rooms = {room(name) for name in imported if name.startswith("rtc_bench.")}
        assert rooms <= {*MAY_IMPORT[room(importer)], room(importer)}
    elif importer == "rtc_bench":
        assert not imports(path, only_top=True) - sys.stdlib_module_names
    if re.match(r"rtc_bench\.realtime\.(?!serving)", importer):
        packages = {name.partition(".")[0] for name in imported}
        assert packages <= {"numpy", "rtc_bench", *sys.stdlib_module_names}
    assert "wandb" not in imported or importer == "rtc_bench.reporting.wandb_logging"
    assert not imported & {"hydra", "omegaconf"} or importer == "rtc_bench.commands.command_line"
    assert "ray" not in imported or importer.startswith("rtc_bench.launching.")
    if importer != "rtc_bench.envs.gymnax":
        assert not imports(path, only_top=True) & SLOW


def test_no_modules_import_each_other():
    graph = {name: imports(path, only_top=True) & MODULES.keys() for name, path in MODULES.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("importer", MAY_IMPORT)
def test_a_room_says_what_enters_what_leaves_and_what_it_imports(importer):
    doc = ast.get_docstring(ast.parse(MODULES[f"rtc_bench.{importer}"].read_text()))
    assert "Enters:" in doc
    assert "Leaves:" in doc
    (listed,) = re.findall(r"May import: (.*)\.$", doc, re.MULTILINE)
    assert listed == (", ".join(MAY_IMPORT[importer]) or "nothing of this project")
    assert re.search(rf"^    {importer}/ ", MODULES["rtc_bench"].read_text(), re.MULTILINE)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES if path.parts[-2] != "scripts"}), ids=name)
def test_a_folder_can_be_taken_in_at_a_glance(folder):
    entries = [entry for entry in folder.iterdir() if entry.suffix == ".py" or entry.is_dir()]
    assert len([entry for entry in entries if entry.name not in ("__pycache__", "__init__.py")]) <= ENTRIES


@pytest.mark.parametrize("path", FILES, ids=name)
def test_house_rules(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= LINES
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno <= FUNCTION_LINES, f"{node.name} is longer than a screen"
    entry_point = path.parent.name == "scripts" and not path.name.startswith(("_", "bench_"))
    assert not entry_point or text.count("\n") <= 10, "entry points hold no logic of their own"


def test_the_package_alone_is_light():
    """`import rtc_bench` in a notebook, and the names that it offers there."""
    code = "import sys, rtc_bench; print({*dir(rtc_bench)} >= {'evaluate', 'compare'}, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("settings", sorted(name for name in MODULES if name.endswith(".settings")))
def test_settings_are_light(settings):
    """--help must not wait for JAX."""
    code = f"import sys, {settings}; print('jax' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
