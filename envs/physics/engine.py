"""The specialised engine behind the task environments."""

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench.envs import scene as scenes
from rtc_bench.envs.physics import constants as const
from rtc_bench.envs.physics import state as states
from rtc_bench.envs.physics import step as steps

CPU_BLOCK = 256  # environments that a CPU core steps together: few enough to stay in its cache


class FastEngine:
    """Simulates one scene, natively batched. Jittable; holds constants only."""

    def __init__(self, scene: scenes.Scene):
        self.constants = const.build(scene)

    def initial(self, batch: int) -> states.Sim:
        """The scene as it starts, ``batch`` times; every leaf has the batch as its last axis."""
        return states.initial(self.constants, batch)

    def step(self, sim: states.Sim, motors: Array, thrusters: Array) -> tuple[states.Sim, Array, Array, Array]:
        """One control step; see ``steps.control_step``. On a CPU, large batches are stepped block by block."""
        batch = motors.shape[-1]
        if jax.default_backend() != "cpu" or batch <= CPU_BLOCK or batch % CPU_BLOCK:
            return steps.control_step(self.constants, sim, motors, thrusters)

        def split(leaf: Array) -> Array:
            return jnp.moveaxis(leaf.reshape(*leaf.shape[:-1], batch // CPU_BLOCK, CPU_BLOCK), -2, 0)

        def join(leaf: Array) -> Array:
            return jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], batch)

        blocks = jax.tree.map(split, (sim, motors, thrusters))
        return jax.tree.map(join, jax.lax.map(lambda block: steps.control_step(self.constants, *block), blocks))

    def displace(self, sim: states.Sim, by: Array) -> states.Sim:
        """The moving bodies' x, y and angle changed by ``by`` [3, M, B]."""
        motion = sim.motion
        return sim._replace(motion=motion._replace(x=motion.x + by[0], y=motion.y + by[1], angle=motion.angle + by[2]))

    def bodies(self, sim: states.Sim) -> tuple[Array, ...]:
        """x, y, angle, vx, vy, w of the moving bodies in slot order, each [M, B]."""
        return tuple(sim.motion)

    def distance(self, sim: states.Sim) -> Array:
        """Green to blue, metres, [B]."""
        return jnp.asarray(steps.distance(self.constants, sim.motion))
