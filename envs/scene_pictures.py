"""Pictures of a task: stills, film strips and animations, drawn from the scene and the moving bodies."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from rtc_bench.envs import scene as scenes

# Okabe-Ito colours; green, blue and red shapes carry a letter too, so that no eye depends on the hue.
COLOURS = {scenes.GREEN: "#009E73", scenes.BLUE: "#0072B2", scenes.RED: "#D55E00"}
LETTERS = {scenes.GREEN: "G", scenes.BLUE: "B", scenes.RED: "R"}
STATIC, MOVING, SKY = "#8C8C8C", "#E3C770", "#F7F7F4"
WORLD = 5.0  # m
MARGIN = 0.12  # m, half a letter

Frame = tuple[np.ndarray, ...]  # x, y, angle of the moving bodies, each [M]


def _poses(scene: scenes.Scene, frame: Frame) -> dict[int, tuple[float, float, float]]:
    moving = {body.slot: tuple(float(column[i]) for column in frame[:3]) for i, body in enumerate(scene.moving)}
    return {body.slot: moving.get(body.slot, (*body.position, body.rotation)) for body in scene.bodies}


def _to_world(point: scenes.Point, pose: tuple[float, float, float]) -> tuple[float, float]:
    x, y, angle = pose
    cos, sin = np.cos(angle), np.sin(angle)
    return x + cos * point[0] - sin * point[1], y + sin * point[0] + cos * point[1]


def draw(axis, scene: scenes.Scene, frame: Frame) -> None:
    """Draw one still into a matplotlib axis."""
    from matplotlib import patches, patheffects

    poses = _poses(scene, frame)
    axis.set_facecolor(SKY)
    for body in scene.bodies:
        pose = poses[body.slot]
        colour = COLOURS.get(body.role, MOVING if body.moves else STATIC)
        look = {"facecolor": colour, "edgecolor": "#222222", "linewidth": 0.7, "alpha": 0.95}
        if body.is_circle:
            axis.add_patch(patches.Circle(pose[:2], body.radius, **look))
            axis.plot(*zip(pose[:2], _to_world((body.radius, 0.0), pose), strict=True), color="#222222", linewidth=0.7)
        elif body.vertices:
            axis.add_patch(patches.Polygon([_to_world(corner, pose) for corner in body.vertices], **look))
        if body.role and body.slot >= scenes.WALL_SLOTS:
            x, y = np.clip(pose[:2], MARGIN, WORLD - MARGIN)  # of a shape at the edge the letter is whole, beside it
            edge = [patheffects.withStroke(linewidth=1.5, foreground=colour)]
            looks = {"ha": "center", "va": "center", "fontsize": 6, "weight": "bold", "path_effects": edge}
            axis.text(x, y, LETTERS[body.role], color="white", **looks)
    for thruster in scene.thrusters:
        pose = poses[thruster.body]
        x, y = _to_world(thruster.anchor, pose)
        towards = thruster.rotation + pose[2]
        tail = (x - 0.25 * np.cos(towards), y - 0.25 * np.sin(towards))
        axis.annotate("", (x, y), tail, arrowprops={"arrowstyle": "-|>", "color": "#CC79A7", "linewidth": 1.4})
    for joint in scene.joints:
        x, y = _to_world(joint.a_anchor, poses[joint.a])
        driven = joint.motor_on and not joint.fixed
        axis.plot(x, y, "s" if joint.fixed else "o", color="#CC79A7" if driven else "#222222", markersize=3)
    axis.set(xlim=(0, WORLD), ylim=(0, WORLD), aspect="equal", xticks=[], yticks=[])


def _figure(columns: int, lines: int):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot, *pyplot.subplots(lines, columns, figsize=(2.4 * columns, 2.55 * lines), squeeze=False)


def strip(
    scene: scenes.Scene, films: Mapping[str, Sequence[Frame]], frame_time: float, path: pathlib.Path, *, count: int = 6
) -> None:
    """Save film strips (PNG, PDF, ...): a line for each film, ``count`` stills of the longest, titled in seconds.

    A film that has ended shows its end again.
    """
    frame_numbers = np.unique(np.linspace(0, _longest(films) - 1, count).round().astype(int))
    pyplot, figure, axes = _figure(len(frame_numbers), len(films))
    for line, (title, frames) in zip(axes, films.items(), strict=True):
        for axis, number in zip(line, frame_numbers, strict=True):
            index = min(int(number), len(frames) - 1)
            draw(axis, scene, frames[index])
            axis.set_title(f"{index * frame_time:.2f} s", fontsize=8)
        line[0].set_ylabel(title, fontsize=9)
    figure.tight_layout(pad=0.4, h_pad=1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.05)
    pyplot.close(figure)


def animate(
    scene: scenes.Scene, films: Mapping[str, Sequence[Frame]], frame_time: float, path: pathlib.Path, *, every: int = 1
) -> None:
    """Save an animated GIF, the films beside each other and in step; ``every`` leaves frames out.

    There are up to two films a line, or five where there are many.
    """
    from PIL import Image

    columns = min(2 if len(films) <= 8 else 5, len(films))
    pyplot, figure, axes = _figure(columns, -(-len(films) // columns))
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.94, wspace=0.03, hspace=0.1)
    for axis in axes.flat[len(films) :]:
        axis.set_visible(False)
    images: list[Image.Image] = []
    last, previous = _longest(films) - 1, -1
    for number in [*range(0, last, every), last]:
        for axis, (title, frames) in zip(axes.flat, films.items(), strict=False):
            if previous >= len(frames) - 1:
                continue  # its end is shown already
            axis.clear()
            draw(axis, scene, frames[min(number, len(frames) - 1)])
            axis.set_title(title, fontsize=9)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        image = Image.fromarray(pixels)
        images.append(image.quantize(palette=images[0], dither=Image.Dither.NONE) if images else image.quantize(64))
        previous = number
    pyplot.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    pause = max(20, round(every * frame_time * 1000))  # browsers do not show GIFs faster than this
    images[0].save(path, save_all=True, append_images=images[1:], duration=pause, loop=0)


def _longest(films: Mapping[str, Sequence[Frame]]) -> int:
    return max(len(frames) for frames in films.values())
