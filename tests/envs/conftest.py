"""The stock engine's step, compiled once for all scenes: they have one size, and are data to it."""

import jax
import pytest

STOCK_BATCH = 32


@pytest.fixture(scope="session")
def stock_step():
    """engine.step of the stock engine, jitted; call it with batches of 32."""
    from rtc_bench.envs import kinetix_engine, tasks

    return jax.jit(kinetix_engine.KinetixEngine(tasks.scene("catapult")).step)
