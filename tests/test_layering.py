"""The import table of the README against the code, and the house rules that can be counted."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("envs", "policies", "rtc_bench", "scripts")
MAY_IMPORT = {  # bench_ scripts measure parts, and import what they measure
    "envs": {"envs"},
    "policies": {"policies"},
    "rtc_bench": {"envs", "policies", "rtc_bench"},
    "scripts": {"rtc_bench", "_entry"},
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SLOW = {"gymnax", "kinetix", "jax2d"}  # seconds to import: only inside functions, and in the adapter


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST, *, only_top: bool = False) -> set[str]:
    nodes = tree.body if only_top else ast.walk(tree)  # type: ignore[attr-defined]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_there_is_something_to_check():
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_run_one_way(path):
    tree, package = ast.parse(path.read_text()), path.relative_to(ROOT).parts[0]
    ours = imports(tree) & {*PACKAGES, "_entry"}
    assert ours <= MAY_IMPORT[package] | ({"envs", "policies"} if path.name.lstrip("_").startswith("bench") else set())
    used = imports(tree)
    assert "wandb" not in used or name(path) == "rtc_bench/tracking.py"
    assert not used & {"hydra", "omegaconf"} or package == "scripts"
    if name(path) != "envs/gymnax.py":
        assert not imports(tree, only_top=True) & SLOW


@pytest.mark.parametrize("path", FILES, ids=name)
def test_house_rules(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno <= 60, f"{node.name} is longer than a screen"
    assert package_scripts_are_thin(path, text)


def package_scripts_are_thin(path: pathlib.Path, text: str) -> bool:
    """Entry points hold no logic of their own."""
    thin = path.parent.name == "scripts" and not path.name.startswith(("_", "bench_"))
    return not thin or text.count("\n") <= 50
