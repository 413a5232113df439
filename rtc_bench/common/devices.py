"""Both cores, or all GPUs: one device per core on a CPU, and functions spread over devices."""

import contextlib
import os
import pathlib
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rtc_bench.common import errors


def setup() -> None:
    """Call before JAX is first used: one CPU device per core, 32 bits, and compiled programs kept in the user's cache folder.

    RTC_BENCH_DEVICES sets the number of CPU devices, RTC_BENCH_CACHE another cache folder ("off" for none). Raises ConfigError
    for the former, and if JAX has no device.
    """
    count = os.environ.get("RTC_BENCH_DEVICES") or str(min(os.cpu_count() or 1, 16))
    if not count.isdigit() or int(count) < 1:
        raise errors.ConfigError(f"RTC_BENCH_DEVICES is {count!r}; set a number of CPU devices, 1 or more")
    with contextlib.suppress(RuntimeError):  # JAX is already running, with the devices its caller chose
        jax.config.update("jax_num_cpu_devices", int(count))
    jax.config.update("jax_enable_x64", False)  # whatever JAX_ENABLE_X64 says: all states and networks are float32
    _setup_cache()
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS")
        raise errors.ConfigError(
            f"JAX has no device for JAX_PLATFORMS={wanted} ({errors.first_line(error)}); for a GPU install "
            f'"jax[cuda12]=={jax.__version__}" with {sys.executable} -m pip, for the CPU unset JAX_PLATFORMS'
        ) from error


def _setup_cache() -> None:
    folder = os.environ.get("RTC_BENCH_CACHE")
    if folder == "off" or getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cache = pathlib.Path(folder).expanduser() if folder else base / "rtc_bench"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return  # a read-only home costs compile time, nothing else
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    _mend_broken_entries(cache)


def _mend_broken_entries(cache: pathlib.Path) -> None:
    """Have entries that JAX cannot read, or write whole, removed when it says so; it writes anew what is not there."""
    warnings.filterwarnings("always", message=CACHE_WARNING)
    show = warnings.showwarning

    def remove_or_show(message, *args, **kwargs):
        match = re.match(CACHE_WARNING, str(message))
        damaged = [path for path in cache.glob(f"{match[1]}-*-cache") if not _is_whole(path)] if match else []
        for path in damaged:
            path.unlink(missing_ok=True)
            print(f"removed a damaged program from {cache}", flush=True)
        if not damaged:
            show(message, *args, **kwargs)

    warnings.showwarning = remove_or_show


def _is_whole(entry: pathlib.Path) -> bool:
    from jax._src import compilation_cache  # JAX offers no other way to say which library compressed it

    try:
        compilation_cache.decompress_executable(entry.read_bytes())
    except Exception:  # of whichever library compresses
        return False
    return True


CACHE_WARNING = "Error (?:reading|writing) persistent compilation cache entry for '([^']*)'"

# LLVM's first level takes 7 to 16 % fewer CPU seconds to compile (three tasks), and its programs run as fast: bench_compile.py.
CPU_COMPILER_OPTIONS = {"xla_backend_optimization_level": 1}


class ShardedFunction:
    """A function that runs on every device at once, jitted.

    The devices do not talk to each other: on a CPU, XLA's collectives wait in the threads that the waited-for device needs,
    and can stall for ever.
    """

    def __init__(self, function: Callable, *, shared: int = 0, devices: int | None = None):
        """``devices``: only the first so many.

        The first ``shared`` arguments go to every device as they are; every leaf of the others, and of the result, has a
        leading axis with one entry per device, which ``function`` does not see.
        """
        self.shared = shared
        self.mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("device",))
        self.per_device, self.replicated = jax.sharding.PartitionSpec("device"), jax.sharding.PartitionSpec()

        def on_device(*arguments):
            own = jax.tree.map(lambda leaf: leaf[0], arguments[shared:])
            return jax.tree.map(lambda leaf: leaf[None], function(*arguments[:shared], *own))

        def sharded(*arguments):
            specs = {"in_specs": self._specs(arguments), "out_specs": self.per_device}
            return jax.shard_map(on_device, mesh=self.mesh, **specs, check_vma=False)(*arguments)

        options = CPU_COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
        self._sharded = jax.jit(sharded, compiler_options=options)

    def __call__(self, *arguments: Any) -> Any:
        """The function's result."""
        return self._sharded(*self.put(arguments))

    def lower(self, *arguments: Any) -> jax.stages.Lowered:
        """The program for arguments like these, not compiled yet. Once it is, a call need not compile it."""
        return self._sharded.lower(*self.put(arguments))

    def put(self, arguments: tuple) -> list:
        """The arguments on their devices."""
        shardings = [jax.sharding.NamedSharding(self.mesh, spec) for spec in self._specs(arguments)]
        return [jax.device_put(a, sharding) for a, sharding in zip(arguments, shardings, strict=True)]

    def _specs(self, arguments: tuple) -> tuple:
        return (self.replicated,) * self.shared + (self.per_device,) * (len(arguments) - self.shared)


def rounded_up(episodes: int) -> int:
    """The least number from ``episodes`` on that the devices divide."""
    return -(-episodes // jax.device_count()) * jax.device_count()


def episodes_of(leaf: Any, episodes: int) -> np.ndarray:
    """[D, B, ...], as a ``ShardedFunction`` returns it, as [episodes, ...]: without those that filled the last device up."""
    array = np.asarray(leaf)
    return array.reshape(-1, *array.shape[2:])[:episodes]


def memory_limit() -> int | None:
    """Bytes that programs may use on each device; None where the device does not say, as a CPU."""
    statistics = jax.local_devices()[0].memory_stats()
    return statistics.get("bytes_limit") if statistics else None


def program_bytes(program: jax.stages.Compiled) -> int | None:
    """What a program needs on each device: its arguments, its results and what lies between; None where nobody knows."""
    memory: Any = program.memory_analysis()
    return memory and memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is JAX's way to say that a device has no memory left."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def unshard(tree: Any) -> list[Any]:
    """What a ``ShardedFunction`` returned as one pytree per device, without their leading axis, all on the first device.

    Indexing the arrays instead would make the devices talk to each other.
    """
    leaves, structure = jax.tree.flatten(tree)
    shards = [sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0) for leaf in leaves]
    own = [[jax.device_put(shard.data[0], jax.devices()[0]) for shard in row] for row in zip(*shards, strict=True)]
    return [jax.tree.unflatten(structure, row) for row in own]
