"""The specialised engine behind the task environments."""

import jax.numpy as jnp
from jax import Array

from envs import scene as scenes
from envs.physics import constants as const
from envs.physics import state as states
from envs.physics import step as steps


class FastEngine:
    """Simulates one scene, natively batched. Jittable; holds constants only."""

    def __init__(self, scene: scenes.Scene):
        self.constants = const.build(scene)

    def initial(self, batch: int) -> states.Sim:
        """The scene at rest, ``batch`` times; every leaf has the batch as its last axis."""
        return states.initial(self.constants, batch)

    def step(self, sim: states.Sim, motors: Array, thrusters: Array) -> tuple[states.Sim, Array, Array, Array]:
        """One control step; see ``steps.control_step``."""
        return steps.control_step(self.constants, sim, motors, thrusters)

    def bodies(self, sim: states.Sim) -> tuple[Array, ...]:
        """x, y, angle, vx, vy, w of the moving bodies in slot order, each [M, B]."""
        return tuple(sim.motion)

    def distance(self, sim: states.Sim) -> Array:
        """Green to blue, metres, [B]."""
        return jnp.asarray(steps.distance(self.constants, sim.motion))
