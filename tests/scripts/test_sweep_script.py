"""The sweep as a user runs it: to the end, killed and run again, and with each wrong input."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from rtc_bench import envs
from rtc_bench.policies import checkpoint, flow

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASK = "h17_unicycle"
FAST = ["strategy=naive", "episodes=4", "wandb.mode=disabled"]
STRATEGY = """
import dataclasses
from rtc_bench.strategies import base

@dataclasses.dataclass(frozen=True)
class Mine(base.Strategy):
    scale: float = 1.0

    def plan(self, policy, request, memory):
        return self.scale * self.sample(policy, request.obs, request.noise), memory
"""

BROKEN = """
import dataclasses
import jax.numpy as jnp
from rtc_bench.strategies import base

@dataclasses.dataclass(frozen=True)
class Branch(base.Strategy):
    def plan(self, policy, request, memory):
        new = self.sample(policy, request.obs, request.noise)
        return (new if request.delay else request.previous), memory

@dataclasses.dataclass(frozen=True)
class Nan(base.Strategy):
    def init(self, policy, batch):
        return jnp.zeros(batch)

    def plan(self, policy, request, memory):
        new = self.sample(policy, request.obs, request.noise)
        return jnp.where(memory[:, None, None] < 3, new, jnp.nan), memory + 1
"""
BRANCH_LINE = 1 + BROKEN.splitlines().index("        return (new if request.delay else request.previous), memory")


def save_policy(folder, task=TASK, horizon=8):
    env = envs.make(task)
    config = flow.FlowConfig(env.obs_size, env.action_size, horizon, 1, 8, 8, 4)
    params = flow.init(jax.random.key(0), config)
    policy = flow.FlowPolicy(params, config, jnp.zeros(env.obs_size), jnp.ones(env.obs_size))
    checkpoint.save_flow(folder / f"{task}.safetensors", policy, {"task": task, "interface": "compact"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep")
    (path / "policies").mkdir()
    save_policy(path / "policies")
    (path / "mine.py").write_text(STRATEGY)
    (path / "broken.py").write_text(BROKEN)
    return path


def command(*arguments, script="sweep"):
    return [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *arguments]


def run(folder, *arguments, script="sweep", **environment):
    options = {
        "cwd": folder,
        "env": {**os.environ, **environment},
        "capture_output": True,
        "text": True,
        "timeout": 300,
    }
    done = subprocess.run(command(*arguments, script=script), **options, check=False)
    return done.returncode, done.stdout, done.stderr


def without_seconds(table):
    lines = [line.split(",") for line in table.read_text().splitlines()]
    column = lines[0].index("seconds")
    return [",".join(line[:column] + line[column + 1 :]) for line in lines]


@pytest.fixture(scope="module")
def whole(folder):
    """An undisturbed run, from another folder than the checkout, with a strategy from a file there."""
    arguments = ["policy=policies", "delay=0..4", "strategy=[naive,mine.py:Mine]", "episodes=64"]
    status, out, err = run(folder, *arguments, "options.Mine.scale=0.5", "out=whole")
    assert status == 0, err
    return arguments, out


def test_a_sweep_ends_with_table_picture_and_records(folder, whole):
    assert all(text in whole[1] for text in ("naive", "Mine", "d=4", TASK))
    names = {path.name for path in (folder / "whole").iterdir()}
    files = {"results.csv", "episodes", "README.md", "curves.png", "config.yaml", "manifest.json"}
    assert names == {*files, "episode.gif", "wandb"}
    assert len(without_seconds(folder / "whole" / "results.csv")) == 1 + 2 * 5
    assert list((folder / "whole" / "wandb").glob("offline-run-*/*.wandb"))


def test_killed_half_way_and_run_again_it_ends_with_the_same_numbers(folder, whole):
    arguments = [*whole[0], "options.Mine.scale=0.5", "out=cut"]
    table = folder / "cut" / "results.csv"
    process = subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    deadline = time.monotonic() + 200
    while not (table.exists() and len(without_seconds(table)) > 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 2 < len(without_seconds(table)) < 11
    status, out, err = run(folder, *arguments)
    assert status == 0, err
    assert "10 cells, some" not in out
    assert " of them done before" in out
    assert without_seconds(table) == without_seconds(folder / "whole" / "results.csv")


def test_run_again_it_has_nothing_to_do_but_report(folder, whole):
    before = (folder / "whole" / "results.csv").read_bytes()
    status, out, err = run(folder, *whole[0], "options.Mine.scale=0.5", "out=whole")
    assert status == 0, err
    assert "10 of them done before" in out
    assert (folder / "whole" / "results.csv").read_bytes() == before


def test_a_report_of_an_existing_run(folder, whole):
    status, out, err = run(folder, "whole", "out=told", script="report")
    assert status == 0, err
    assert "Mine" in out
    page = (folder / "told" / "index.html").read_text()
    assert "data:image/gif;base64," in page
    assert "ms a chunk" in page
    assert "whole" in page  # the command that made the run


def test_the_example_is_compared_and_compared_again(folder):
    """The worked example, as the README has it; the second time nothing is left to run."""
    example = ROOT / "examples" / "blend.py"
    arguments = [f"strategy={example}:Blend", "baseline=naive", "policy=policies", "delay=[0,2]", "episodes=8"]
    status, out, err = run(folder, *arguments, "wandb.mode=disabled", script="compare")
    assert status == 0, err
    assert "Blend against naive" in out
    (mine,) = (folder / "results" / "compare").glob("Blend-*")
    lines = (mine / "comparisons.csv").read_text().splitlines()
    assert lines[0].startswith("strategy,baseline,task,delay,")
    assert len(lines) == 1 + 3 + 2  # the mean at two delays and over both, one task at two delays
    status, out, err = run(folder, *arguments, "wandb.mode=disabled", script="compare")
    assert status == 0, err
    assert out.count("2 cells, 2 of them done before") == 2
    fewer = [argument.replace("delay=[0,2]", "delay=2") for argument in arguments]
    status, out, err = run(folder, *fewer, "wandb.mode=disabled", script="compare")
    assert status == 0, err
    assert out.count("1 cell, 1 of them done before") == 2


def test_the_readme_shows_the_example():
    code = (ROOT / "examples" / "blend.py").read_text().partition('"""\n\n')[2]
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text()


