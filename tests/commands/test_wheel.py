"""The wheel, built and installed outside of its checkout, beside a user's own folders envs/ and policies/."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pytest

from rtc_bench.evaluation import results

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ("rtc_bench", "envs", "policies", "configs", "results/published", "pyproject.toml", "README.md", "LICENSE")
TASK = "cartpole_thrust"  # compiles soonest
BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_sdist(out); b.build_wheel(out)"


def build(source: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """A wheel straight from a source tree, and an sdist beside it."""
    subprocess.run([sys.executable, "-c", BUILD, out], cwd=source, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def names(wheel: pathlib.Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    for part in map(pathlib.Path, PARTS):
        (folder / "source" / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / "source" / part, symlinks=True, ignore=skipped)
        else:
            shutil.copy(ROOT / part, folder / "source" / part)
    return build(folder / "source", folder / "dist")


@pytest.fixture(scope="session")
def site(wheel) -> pathlib.Path:
    """The wheel installed into a folder; what it needs is found in this Python."""
    folder = wheel.parent / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", folder, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def user(site):
    """Runs a command in a user's folder, where the installed package is the only rtc_bench; its output."""
    folder = site.parent / "research"
    for name in ("envs", "policies"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    shutil.copy(ROOT / "examples" / "blend.py", folder)

    def run(*command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def contents(folder: pathlib.Path) -> str:
    """A digest of all files but those that Python compiles."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def test_a_wheel_holds_the_package_alone_and_all_that_it_reads(wheel):
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert {top.partition("-")[0] for top in tops} == {"rtc_bench"}
    for part in ("envs", "policies", "configs", "rtc_bench"):
        inside = {"rtc_bench": "rtc_bench", "configs": "rtc_bench/commands/configs"}.get(part, f"rtc_bench/{part}")
        files = [path for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".yaml", ".safetensors", ".csv")]
        assert files
        assert {f"{inside}/{path.relative_to(ROOT / part).as_posix()}" for path in files} <= names(wheel)
    figures = {
        "rtc_bench/analysis/published_figures/solve_rates.csv",
        "rtc_bench/analysis/published_figures/methods.csv",
    }
    assert figures <= names(wheel)


def test_a_wheel_by_way_of_an_sdist_is_the_same(wheel, tmp_path):
    (sdist,) = wheel.parent.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path)
    (source,) = tmp_path.iterdir()
    assert names(build(source, tmp_path / "dist")) == names(wheel)


NOTEBOOK = """
import linecache, pathlib, sys
cell = pathlib.Path("blend.py").read_text()
linecache.cache["cell"] = (len(cell), None, cell.splitlines(True), "cell")  # as IPython does
exec(compile(cell, "cell", "exec"))

import rtc_bench
played, kept = (
    rtc_bench.evaluate(["naive", Blend()], task="cartpole_thrust", delay=1, episodes=4) for _ in range(2)
)
assert played.equals(kept), "of cells that were played again the seconds differ"
print(kept.drop(columns="seconds").to_csv(index=False), end="")
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "rtc_bench"))
"""


def test_outside_of_the_checkout(user, site):
    """A sweep of one's own file, a comparison, a report, and a class in a notebook; the installed folder stays as it is.

    All play what the sweep plays: it is compiled once, and the comparison finds its cells there.
    """
    before = contents(site)
    played = (f"task={TASK}", "delay=1", "episodes=4", "wandb.mode=disabled")
    user("rtc-bench", "sweep", "strategy=[naive,blend.py:Blend]", *played, "out=results/compare/sweep")
    run = user.folder / "results" / "compare" / "sweep"
    rows = results.read(run / "results.csv")
    assert [row.cell for row in rows] == [(TASK, "naive", 1, 1), (TASK, "Blend", 1, 1)]
    assert "Blend against naive" in user("rtc-bench", "compare", "strategy=blend.py:Blend", "baseline=naive", *played)
    assert list(run.parent.glob("Blend-*/comparisons.csv"))
    user("rtc-bench", "report", str(run))
    assert "no film" not in (run / "report" / "index.html").read_text()
    *_, header, naive, blend, modules = user(sys.executable, "-c", NOTEBOOK).splitlines()
    assert [header, naive, blend] == without_seconds(run / "results.csv")
    assert {path.startswith(f"{site}/rtc_bench/") for path in modules.split()} == {True}
    assert contents(site) == before


def without_seconds(path: pathlib.Path) -> list[str]:
    return pd.read_csv(path).drop(columns="seconds").to_csv(index=False).splitlines()
