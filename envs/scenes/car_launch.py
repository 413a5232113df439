"""car_launch: a car on a ledge must jump the gap and touch the box (blue) with its front wheel (green)."""

from rtc_bench.envs.scene import BLUE, GREEN, RED, Joint, Scene, circle, quad, walls


def scene() -> Scene:
    """5 moving bodies, 3 joints, 2 motor bindings: the wheels and the mast."""
    left_ledge = quad(4, 1.175, 2.5775, 0.62, 0.1325, moves=False)
    right_ledge = quad(5, 3.319484374154329, 2.1775002479553223, 0.62, 0.1325, moves=False)
    chassis = quad(6, 1.0825, 2.82, 0.2725, 0.075)
    mast = quad(7, 1.0675, 3.0875, 0.05, 0.3175)
    box = quad(8, 3.8059806310186377, 2.5775, 0.13, 0.1525, role=BLUE)
    pillar = quad(9, 2.8107502790242442, 1.3421653372278328, 0.1091825308, 0.7071067812, moves=False)
    front_wheel = circle(0, 1.32, 2.805, 0.14, role=GREEN)
    back_wheel = circle(1, 0.82, 2.805, 0.14)
    joints = (
        Joint(
            chassis.slot,
            back_wheel.slot,
            (-0.2625, -0.015),
            (0.0, 0.0),
            motor_on=True,
            motor_speed=2.05,
            motor_power=2.05,
        ),
        Joint(
            chassis.slot,
            front_wheel.slot,
            (0.2375, -0.015),
            (0.0, 0.0),
            motor_on=True,
            motor_speed=2.05,
            motor_power=2.1,
        ),
        Joint(
            chassis.slot,
            mast.slot,
            (0.0, 0.0),
            (0.015, -0.2675),
            motor_on=True,
            motor_speed=2.2,
            motor_power=2.3,
            binding=1,
        ),
    )
    bodies = (
        *walls(floor_role=RED),
        left_ledge,
        right_ledge,
        chassis,
        mast,
        box,
        pillar,
        front_wheel,
        back_wheel,
    )
    return Scene("car_launch", bodies, joints=joints)
