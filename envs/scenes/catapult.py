"""catapult: a motor arm throws a ball at a small table; the plank on top (green) must fall to the floor (blue)."""

from rtc_bench.envs.scene import BLUE, GREEN, Joint, Scene, circle, quad, walls


def scene() -> Scene:
    """5 moving bodies, 1 joint, 1 motor."""
    arm = quad(4, 0.8, 1.095, 0.61, 0.05)
    left_leg = quad(5, 2.47, 0.7725, 0.05, 0.3825, density=0.5)
    right_leg = quad(6, 2.97, 0.7725, 0.05, 0.3825, density=0.5)
    plank = quad(7, 2.7275, 1.255, 0.3, 0.055, role=GREEN)
    pivot = circle(0, 1.385, 1.1, 0.187416672706604, moves=False)
    ball = circle(1, 0.495, 1.345, 0.1498333364725113)
    swing = Joint(
        a=arm.slot,
        b=pivot.slot,
        a_anchor=(0.585, 0.005),
        b_anchor=(0.0, 0.0),
        motor_on=True,
        limits=(0.0872664600610733, 1.919862151145935),  # 5 to 110 degrees
    )
    bodies = (*walls(floor_role=BLUE), arm, left_leg, right_leg, plank, pivot, ball)
    return Scene("catapult", bodies, joints=(swing,))
