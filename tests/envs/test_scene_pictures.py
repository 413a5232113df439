"""Pictures are written, and show something."""

import numpy as np
import pytest

from rtc_bench.envs import scene_pictures, tasks


def test_letters_of_shapes_at_the_edge_lie_within_the_picture():
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(2.4, 2.4))
    scene = tasks.scene("cartpole_thrust")  # its red shapes stand at both sides
    scene_pictures.draw(axis, scene, tuple(np.array([[*body.position, body.rotation] for body in scene.moving]).T))
    figure.canvas.draw()
    panel, letters = axis.get_window_extent(), [text.get_window_extent() for text in axis.texts if text.get_text()]
    assert len(letters) >= 4
    for letter in letters:
        assert panel.x0 <= letter.x0 < letter.x1 <= panel.x1
        assert panel.y0 <= letter.y0 < letter.y1 <= panel.y1
    pyplot.close(figure)


@pytest.mark.parametrize("name", ["car_launch", "catcher_v3"])
def test_strip_and_animation(name, tmp_path):
    from PIL import Image

    scene = tasks.scene(name)
    pose = np.array([[*body.position, body.rotation] for body in scene.moving])
    frames = [tuple((pose + shift).T) for shift in (0.0, 0.5)]
    films = {"long": frames, "short": frames[:1]}
    scene_pictures.strip(scene, films, 1 / 30, tmp_path / "new" / "strip.png")
    scene_pictures.animate(scene, films, 1 / 30, tmp_path / "film.gif")
    with Image.open(tmp_path / "new" / "strip.png") as strip:
        pixels = np.asarray(strip.convert("RGB"))
    green, blue = (
        (np.abs(pixels.astype(int) - colour).max(-1) < 25).sum() for colour in ((0, 158, 115), (0, 114, 178))
    )
    assert green > 50
    assert blue > 50
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 2