FOREIGN = """
import dataclasses

import envs
import policies.network
import report
import rtc_bench.envs
from rtc_bench.strategies import base

@dataclasses.dataclass(frozen=True)
class Foreign(base.Strategy):
    def plan(self, policy, request, memory):
        assert "car_launch" in rtc_bench.envs.TASKS
        return policies.network.SCALE * envs.SCALE * report.SCALE * request.previous, memory
"""


@pytest.mark.parametrize("spec", ["foreign:Foreign", "research/foreign.py:Foreign"])
def test_a_strategy_has_its_own_modules_whatever_ours_are_called(folder, spec):
    """Folders envs/ and policies/ of a research repository, and a module named like one of our scripts."""
    research = folder / "research"
    for module in ("envs/__init__.py", "policies/__init__.py", "policies/network.py", "report.py"):
        (research / module).parent.mkdir(parents=True, exist_ok=True)
        (research / module).write_text("SCALE = 0.5\n")
    (research / "foreign.py").write_text(FOREIGN)
    arguments = ["policy=policies", "delay=1", "episodes=4", "wandb.mode=disabled", f"strategy=[naive,{spec}]"]
    environment = {**os.environ, "PYTHONPATH": str(research)}
    done = subprocess.run(
        command(*arguments, f"out=foreign{len(spec)}"), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Foreign" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], "strategy= is not given; name the new one"),
        (["strategy=rtc"], "'rtc' is both strategy= and baseline=; name it once"),
        (["strategy=rtc_hard", "baseline=niave"], "unknown strategy 'niave' (did you mean 'naive'?)"),
        (["strategy=gone.py:Mine"], "strategy 'gone.py:Mine' cannot be imported: no such file"),
        (["strategy=bid", "options.bdi.samples=4"], "options.bdi is set, but strategy= does not list 'bdi'"),
    ],
)
def test_what_a_wrong_comparison_answers(folder, arguments, answer):
    status, _, err = run(folder, "policy=policies", *arguments, script="compare")
    assert status == 2, err
    assert err.startswith("error: ")
    assert answer in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["task=h17_unicicle"], "unknown task 'h17_unicicle'; did you mean 'h17_unicycle'"),
        (["task=catapult"], "task 'catapult' has no policy in policy=policies"),
        (["delay=5"], "delay=5 does not fit a chunk of 8 (d <= s <= 8 - d); valid: 0..4"),
        (["delay=4..0"], "delay=4..0 runs backwards; write delay=0..4"),
        (["delay=0,2"], "'delay=0,2' is a list without brackets; write 'delay=[0,2]'"),
        (["horizon=9"], "horizon=9 does not fit delay=0 and a chunk of 8"),
        (["horizon=3"], "horizon=3 does not fit delay=4 and a chunk of 8"),
        (["strategy=rtcc"], "unknown strategy 'rtcc' (did you mean 'rtc'?)"),
        (["strategy=gone.py:Mine"], "strategy 'gone.py:Mine' cannot be imported: no such file"),
        (["options.naive.flow_stps=3"], "no option 'flow_stps' (did you mean 'flow_steps'?)"),
        (["options.naive.flow_steps=few"], "flow_steps='few' is not a whole number"),
        (["strategy=rtc", "options.rtc.schedule=expo"], "exp, linear, ones, zeros"),
        (["strategy=rtc", "options.rtc.max_guidance_weight=inf"], "max_guidance_weight=inf is not a finite number"),
        (["strategy=temporal_ensembling", "options.temporal_ensembling.m=-1000"], "m=-1000.0 is out of range"),
        (["noise_std=nan"], "noise_std=nan is not a finite number"),
        (["strategy=broken.py:Branch"], f"broken.py:{BRANCH_LINE}, Branch: a Python branch on a traced value"),
        (["options.rtc.schedule=exp"], "options.rtc is set, but strategy= does not list 'rtc'"),
        (["dealy=2"], "unknown setting 'dealy' (did you mean 'delay'?)"),
        (["wandb.mod=online"], "unknown setting 'wandb.mod' (did you mean 'wandb.mode'?)"),
        (["wandb=offline"], "'wandb' is a group of settings; write wandb.mode="),
        (["wandb.mode=ofline"], "mode='ofline'"),
        (["preset=lapto"], "unknown preset 'lapto' (did you mean 'laptop'?)"),
        (["delay"], "'delay' is not key=value; write for example delay="),
        (["--multirun"], "unknown flag '--multirun'"),
        (["seed=99999999999999999999"], "seed=99999999999999999999 is out of range"),
        (["policy=gone.safetensors"], "gone.safetensors: no such checkpoint file"),
        (["policy=short.safetensors"], "short.safetensors: not a whole safetensors file"),
        (["policy=evil.pkl"], "evil.pkl: pickles are not loaded"),
        (["policy=policies/h17_unicycle.safetensors", "task=catapult"], "made for task 'h17_unicycle', not 'catapult'"),
        (["out=/proc/nowhere"], "/proc/nowhere: No such file or directory"),
    ],
)
def test_what_a_wrong_input_answers(folder, arguments, answer):
    good = (folder / "policies" / f"{TASK}.safetensors").read_bytes()
    (folder / "short.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    status, _, err = run(folder, "policy=policies", *FAST, *arguments)
    assert status == 2, err
    assert err.startswith("error: ")
    assert answer in err
    assert len(err.splitlines()) == 1
    assert not (folder / "hacked").exists()


def test_actions_that_are_not_finite_stop_their_cell_alone(folder):
    arguments = ["policy=policies", *FAST, "strategy=[naive,broken.py:Nan]", "delay=[0,1]", "out=nan"]
    status, _, err = run(folder, *arguments)
    answer = (
        f"error: {TASK} Nan d=0 s=1: actions are inf or nan at control step 3 of episode 0 (seed 0) (and 1 more cells)"
    )
    assert (status, err.splitlines()[-1].startswith(answer)) == (2, True), err
    assert "Traceback" not in err
    rows = without_seconds(folder / "nan" / "results.csv")[1:]
    assert [row.split(",")[1] for row in rows] == ["naive", "naive"]
    status, _, err = run(folder, f"task={TASK}", "policy=policies", "strategy=broken.py:Nan", script="render")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: actions are inf or nan at control step 3 of episode 0")


def test_settings_of_another_run_are_refused(folder, whole):
    status, _, err = run(folder, *whole[0], "options.Mine.scale=0.5", "out=whole", "noise_std=0.2")
    assert status == 2
    assert "holds a run with noise_std=0.1, this one has noise_std=0.2; give another out=" in err


def test_more_episodes_and_seeds_go_on_in_the_same_folder(folder):
    arguments = ["policy=policies", *FAST, "delay=[0,2]"]
    for more, done in (("episodes=4", 0), ("episodes=6", 0), ("seed=[0,1]", 0), ("episodes=4", 2)):
        status, out, err = run(folder, *arguments, more, "out=grown", *(["episodes=6"] if "seed" in more else []))
        assert status == 0, err
        assert f"2 cells, {done} of them done before" in out or (not done and "2 cells, on 2 cores" in out)
    status, _, err = run(folder, *arguments, "episodes=6", "seed=0..1", "out=at_once")
    assert status == 0, err
    assert without_seconds(folder / "grown" / "results.csv") == without_seconds(folder / "at_once" / "results.csv")


def test_what_the_environment_says_about_jax_and_wandb(folder, whole):
    """64 bits change nothing; a platform that is not there is one line; WANDB_MODE is the default of wandb.mode."""
    arguments = ["policy=policies", "delay=0..4", "strategy=naive", "episodes=64"]
    status, _, err = run(folder, *arguments, "out=wide", JAX_ENABLE_X64="1", WANDB_MODE="disabled")
    assert status == 0, err
    naive = [line for line in without_seconds(folder / "whole" / "results.csv") if ",naive," in line]
    assert without_seconds(folder / "wide" / "results.csv")[1:] == naive
    assert not (folder / "wide" / "wandb").exists()
    for name, value, answer in (
        ("JAX_PLATFORMS", "cuda", "JAX has no device for JAX_PLATFORMS=cuda"),
        ("WANDB_MODE", "bogus", "mode='bogus' is not valid; mode: offline, online, disabled, and WANDB_MODE sets it"),
    ):
        status, _, err = run(folder, *arguments, "out=never", **{name: value})
        assert (status, len(err.splitlines())) == (2, 1), err
        assert answer in err


def test_a_policy_with_a_longer_chunk_admits_a_longer_delay(folder):
    (folder / "longer").mkdir()
    save_policy(folder / "longer", horizon=16)
    status, _, err = run(folder, "policy=longer", *FAST, "delay=9")
    assert status == 2
    assert "delay=9 does not fit a chunk of 16" in err
    status, _, err = run(folder, "policy=longer", *FAST, "delay=6", "out=six")
    assert status == 0, err


def test_help_tells_every_setting():
    done = subprocess.run(command("--help"), capture_output=True, text=True, check=True)
    for name in ("preset=", "task=", "delay=0..4", "horizon=auto", "wandb.mode=offline", "options="):
        assert name in done.stdout
