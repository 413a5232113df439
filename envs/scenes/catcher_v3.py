"""catcher_v3: a ball (green) rolls off a shelf; an arm with a plate must catch it and throw it to the goal (blue)."""

import dataclasses

from rtc_bench.envs.scene import BLUE, GREEN, RED, Joint, Scene, Thruster, circle, quad, walls

SQRT_HALF = 0.7071067811865476


def scene() -> Scene:
    """6 moving bodies, 3 joints, 2 motors and 2 thrusters."""
    lower_arm = quad(4, 2.0114729841493797, 0.9143606845634074, 0.05, SQRT_HALF, role=RED)
    upper_arm = quad(5, 2.0133234652744734, 2.0706883950589376, 0.05, 0.4755736484720904, role=RED)
    # The plate was thickened upwards after its mass was set: mass and inertia are those of a 10 cm plate.
    plate = dataclasses.replace(
        quad(6, 1.9892671924976486, 2.4637009678201633, 0.2775721612416042, 0.05),
        vertices=((0.27757216, 0.09), (0.27757216, -0.05), (-0.27757216, -0.05), (-0.27757216, 0.09)),
    )
    shelf = quad(7, 0.9866034434660911, 3.162472240046843, SQRT_HALF, 0.05, restitution=0.5)
    studs = (
        quad(8, 0.2627683201262086, 3.0, 0.05, 0.05, moves=False),
        quad(9, 0.45521835719476633, 3.4437453746121918, 0.05, 0.05, moves=False),
        quad(10, 1.0714285717916239, 3.045891930906854, 0.05, 0.05, moves=False),
    )
    rocket = quad(11, 0.6735751288940885, 2.4, 0.1202812746, 0.0980754984, role=RED)
    ball = circle(0, 0.6735751303886165, 3.3789785392517584, 0.1, density=0.5, restitution=1.0, role=GREEN)
    goal = circle(1, 4.743153219837158, 0.5958549222797929, 0.27, moves=False, role=BLUE)
    shoulder = Joint(
        a=lower_arm.slot,
        b=0,
        a_anchor=(-0.0018504814439608275, -0.6849010202191249),
        b_anchor=(-0.5181347150259066, 5.170096225018504),
        motor_on=True,
        binding=0,
    )
    weld = Joint(
        a=upper_arm.slot,
        b=lower_arm.slot,
        a_anchor=(0.0, -0.4644707784786266),
        b_anchor=(0.0018504808062240752, 0.691856936849713),
        fixed=True,
        binding=1,
    )
    wrist = Joint(
        a=plate.slot,
        b=upper_arm.slot,
        a_anchor=(0.0, -0.02775721761355676),
        b_anchor=(0.0, 0.4052553503148597),
        motor_on=True,
        binding=2,
    )
    thrusters = tuple(
        Thruster(rocket.slot, (side * 0.09067357448994351, -0.09437454092790887), rotation, power=0.1, binding=binding)
        for binding, (side, rotation) in enumerate(((-1, 0.7853981633974483), (1, 2.356194490192345)))
    )
    bodies = (
        *walls(floor_role=RED, collision_mode=1),
        lower_arm,
        upper_arm,
        plate,
        shelf,
        *studs,
        rocket,
        ball,
        goal,
    )
    return Scene("catcher_v3", bodies, joints=(shoulder, weld, wrist), thrusters=thrusters)
