"""Work on a Ray cluster of two nodes, which know nothing of this checkout, against the same work done here."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import line_sweep
import pytest
import shift_strategy
import track_files
import track_stages
import track_task

from rtc_bench import envs
from rtc_bench.common import errors
from rtc_bench.evaluation import results, run_folder, sweep
from rtc_bench.evaluation import settings as sweep_settings
from rtc_bench.launching import cluster as clusters
from rtc_bench.launching import settings, units
from rtc_bench.method_training import pipeline as methods
from rtc_bench.method_training import settings as method_settings
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import contract
from rtc_bench.training import expert_data, expert_training, flow_training, pipeline
from rtc_bench.training import settings as training_settings

pytest.importorskip("ray", reason="Ray is not installed; make test installs it from requirements-cluster.lock")
HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """Of a cluster of two nodes in different working directories, each for one worker; the driver is this process."""
    from ray import cluster_utils

    before, environment = pathlib.Path.cwd(), os.environ.pop("PYTHONPATH", None)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever token there is in the user's home
    nodes = cluster_utils.Cluster()
    for name in ("head", "second"):
        os.chdir(tmp_path_factory.mktemp(name))
        nodes.add_node(num_cpus=2, include_dashboard=False)
    os.chdir(before)
    if environment is not None:
        os.environ["PYTHONPATH"] = environment
    yield settings.LauncherConfig(address=nodes.address)
    clusters.disconnect()
    nodes.shutdown()


def without_seconds(folder):
    return [dataclasses.replace(row, seconds=0.0) for row in results.read(folder / "results.csv")]


@pytest.fixture(scope="module")
def played_here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here") / "run"
    sweep.fill_run_folder(line_sweep.prepared(folder), folder)
    return without_seconds(folder)


def test_workers_are_elsewhere_and_have_this_code(launcher):
    own = [units.Unit(str(number), lambda: ()) for number in range(2)]
    ((_, (file, cwd, devices)), *_) = units.run(track_stages.look_around, own, launcher)
    assert not pathlib.Path(file).is_relative_to(pathlib.Path(clusters.__file__).parents[1])
    assert pathlib.Path(cwd) != pathlib.Path.cwd()
    assert devices == "2"


def test_a_sweep_ends_with_the_rows_of_a_local_one_although_a_worker_dies(
    launcher, played_here, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    monkeypatch.setattr(sweep, "play", line_sweep.play_and_die)
    assert sweep.fill_run_folder(line_sweep.prepared(folder, address=launcher.address), folder)
    assert (folder / "dead").exists()
    assert "its worker died" in capsys.readouterr().err
    assert without_seconds(folder) == played_here
    (session,) = json.loads((folder / "manifest.json").read_text())["versions"]
    assert (session["device"], session["command"].split()[0]) == ("2 x cpu", pathlib.Path(sys.argv[0]).name)


def test_a_killed_driver_goes_on_when_it_is_run_again(launcher, played_here, tmp_path):
    folder = tmp_path / "run"
    code = f"import line_sweep; line_sweep.main({str(folder)!r}, {launcher.address!r})"
    path = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])])
    driver = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 400
    while not ((folder / "results.csv").exists() and len(results.read(folder / "results.csv")) >= 3):
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = results.read(folder / "results.csv")
    assert 3 <= len(before) < len(played_here)
    sweep.fill_run_folder(line_sweep.prepared(folder, address=launcher.address), folder)
    assert without_seconds(folder) == played_here
    assert {row.cell: row for row in before}.items() <= {
        r.cell: r for r in results.read(folder / "results.csv")
    }.items()


def test_a_users_mistake_comes_back_as_it_is_and_what_is_finished_is_kept(launcher, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr(sweep, "play", line_sweep.play_and_fail)
    with pytest.raises(contract.BrokenStrategy, match=r"^mine.py:9, Mine: a mistake"):
        sweep.fill_run_folder(line_sweep.prepared(folder, address=launcher.address), folder)
    assert len(results.read(folder / "results.csv")) >= 2


def test_a_unit_that_kills_its_workers_is_named(launcher):
    twice = dataclasses.replace(launcher, tries=2)
    with pytest.raises(units.WorkersDied, match=r"^catapult: 2 workers died one after another"):
        list(units.run(track_stages.die, [units.Unit("catapult", lambda: ())], twice))


def test_what_cannot_be_sent_is_told(launcher):
    unit = units.Unit("catapult", lambda: (socket.socket(),))
    with pytest.raises(errors.ConfigError, match=r"^catapult cannot be sent to a worker"):
        list(units.run(track_stages.die, [unit], launcher))


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("localhost:1", "nobody answers there"),
        ("ray://no.such.host.invalid:10001", "nobody answers there"),
        ("head", "is no address; give ray://host:port"),
        (None, "what answers there is no Ray"),
    ],
)
def test_an_address_without_a_cluster_is_told_soon(address, answer):
    began = time.monotonic()
    with socket.create_server(("localhost", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request"), daemon=True).start()
        own = settings.LauncherConfig(address=address or f"localhost:{server.getsockname()[1]}")
        with pytest.raises(errors.ConfigError, match=answer):
            clusters.prepare(own)
    assert time.monotonic() - began < 30


def test_without_ray_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.ConfigError, match=r"not installed; pip install 'rtc-bench\[cluster\]'"):
        clusters.prepare(settings.LauncherConfig("ray"))


def test_a_worker_that_fits_no_node_is_refused(launcher):
    with pytest.raises(errors.ConfigError, match=r"cpus=3: no node .* \(they have 2, 2\); give launcher\.cpus=2 or"):
        clusters.connect(dataclasses.replace(launcher, cpus=3))


def test_where_work_runs_names_no_run_folder():
    one, other = (sweep_settings.SweepConfig(launcher=settings.LauncherConfig(name)) for name in ("local", "ray"))
    assert sweep.run_folder_path(one) == sweep.run_folder_path(other)


def test_tasks_are_played_in_parts_where_workers_would_be_idle(tmp_path):
    own = line_sweep.prepared(tmp_path / "run")
    missing = [(cell, run_folder.Span(seed, 0, 8)) for cell in own.cells for seed in (0, 1)]
    for workers, sizes in ((1, [16, 16]), (2, [16, 16]), (3, [16, 8, 8]), (9, [8, 8, 8, 8])):
        parts = sweep._parts(own, missing, workers)
        assert [len(part) for part in parts] == sizes
        assert sorted(item for part in parts for item in part) == sorted(missing)
        assert all(len({cell[0] for cell, _ in part}) == 1 for part in parts)


SEARCH = training_settings.SearchConfig(population=32, hold=4, successes=3, rounds=60, last_start=36)
EXPERTS = {"envs": 16, "rollout": 16, "minibatches": 2, "epochs": 2, "width": 16, "steps": 16 * 16 * 4}
EXPERTS |= {"eval_episodes": 8, "save_every": 2, "keep_every": 512, "seeds": 2, "search": SEARCH}
FLOW = {"epochs": 2, "weak_epoch": 1, "batch": 64, "warmup": 5, "eval_episodes": 16, "channels": 8, "channel_hidden": 8}


def test_experts_data_and_flow_policies_are_those_of_a_local_run(launcher, tmp_path, monkeypatch, lenient):
    """Files equal, but for seconds and what they were made by."""
    monkeypatch.setattr(envs, "make", lambda name, noise_std=0.0, **rest: track_task.Track(noise_std))
    for own in (settings.LauncherConfig(), launcher):
        root = tmp_path / own.name
        common = {"task": "catapult", "launcher": own}
        folders = {name: str(root / name) for name in ("experts", "data", "flow")}
        if own.is_ray:
            for module, function in (
                (expert_training, "train_seeds"),
                (expert_data, "generate"),
                (flow_training, "train"),
            ):
                monkeypatch.setattr(module, function, track_stages.on_track(module, function))
        pipeline.train_experts(training_settings.TrainExpertConfig(out=folders["experts"], **EXPERTS, **common))
        data = {"steps": 400, "batch": 16, "min_solve_rate": 0.0, "out": folders["data"]}
        pipeline.generate_data(training_settings.GenerateDataConfig(experts=folders["experts"], **data, **common))
        pipeline.train_flows(
            training_settings.TrainFlowConfig(data=folders["data"], out=folders["flow"], **FLOW, **common)
        )
    local, ray = (contents(tmp_path / name) for name in ("local", "ray"))
    assert local.keys() == ray.keys()
    assert {"experts/catapult/seed1.safetensors", "data/catapult/manifest.json"} < local.keys()
    assert [name for name in local if local[name] != ray[name]] == []


def contents(root):
    """File -> what it says, but for times and machines."""
    return {str(path.relative_to(root)): content(path) for path in sorted(root.rglob("*")) if path.is_file()}


def content(path):
    if path.suffix in (".png", ".ways"):  # a picture; the search's seconds
        return path.suffix
    if path.suffix == ".safetensors":
        arrays, header = checkpoint.load(path, kind=checkpoint.read_header(path)["kind"])
        return untimed(header), {name: leaf.tobytes() for name, leaf in checkpoint.flatten(arrays).items()}
    if path.name == "manifest.json":
        return untimed(json.loads(path.read_text()))
    return path.read_bytes()


def untimed(value):
    if isinstance(value, dict):
        return {
            name: untimed(own) for name, own in value.items() if name not in ("seconds", "source_seconds", "versions")
        }
    return [untimed(own) for own in value] if isinstance(value, list) else value


def test_methods_are_those_of_a_local_run_and_a_strategy_of_ones_own_travels(launcher, tmp_path, monkeypatch, lenient):
    def make(name, noise_std=0.0, **rest):
        env = track_task.Track(noise_std, name=name)
        env.scene = types.SimpleNamespace(moving=[0])
        return env

    monkeypatch.setattr(envs, "make", make)
    track_files.save_policy(tmp_path / "policies" / f"{track_files.TASK}.safetensors")
    track_files.write_data(tmp_path / "data" / track_files.TASK)
    shutil.copy(shift_strategy.__file__, tmp_path / "own.py")
    common = {"task": track_files.TASK, "strategy": f"{tmp_path}/own.py:Shift", "data": str(tmp_path / "data")}
    common["policy"] = str(tmp_path / "policies")
    for own in (settings.LauncherConfig(), launcher, launcher):  # the last finds all of it done
        out = str(tmp_path / own.name / "flow")
        methods.train_methods(method_settings.TrainMethodConfig(**common, out=out, launcher=own))
    local, ray = (contents(tmp_path / name) for name in ("local", "ray"))
    assert local.keys() == {"flow/shift/catapult.safetensors"}
    assert local == ray
