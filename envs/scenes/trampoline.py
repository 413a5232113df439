"""trampoline: a small block (green) slides off a ramp; a car with a bouncy roof must bat it to the goal (blue)."""

from rtc_bench.envs.scene import BLUE, GREEN, RED, Joint, Scene, circle, quad, walls


def scene() -> Scene:
    """4 moving bodies, 2 joints, both motors on one binding."""
    car = quad(4, 1.5007401951697026, 0.9992598062513339, 0.3441894892672, 0.1702442635, restitution=1.0)
    ramp = quad(
        5, 0.6497418604115047, 3.7490747589256848, 0.7071067811865476, 0.05, moves=False, rotation=2.6179938779914944
    )
    block = quad(6, 0.23871206550000582, 4.306069578728017, 0.05, 0.05, density=0.1, restitution=1.0, role=GREEN)
    goal = quad(7, 4.816802370751638, 3.4955588366343346, 0.1443375277, 0.5088823094, moves=False, role=BLUE)
    left_wheel = circle(0, 1.156550700321451, 0.8290155409756357, 0.17)
    right_wheel = circle(1, 1.8449296788558698, 0.8290155409756357, 0.17)
    axles = tuple(
        Joint(car.slot, wheel.slot, (side * 0.34418949, -0.17024426164109008), (0.0, 0.0), motor_on=True)
        for side, wheel in ((1, right_wheel), (-1, left_wheel))
    )
    bodies = (*walls(floor_role=RED, collision_mode=1), car, ramp, block, goal, left_wheel, right_wheel)
    return Scene("trampoline", bodies, joints=axles)
