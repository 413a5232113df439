"""Two CPU devices, strict types and ranks, a compilation cache, and the optional reference data."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RTC_BENCH_DEVICES", "2")
os.environ.setdefault("WANDB_SILENT", "true")

import jax
import pytest

from rtc_bench.common import devices

devices.setup()
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

REFERENCE = pathlib.Path(__file__).resolve().parents[2] / "shared" / "reference"


LONGEST = ("tests/envs/test_physics.py", "tests/evaluation/test_equivalence.py", "tests/scripts/test_sweep_script.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def reference() -> pathlib.Path:
    """Recorded facts of the published benchmark, which do not ship with the project."""
    if not REFERENCE.is_dir():
        pytest.skip("the published benchmark's recorded data is not beside this checkout (../shared/reference)")
    return REFERENCE


@pytest.fixture
def exact():
    """Matrix products at full float32 precision, also on accelerators."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture
def lenient():
    """For tests that run other packages' training code, which promotes types and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
