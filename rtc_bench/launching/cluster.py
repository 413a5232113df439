"""A connection to a Ray cluster, or a Ray of one's own, quietly. The only module that starts or ends Ray."""

import importlib.util
import os
import pathlib
import socket
import tempfile
import warnings
from typing import NamedTuple

from rtc_bench.common import errors
from rtc_bench.launching import settings

CONNECT_SECONDS = 10.0  # until a cluster must answer
SETTINGS = b"\x04"  # the type of the frame that HTTP/2, and so gRPC, begins with on either side (RFC 9113, 3.4)
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
INSTALL = "pip install 'rtc-bench[cluster]'"
PACKAGE = pathlib.Path(__file__).resolve().parents[1]
NOT_SENT = ["**/*.safetensors", "**/__pycache__"]  # policies go along with the work
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0"}
PATIENT = {"RAY_raylet_start_wait_time_s": "240"}  # where a busy machine starts a Ray; 30 seconds otherwise


class Capacity(NamedTuple):
    """What a cluster has."""

    workers: int  # at once
    gpus: int
    nodes: int


def prepare(launcher: settings.LauncherConfig) -> None:
    """Call before JAX is first used: where workers compute, this process leaves GPUs to them.

    Raises ConfigError for what would be in the way of ``connect``, as far as that can be told at once.
    """
    if not launcher.is_ray:
        return
    if importlib.util.find_spec("ray") is None:
        raise errors.ConfigError(f"launcher=ray needs Ray, which is not installed; {INSTALL}, or use launcher=local")
    if (address := _address(launcher)) not in (None, "auto"):
        _check_answers(address)
    import jax

    jax.config.update("jax_platforms", "cpu")


def _address(launcher: settings.LauncherConfig) -> str | None:
    return launcher.address or os.environ.get("RAY_ADDRESS") or None


def connect(launcher: settings.LauncherConfig) -> Capacity:
    """Connect, once a process, or start a Ray here. Raises ConfigError where there is none, or none large enough."""
    for name, value in {**QUIET, **PATIENT}.items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        _init(_address(launcher))
    return _capacity(launcher)


def disconnect() -> None:
    """End what ``connect`` began."""
    import ray

    ray.shutdown()


def _init(address: str | None) -> None:
    import ray

    # Ray has no setting that keeps back what it tells of workers that died; ``units`` says it in a line.
    ray._private.worker.print_to_stdstream = lambda *args, **kwargs: None
    here = {"address": "local", "include_dashboard": False}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # JAX warns of any fork; but the new process becomes another program at once
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        (pathlib.Path(folder) / PACKAGE.name).symlink_to(PACKAGE)
        # A working directory, since without one Ray has workers import from where this process does, whatever is there.
        code = {"working_dir": folder, "excludes": NOT_SENT}
        try:
            ray.init(
                **(here if address is None else {"address": address}),
                runtime_env=code,
                log_to_driver=False,
                logging_level="FATAL",
            )
        except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
            if address is None:
                raise
            raise errors.ConfigError(
                f"launcher.address={address}: no Ray cluster that can be used ({errors.first_line(error)}); "
                "start one by `ray start --head`, or leave launcher.address= away"
            ) from error


def _check_answers(address: str) -> None:
    """Raise ConfigError, soon, where nobody listens: Ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise errors.ConfigError(
            f"launcher.address={address} is no address; give ray://host:port, host:port (Ray's own is 6379) or auto"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as connection:
            connection.sendall(GREETING)
            reply = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise errors.ConfigError(
            f"launcher.address={address}: nobody answers there ({errors.first_line(error)}); check the address, and "
            "`ray status` on that machine"
        ) from error
    if reply[3:4] != SETTINGS and not os.environ.get("RAY_USE_TLS"):
        raise errors.ConfigError(
            f"launcher.address={address}: what answers there is no Ray; give Ray's own port, 6379 unless it was set, or "
            "ray://host:10001"
        )


def _capacity(launcher: settings.LauncherConfig) -> Capacity:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    workers = gpus or sum(own // launcher.cpus for own in cpus)
    if not workers:
        raise errors.ConfigError(
            f"launcher.cpus={launcher.cpus}: no node of the cluster has so many cores (they have "
            f"{', '.join(map(str, sorted(cpus)))}); give launcher.cpus={max(cpus, default=1)} or fewer"
        )
    return Capacity(workers, gpus, len(nodes))
