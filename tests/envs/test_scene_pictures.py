"""Pictures are written, and show something."""

import numpy as np
import pytest

from rtc_bench.envs import scene_pictures, tasks


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
