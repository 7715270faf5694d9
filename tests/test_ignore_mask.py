"""The file of a mask: what is read, kept and refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ssae_tf.config import from_dict
from ssae_tf.data.images import write_png
from ssae_tf.errors import DataError
from ssae_tf.ignore_mask import check_ignored, own_ignore_mask, read_ignore_mask
from ssae_tf.scoring.ignored import Ignored


@pytest.fixture
def mask() -> np.ndarray:
    """Ignores a quarter of 20 × 30 pixels."""
    found = np.zeros((20, 30), np.bool_)
    found[:10, :15] = True
    return found


def test_white_is_ignored(mask: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for image in (mask, mask.astype(np.uint8), np.repeat(mask[..., None] * np.uint8(255), 3, -1)):
        write_png(path, image)
        np.testing.assert_array_equal(read_ignore_mask(path), mask)


def test_white_everywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    write_png(path, np.full((8, 8), 255, np.uint8))
    with pytest.raises(DataError, match=re.escape(f"{path}: ignores all of every image")):
        read_ignore_mask(path)


def test_an_unreadable_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"white")
    for one in (path, tmp_path / "none.png"):
        with pytest.raises(DataError, match=re.escape(str(one))):
            read_ignore_mask(one)


def test_a_huge_one_is_kept_smaller(tmp_path: Path) -> None:
    large = np.zeros((6, 8192), np.uint8)
    large[:, :2048] = 255
    write_png(tmp_path / "mask.png", large)
    found = read_ignore_mask(tmp_path / "mask.png")
    assert found.shape == (6, 4096)
    np.testing.assert_array_equal(found.all(axis=0), np.arange(4096) < 1024)


def test_a_run_keeps_its_own(mask: np.ndarray, tmp_path: Path) -> None:
    path, run = tmp_path / "mask.png", tmp_path / "run"
    write_png(path, mask)
    scoring = from_dict({"scoring": {"ignore": str(path)}}).scoring
    first = own_ignore_mask(run, scoring)
    np.testing.assert_array_equal(first, mask)
    # Whatever becomes of the one it was asked for with.
    write_png(path, ~mask)
    np.testing.assert_array_equal(own_ignore_mask(run, scoring), mask)
    path.unlink()
    np.testing.assert_array_equal(own_ignore_mask(run, scoring), mask)
    assert own_ignore_mask(run, from_dict({}).scoring) is None


@pytest.mark.parametrize(
    ("sizes", "border", "sentence"),
    [
        ([(40, 60)], 0, "25.0 % of each image is ignored."),
        # 1 − 38·58 / (40·60), and of the rest a quarter lies at its corner: 19 · 29.
        ([(40, 60)], 1, "31.1 % of each image is ignored."),
        ([(40, 60), (200, 300)], 1, "26.2 to 31.1 % of each image is ignored."),
        # By rounding.
        ([(41, 60)], 0, "24.4 % of each image is ignored."),
    ],
)
def test_the_share_is_said(
    sizes: list[tuple[int, int]], border: int, sentence: str, mask: np.ndarray
) -> None:
    images = {size: Path("a.png") for size in sizes}
    assert check_ignored(Ignored(mask, border), images, from_dict({})) == sentence


@pytest.mark.parametrize("size", [(40, 40), (60, 40), (44, 60)])
def test_another_aspect_is_refused(size: tuple[int, int], mask: np.ndarray) -> None:
    config = from_dict({"scoring": {"ignore": "mask.png"}})
    expected = rf"mask\.png: has 30×20 pixels and a\.png {size[1]}×{size[0]}: expected a mask"
    with pytest.raises(DataError, match=expected):
        check_ignored(Ignored(mask), {(40, 60): Path("b.png"), size: Path("a.png")}, config)


@pytest.mark.parametrize(("min_area", "left"), [(None, 0), (5, 4)])
def test_less_than_a_defect_left_is_refused(min_area: int | None, left: int) -> None:
    border = 20 if left == 0 else 19
    images = {(40, 40): Path("a.png")}
    with pytest.raises(DataError, match=rf"a\.png: of its 40×40 pixels {left} are left"):
        check_ignored(Ignored(border=border), images, from_dict({"min_area": min_area}))
    assert check_ignored(Ignored(border=19), images, from_dict({"min_area": 4})).startswith(
        "99.8 %"
    )
