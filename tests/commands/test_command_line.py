"""The command line: which exit status and line each kind of failure gets, and what rtc-bench says of its commands."""

import errno
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import types

import pytest

from rtc_bench.commands import command_line, table
from rtc_bench.common import errors

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def opened(monkeypatch):
    """Go through the door with these arguments into a function that raises ``error``; the exit status."""
    monkeypatch.delenv("RTC_BENCH_DEBUG", raising=False)

    def run_entry(*arguments, error=None, received_settings=None):
        def function(settings):
            if received_settings is not None:
                received_settings.append(settings)
            if error:
                raise error

        monkeypatch.setitem(sys.modules, "stand_in", types.SimpleNamespace(function=function))
        command = table.COMMANDS["sweep"]._replace(function="stand_in:function")
        monkeypatch.setitem(table.COMMANDS, "sweep", command)
        monkeypatch.setattr(os, "_exit", sys.exit)
        with pytest.raises(SystemExit) as exit_:
            command_line.run("sweep", [*arguments])
        return exit_.value.code

    return run_entry


@pytest.mark.parametrize(
    ("error", "status", "answer"),
    [
        (errors.ConfigError("delay=9 is wrong"), 2, "error: delay=9 is wrong"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "error: /x: Permission denied; check who may"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device; free some space"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), 2, "error: /x: No such file or directory"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_a_failure_that_a_user_can_mend_is_one_line(opened, capsys, error, status, answer):
    assert opened(error=error) == status
    error_text = capsys.readouterr().err
    assert error_text.startswith(answer)
    assert len(error_text.splitlines()) == 1


def test_links_that_were_lost_in_copying_are_mended_as_one_line_says(tmp_path):
    for folder in ("scripts", "rtc_bench", "envs", "configs"):
        lost = ("envs", "configs") if folder == "rtc_bench" else ()
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*lost, "__pycache__"))
    script = [sys.executable, tmp_path / "scripts" / "sweep.py", "--help"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    message, _, mend = done.stderr.partition("; mend them: ")
    assert message == "error: links in rtc_bench/ were lost in copying"
    subprocess.run(mend, shell=True, cwd=tmp_path, check=True)
    assert subprocess.run(script, capture_output=True).returncode == 0


def test_a_python_without_the_packages_is_told_how_to_get_them():
    done = subprocess.run(
        [sys.executable, "-S", "-E", SCRIPTS / "train_method.py", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "run `make setup` once, then `source .venv/bin/activate`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_bug_keeps_its_traceback(opened):
    with pytest.raises(ValueError, match="shapes differ"):
        opened(error=ValueError("shapes differ"))


def test_debugging_shows_every_traceback(opened, monkeypatch):
    monkeypatch.setenv("RTC_BENCH_DEBUG", "1")
    with pytest.raises(errors.ConfigError):
        opened("delay=4..0")


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("delay=2", "delay", 2),
        ("delay=[0,2,4]", "delay", [0, 2, 4]),
        ("delay=0..4", "delay", "0..4"),
        ("horizon=all", "horizon", "all"),
        ("horizon=1..4", "horizon", "1..4"),
        ("strategy=[rtc,bid]", "strategy", ("rtc", "bid")),
        ("strategy=my_pkg.file:Cls", "strategy", "my_pkg.file:Cls"),
        ("strategy=[rtc,folder/file.py:Cls]", "strategy", ("rtc", "folder/file.py:Cls")),
        ("task=all", "task", "all"),
        ("task=[h17_unicycle,catapult]", "task", ("h17_unicycle", "catapult")),
        ("options.rtc.schedule=linear", "options", {"rtc": {"schedule": "linear"}}),
        ("+options.rtc.schedule=linear", "options", {"rtc": {"schedule": "linear"}}),
        ("preset=paper", "episodes", 2048),
    ],
)
def test_what_a_command_line_means(opened, argument, name, value):
    received_settings = []
    assert opened(argument, received_settings=received_settings) == 0
    assert getattr(received_settings[0], name) == value


@pytest.mark.parametrize(
    "argument",
    [
        "delay=0,2",
        "delay=4..0",
        "strategy=rtc,bid",
        "task=h17_unicycle,catapult",
        "seed=0,1",
        "episodes=64,128",
        "delay=x",
        "horizon=2..1",
        "noise_std=0.1,0.2",
        "wandb.tags=a,b",
    ],
)
def test_every_hint_works_when_typed(opened, capsys, argument):
    assert opened(argument) == 2
    message = capsys.readouterr().err
    hints = message.strip().partition("; write ")[2]
    assert hints, message
    for hint in shlex.split(hints.replace(", ", " ")):
        received_settings = []
        assert opened(hint, received_settings=received_settings) == 0, hint
        assert received_settings


@pytest.mark.parametrize(
    "path", ["/tmp/a,b", "a b(c", "x[1]", "~/runs/{now}", "it's", 'say "x"', "a\\b", "a=b", "$HOME", "nan", "7"]
)
def test_any_path_is_taken_as_it_is(opened, path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    received_settings = []
    assert opened(f"out={path}", received_settings=received_settings) == 0
    assert received_settings[0].out == path.replace("~", "/home/me")


def rtc_bench(monkeypatch, *arguments) -> int:
    """Its exit status."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rtc-bench", *arguments])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    return left.value.code


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_rtc_bench_lists_its_commands_with_a_line_each(monkeypatch, capsys, arguments):
    assert rtc_bench(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in table.COMMANDS:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert len(line) <= 110, line
        assert line.endswith(".")


def test_the_list_of_commands_does_not_wait_for_jax():
    code = "import sys; from rtc_bench.commands import command_line as c; c.overview(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"jax", "numpy", "hydra"} & {*done.stdout.split()}


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("swep",), "error: unknown command 'swep' (did you mean 'sweep'?); commands: sweep, compare, "),
        (("train_expert", "task=all"), "error: unknown command 'train_expert' (did you mean 'train-expert'?)"),
        (("delay=0..4",), "error: unknown command 'delay=0..4'; commands: "),
        (("sweep", "dealy=2"), "error: unknown setting 'dealy' (did you mean 'delay'?)"),
        (("train-expert",), "error: task is not given; add task=..., see --help"),
    ],
)
def test_a_wrong_command_is_one_line(monkeypatch, capsys, arguments, answer):
    assert rtc_bench(monkeypatch, *arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith(answer)
    assert len(message.splitlines()) == 1


def test_commands_are_named_as_they_were_started(monkeypatch, capsys):
    for started, name in (("/bin/rtc-bench", "rtc-bench train-flow"), ("my/sweep.py", "rtc-bench train-flow")):
        monkeypatch.setattr(sys, "argv", [started])
        assert errors.command("train-flow") == name
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["scripts/sweep.py"])
    assert errors.command("train-flow") == "python scripts/train_flow.py"
    assert "\n  python scripts/sweep.py delay=0..4\n" in command_line.help_text("sweep")
    assert rtc_bench(monkeypatch, "train-flow", "--help") == 0
    assert "\n  rtc-bench train-flow task=mjc_swimmer\n" in capsys.readouterr().out
