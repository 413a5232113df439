"""--dry-run at the door: who takes it, and that it reaches the command."""

import pathlib
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


def run(script, *arguments, cwd):
    command = [sys.executable, SCRIPTS / f"{script}.py", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", ["render", "report", "realtime", "publish_zoo"])
def test_a_command_without_a_plan_says_so_in_one_line(script, tmp_path):
    done = run(script, "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: {script.replace('_', '-')} takes no --dry-run: it has nothing long to plan; leave it away\n"
    )


@pytest.mark.parametrize("script", ["sweep", "compare", "train_expert", "generate_data", "train_flow", "train_method"])
def test_help_tells_of_it(script, tmp_path):
    assert "\n--dry-run checks everything, " in run(script, "--help", cwd=tmp_path).stdout


def test_it_reaches_the_command(tmp_path):
    done = run("train_expert", "task=[catapult,mjc_walker]", "seeds=2", "--dry-run", cwd=tmp_path)
    assert done.stdout.splitlines()[-1].startswith("4 experts, some ")
    assert done.stdout.splitlines()[-1].endswith("-> runs/experts")
    assert not list(tmp_path.iterdir())
