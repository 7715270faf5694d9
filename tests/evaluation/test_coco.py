"""Defects as polygons: filled again, they are the mask; the file is what COCO's readers take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ssae_tf.evaluation.coco import CocoFile, polygons
from ssae_tf.result import Result, post_process


def filled(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels whose centre is inside, by the even-odd rule: edges right of it are counted."""
    inside = np.zeros((height, width), bool)
    columns = np.arange(width) + 0.5
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        for row in range(min(y0, y1), max(y0, y1)):
            crossing = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            inside[row] ^= columns < crossing
    return inside


def area(outline: np.ndarray) -> float:
    """By the shoelace formula."""
    x, y = outline.T.astype(float)
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def ring() -> np.ndarray:
    mask = np.zeros((9, 12), bool)
    mask[1:8, 2:11] = True
    mask[3:6, 4:6] = mask[3:5, 8] = False
    mask[4, 4] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((4, 5), bool),
        np.ones((4, 5), bool),
        np.eye(6, dtype=bool),
        np.eye(6, dtype=bool)[::-1],
        ring(),
        *(np.random.default_rng(i).random((23, 31)) < 0.1 * (i + 1) for i in range(9)),
    ],
)
def test_polygons_give_the_mask_again(mask: np.ndarray) -> None:
    outlines = polygons(np.ascontiguousarray(mask))
    again = np.zeros(mask.shape, int)
    for outline in outlines:
        region = filled(outline, *mask.shape)
        assert area(outline) == region.sum()
        again += region
    np.testing.assert_array_equal(again, mask.astype(int))


def test_a_square_is_its_four_corners() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:4, 3:6] = True
    (outline,) = polygons(mask)
    assert {tuple(corner) for corner in outline.tolist()} == {(3, 2), (6, 2), (6, 4), (3, 4)}
    assert len(outline) == 4


def result(path: str, anomaly_map: np.ndarray) -> Result:
    image = np.zeros((*anomaly_map.shape, 3), np.float32)
    return post_process(path, image, None, anomaly_map.astype(np.float32), 0.5, 3)


@pytest.fixture
def written(tmp_path: Path) -> dict[str, object]:
    folder = tmp_path / "images"
    folder.mkdir()
    file = CocoFile(tmp_path / "found.json", folder)
    file.add(result(str(folder / "good.png"), np.zeros((5, 7))))
    file.fail({"path": "broken.png", "error": "broken.png: broken."})
    file.add(result(str(folder / "deep" / "bad.png"), 0.75 * ring() + 0.1))
    two = np.zeros((6, 20))
    two[1:3, 1:4], two[2:5, 10:15] = 0.6, 0.9
    file.add(result(str(folder / "two.png"), two))
    file.write()
    return json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))


def test_the_file_has_cocos_structure(written: dict[str, object]) -> None:
    assert set(written) == {"info", "licenses", "images", "annotations", "categories"}
    assert written["categories"] == [{"id": 1, "name": "defect", "supercategory": ""}]
    assert written["images"] == [
        {"id": 1, "file_name": "good.png", "width": 7, "height": 5},
        {"id": 2, "file_name": "deep/bad.png", "width": 12, "height": 9},
        {"id": 3, "file_name": "two.png", "width": 20, "height": 6},
    ]
    found = written["annotations"]
    assert [one["id"] for one in found] == [1, 2, 3]
    assert [one["image_id"] for one in found] == [2, 3, 3]
    for one in found:
        assert (one["category_id"], one["iscrowd"]) == (1, 0)
        (flat,) = one["segmentation"]
        assert len(flat) % 2 == 0
        assert len(flat) >= 6
        x, y, width, height = one["bbox"]
        assert (min(flat[::2]), max(flat[::2])) == (x, x + width)
        assert (min(flat[1::2]), max(flat[1::2])) == (y, y + height)


def test_defects_keep_box_area_and_peak(written: dict[str, object]) -> None:
    whole, strong, weak = written["annotations"]
    assert (whole["bbox"], whole["area"]) == ([2, 1, 9, 7], int(ring().sum()))
    outline = np.array(whole["segmentation"][0]).reshape(-1, 2)
    np.testing.assert_array_equal(filled(outline, 9, 12), ring())
    assert (strong["bbox"], strong["area"]) == ([10, 2, 5, 3], 15)
    assert strong["score"] == pytest.approx(0.9)
    assert (weak["bbox"], weak["area"]) == ([1, 1, 3, 2], 6)


def test_without_a_folder_images_are_named_as_given(tmp_path: Path) -> None:
    file = CocoFile(tmp_path / "found.json", tmp_path / "no.png")
    file.add(result("here/a.png", np.zeros((5, 7))))
    file.write()
    (image,) = json.loads((tmp_path / "found.json").read_text())["images"]
    assert image["file_name"] == "here/a.png"
