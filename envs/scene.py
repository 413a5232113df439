"""What a task's world consists of: bodies, joints, thrusters and their roles, as plain numbers.

A scene says nothing about how it is simulated. Bodies keep the slot they have in a Kinetix level (polygons 0-11, circles 12-15),
because the order in which contacts are solved depends on it.
"""

import math
from dataclasses import dataclass

POLYGON_SLOTS = 12
CIRCLE_SLOTS = 4
JOINT_SLOTS = 6
THRUSTER_SLOTS = 2
WALL_SLOTS = 4  # floor, left wall, right wall, ceiling: pairs among them are never tested
MOTOR_BINDINGS = 4
THRUSTER_BINDINGS = 2

NO_ROLE, GREEN, BLUE, RED = 0, 1, 2, 3

Point = tuple[float, float]


@dataclass(frozen=True)
class Body:
    """One rigid shape: a convex polygon (``vertices``, 4; 3 only for the stock engine) or a circle (``radius``).

    An inverse mass of 0 means it never moves.
    """

    slot: int  # 0-11 polygon, 12-15 circle
    position: Point  # metres, of the centroid
    rotation: float = 0.0  # radians
    vertices: tuple[Point, ...] | None = None  # metres, local frame, clockwise; None for a circle
    radius: float = 0.0  # metres; circles only
    inverse_mass: float = 0.0  # 1/kg
    inverse_inertia: float = 0.0  # 1/(kg m²)
    friction: float = 1.0
    restitution: float = 0.0
    collision_mode: int = 1  # 0 passes through 0 and 1, 1 is normal, 2 collides with everything
    role: int = NO_ROLE
    density: float = 1.0
    velocity: Point = (0.0, 0.0)  # m/s, at the start
    spin: float = 0.0  # rad/s, at the start

    @property
    def moves(self) -> bool:
        """True if forces act on the body."""
        return self.inverse_mass != 0.0

    @property
    def is_circle(self) -> bool:
        """True for a circle, False for a polygon."""
        return self.vertices is None


@dataclass(frozen=True)
class Joint:
    """A pin (or, if ``fixed``, a weld) between two bodies, perhaps with a motor."""

    a: int  # slot of the first body
    b: int  # slot of the second body
    a_anchor: Point  # metres, in the frame of a
    b_anchor: Point
    fixed: bool = False
    rotation: float = 0.0  # radians, rest angle of b relative to a
    motor_on: bool = False
    motor_speed: float = 1.0
    motor_power: float = 1.0
    limits: tuple[float, float] | None = None  # radians around the rest angle
    binding: int = 0  # which motor action (0-3) drives it


@dataclass(frozen=True)
class Thruster:
    """A force of fixed direction in its body's frame, scaled by an action in [0, 1]."""

    body: int  # slot
    anchor: Point  # metres, in the body's frame
    rotation: float  # radians, in the body's frame
    power: float = 1.0
    binding: int = 0  # which thruster action (0-1) drives it


@dataclass(frozen=True)
class Scene:
    """A whole task: everything the engine needs, nothing it computes."""

    name: str
    bodies: tuple[Body, ...]  # sorted by slot, empty slots left out
    joints: tuple[Joint, ...] = ()
    thrusters: tuple[Thruster, ...] = ()
    gravity: float = -9.81  # m/s²

    @property
    def moving(self) -> tuple[Body, ...]:
        """The bodies that move, in slot order."""
        return tuple(body for body in self.bodies if body.moves)

    @property
    def goal_pairs(self) -> tuple[tuple[int, int], ...]:
        """Slots of the green-blue pairs: solved when one touches, and the distance is between their centres."""
        return tuple(
            (a.slot, b.slot)
            for a in self.bodies
            for b in self.bodies
            if a.slot < b.slot and a.role * b.role == GREEN * BLUE
        )

    @property
    def wired_motors(self) -> tuple[int, ...]:
        """Motor bindings that drive something, ascending."""
        return tuple(sorted({joint.binding for joint in self.joints if joint.motor_on and not joint.fixed}))

    @property
    def wired_thrusters(self) -> tuple[int, ...]:
        """Thruster bindings that drive something, ascending."""
        return tuple(sorted({thruster.binding for thruster in self.thrusters}))


def quad(slot: int, x: float, y: float, half_width: float, half_height: float, *, moves: bool = True, **rest) -> Body:
    """A rectangle; mass and inertia follow from its density (Kinetix's sums over triangles), unless it is static."""
    w, h = half_width, half_height
    density = rest.get("density", 1.0)
    mass, inertia = 4 * w * h * density, 4 * w * h * density * (w * w + h * h) / 3
    inverse = {"inverse_mass": 1 / mass, "inverse_inertia": 1 / inertia} if moves else {}
    return Body(slot, (x, y), vertices=((w, h), (w, -h), (-w, -h), (-w, h)), **{**inverse, **rest})


def circle(number: int, x: float, y: float, radius: float, *, moves: bool = True, **rest) -> Body:
    """A disc in circle slot ``number`` (0-3); mass and inertia as Kinetix computes them, unless it is static."""
    density = rest.get("density", 1.0)
    mass, inertia = math.pi * radius**2 * density, math.pi * radius**4 / 4 * density
    inverse = {"inverse_mass": 1 / mass, "inverse_inertia": 1 / inertia} if moves else {}
    return Body(POLYGON_SLOTS + number, (x, y), radius=radius, **{**inverse, **rest})


def walls(*, floor_role: int, collision_mode: int = 2) -> tuple[Body, ...]:
    """Floor (its top at y = 0.4), left wall, right wall and ceiling around the 5 m x 5 m world."""
    slab = ((2.5, 5.2), (2.5, -5.2), (-2.5, -5.2), (-2.5, 5.2))
    side = ((5.0, 5.0), (10.0, 5.0), (10.0, 0.0), (5.0, 0.0))
    left = tuple((x - 10.0, y) for x, y in side)
    shapes = (((2.5, -4.8), slab), ((0.0, 0.0), left), ((0.0, 0.0), side), ((2.5, 10.2), slab))
    roles = (floor_role, NO_ROLE, NO_ROLE, NO_ROLE)
    return tuple(
        Body(slot, position, vertices=vertices, collision_mode=collision_mode, role=roles[slot])
        for slot, (position, vertices) in enumerate(shapes)
    )
