"""`Result.plot`: a figure with the image, the outlines and the map, without a display."""

from __future__ import annotations

import subprocess
import sys

import cv2
import matplotlib
import numpy as np
import pytest

from ssae_tf.evaluation.sheets import OUTLINE
from ssae_tf.result import Result, post_process


def result(level: float, threshold: float = 0.5, side: int = 40) -> Result:
    map_ = np.full((side, 2 * side), 0.01, np.float32)
    map_[10:20, 30:50] = level
    image = np.full((side, 2 * side, 3), 0.4, np.float32)
    return post_process("a $b$.png", image, None, map_, threshold, 4)


def test_a_figure_shows_image_outline_and_map() -> None:
    found = result(0.9)
    figure = found.plot()
    image_axes, map_axes, _ = figure.axes
    (image,), (map_,) = image_axes.images, map_axes.images
    np.testing.assert_array_equal(map_.get_array(), found.anomaly_map)
    assert map_.get_clim() == (0.0, 1.0)
    # Axes count the image's pixels, downwards.
    assert image.get_extent() == map_.get_extent() == [0, 80, 40, 0]
    is_outline = (np.asarray(image.get_array()) == OUTLINE).all(axis=-1)
    ring = cv2.dilate(found.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > found.mask
    np.testing.assert_array_equal(is_outline, ring)
    assert figure.get_suptitle() == "a $b$.png: anomalous, score 0.9"
    assert image_axes.get_title() == "1 defect"
    # What a notebook shows.
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("threshold", [0.5, 0.0])
def test_a_result_without_defects(threshold: float) -> None:
    found = result(0.01 if threshold else 0.0, threshold, side=1200)
    figure = found.plot()
    assert figure.axes[0].get_title() == ("0 defects" if threshold else "1 defect")
    # No more pixels than a screen shows.
    assert figure.axes[0].images[0].get_array().shape == (500, 1000, 3)
    assert figure.axes[0].images[0].get_extent() == [0, 2400, 1200, 0]
    figure.canvas.draw()


def test_the_users_backend_is_left_alone() -> None:
    before = matplotlib.rcParams["backend"]
    result(0.9).plot()
    assert matplotlib.rcParams["backend"] == before
    code = (
        "import sys, numpy as np; from ssae_tf.result import post_process\n"
        "map_ = np.zeros((9, 9), np.float32)\n"
        "post_process('', np.zeros((9, 9, 3), np.float32), None, map_, 0.5, 1).plot()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
