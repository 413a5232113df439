"""The stock engine's states as the fast engine's, to compare single steps."""

import jax.numpy as jnp
import numpy as np

from envs.physics import constants as const
from envs.physics import state as states


def to_sim(constants: const.Constants, scene, engine, sim) -> states.Sim:
    """A stock state (batch last) as a fast one."""
    slots = [body.slot for body in scene.bodies if body.moves] + [body.slot for body in scene.bodies if not body.moves]

    def impulses(kind: str, manifolds, points: int) -> states.Impulses:
        pairs, listed = getattr(constants, kind), const._generic_list(kind)
        index = np.array([listed.index((slots[pairs.a[k]], slots[pairs.b[k]])) for k in pairs.solved], int)
        parts = [part[index] for part in (manifolds.acc_impulse_normal, manifolds.acc_impulse_tangent)]
        return states.Impulses(*(jnp.swapaxes(p, 0, 1) if points == 2 else p[None] for p in parts))

    joints = len(constants.joints)
    return states.Sim(
        states.Motion(*engine.bodies(sim)),
        impulses("polygon_polygon", sim.acc_rr_manifolds, 2),
        impulses("circle_polygon", sim.acc_cr_manifolds, 1),
        impulses("circle_circle", sim.acc_cc_manifolds, 1),
        sim.joint.acc_impulse[:joints, 0],
        sim.joint.acc_impulse[:joints, 1],
        sim.joint.acc_r_impulse[:joints],
    )
