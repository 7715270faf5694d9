"""Sheets, overlays, heat maps and grids: what is drawn, and what is left on disk."""

from __future__ import annotations

import cv2
import matplotlib
import numpy as np
import pytest

from ssae_tf.errors import WriteError
from ssae_tf.evaluation import sheets
from ssae_tf.evaluation.protocol import ImageResult
from ssae_tf.evaluation.sheets import (
    OUTLINE,
    SheetRow,
    heatmap,
    overlay,
    pick_rows,
    render_grid,
    write_grid,
    write_sheet,
)


def result(score=0.5, kind="dent", shape=(40, 60), mask=True, path="a.png"):
    truth = np.zeros(shape, bool)
    truth[shape[0] // 2, shape[1] // 2] = kind != "good"
    anomaly_map = np.linspace(0, score, truth.size, dtype=np.float32).reshape(shape)
    return ImageResult(
        path, kind, score, score > 0.4, anomaly_map, anomaly_map > 0.4, truth if mask else None
    )


def row(**options):
    shown = result(**options)
    image = np.full((*shown.anomaly_map.shape, 3), 0.5, np.float32)
    return SheetRow("best", shown, image, image)


def read(path):
    image = cv2.imread(str(path))
    assert image is not None
    return image[..., ::-1]


def contains(image, colour):
    return bool((image == colour).all(-1).any())


@pytest.mark.parametrize(
    ("count", "labels", "picked"),
    [
        (0, [], []),
        (1, ["only"], [0]),
        (2, ["best", "worst"], [1, 0]),
        (3, ["best", "median", "worst"], [2, 1, 0]),
        (7, ["best", "median", "worst"], [6, 3, 0]),
    ],
)
def test_pick_rows_of_a_defect_kind(count, labels, picked):
    results = [result(score=0.1 * (i + 1)) for i in range(count)]
    rows = pick_rows(results)
    assert [label for label, _ in rows] == labels
    assert [r for _, r in rows] == [results[i] for i in picked]


def test_the_best_good_image_has_the_lowest_score():
    results = [result(score=s, kind="good") for s in (0.3, 0.1, 0.2)]
    assert [r.score for _, r in pick_rows(results)] == [0.1, 0.2, 0.3]


def test_pick_rows_does_not_repeat_images_of_equal_score():
    assert len({id(r) for _, r in pick_rows([result(score=0.2) for _ in range(3)])}) == 3


def test_heatmap_scales_and_clips():
    colours = heatmap(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]]), 0, 1)
    assert (colours.shape, colours.dtype) == ((1, 5, 3), np.uint8)
    assert np.array_equal(colours[0, 0], colours[0, 1])
    assert np.array_equal(colours[0, 3], colours[0, 4])
    brightness = colours[0, 1:4].astype(int).sum(-1)
    assert brightness[0] < brightness[1] < brightness[2]


def test_heatmap_has_the_colours_of_the_sheets_colour_bar():
    values = np.linspace(0, 1, 256)[None]
    expected = matplotlib.colormaps["inferno"](values, bytes=True)[..., :3]
    assert np.abs(heatmap(values, 0, 1).astype(int) - expected).max() <= 1


def test_heatmap_of_a_flat_map():
    assert len(np.unique(heatmap(np.full((3, 3), 0.2), 0.2, 0.2).reshape(-1, 3), axis=0)) == 1


def test_overlay_surrounds_a_single_pixel_and_leaves_the_rest():
    image = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    before = image.copy()
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    drawn = overlay(image, mask)
    ring = np.zeros((9, 9), bool)
    ring[3:6, 3:6] = True
    ring[4, 4] = False
    assert (drawn[ring] == OUTLINE).all()
    assert np.array_equal(drawn[~ring], image[~ring])
    assert np.array_equal(image, before)


def test_overlay_of_an_empty_and_of_a_full_mask():
    image = np.zeros((6, 8, 3), np.uint8)
    assert np.array_equal(overlay(image, np.zeros((6, 8), bool)), image)
    drawn = overlay(image, np.ones((6, 8), bool))
    assert (drawn[0] == OUTLINE).all()
    assert (drawn[:, -1] == OUTLINE).all()
    assert not drawn[1:-1, 1:-1].any()


def test_overlay_line_grows_with_the_image():
    mask = np.zeros((1000, 1000), bool)
    mask[500, 500] = True
    drawn = (overlay(np.zeros((1000, 1000)), mask) == OUTLINE).all(-1)
    assert drawn.sum() == 11 * 11 - 1


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 4), 0.5),
        np.full((4, 4, 1), 0.5, np.float32),
        np.full((4, 4, 3), 0.5, np.float16),
        np.full((4, 4, 3), 128, np.uint8),
    ],
)
def test_overlay_takes_grey_colour_float_and_bytes(image):
    drawn = overlay(image, np.zeros((4, 4), bool))
    assert (drawn.shape, drawn.dtype) == ((4, 4, 3), np.uint8)
    assert (drawn == 128).all()


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (300, 100), (40, 400), (700, 600)])
def test_sheet_of_any_size(tmp_path, shape):
    write_sheet(tmp_path / "s.png", [row(shape=shape), row()], "dent", threshold=0.4)
    image = read(tmp_path / "s.png")
    assert contains(image, OUTLINE)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (border == 255).all()


def test_sheet_without_anomaly_without_mask_and_with_a_flat_map(tmp_path):
    rows = [row(kind="good", score=0.0), row(kind="good", score=0.0, mask=False)]
    write_sheet(tmp_path / "s.png", rows, "good", threshold=0.0)
    assert not contains(read(tmp_path / "s.png"), OUTLINE)
    write_sheet(tmp_path / "t.png", [row(mask=False)], "dent", threshold=0.4)
    assert contains(read(tmp_path / "t.png"), (240, 240, 240))


def test_sheet_shows_a_ground_truth_of_one_pixel(tmp_path):
    """The image is four times as large as its cell: averaging would leave a grey of 1/16."""
    black = np.zeros((1000, 1000, 3), np.uint8)
    shown = row(shape=(1000, 1000), score=0.1)
    rows = [SheetRow("best", shown.result, black, black)]
    write_sheet(tmp_path / "s.png", rows, "dent", threshold=0.4)
    cell = read(tmp_path / "s.png")[200:-40, -360:-160]
    assert 1 <= (cell == 255).all(-1).sum() <= 4


def test_maps_of_a_sheet_share_one_scale(tmp_path):
    """The same map is darker beside a brighter one."""
    weak, strong = row(score=0.2), row(score=2.0)
    write_sheet(tmp_path / "alone.png", [weak], "dent", threshold=0.1)
    write_sheet(tmp_path / "both.png", [weak, strong], "dent", threshold=0.1)
    alone, both = read(tmp_path / "alone.png"), read(tmp_path / "both.png")
    cell = slice(90, 240), slice(780, 1000)
    assert both[cell].mean() < alone[cell].mean() / 2


def test_sheet_prints_odd_names_as_they_are(tmp_path):
    name = "a$b_{$" + "x" * 60 + ".png"
    write_sheet(tmp_path / "s.png", [row(path=name)], "$100 \\frac", threshold=0.4)


def test_sheet_leaves_no_other_file_and_makes_its_folder(tmp_path):
    write_sheet(tmp_path / "new" / "s.png", [row()], "dent", threshold=0.4)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["s.png"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s.png"
    path.write_bytes(b"old")

    def fail(_self, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sheets.Path, "replace", fail)
    with pytest.raises(WriteError, match=r"s\.png: can't be written \(No space left on device\)"):
        write_grid(path, {"X": [np.zeros((4, 4, 3))]})
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_grid_draws_images_masks_and_maps():
    shape = (30, 30)
    mask = np.zeros(shape, bool)
    mask[10:20, 10:20] = True
    ramp = np.linspace(3, 5, 900, dtype=np.float32).reshape(shape)
    image = render_grid(
        {
            r"$\hat{X}$": [np.full((*shape, 3), (1.0, 0.0, 0.0))],
            "grey": [np.full((*shape, 1), 0.25, np.float32)],
            "M": [mask],
            "map": [ramp],
        },
        "elastic",
    )
    assert image.dtype == np.uint8
    assert image.ndim == 3
    for colour in [(255, 0, 0), (64, 64, 64), (0, 0, 0), *heatmap(np.array([[3, 5]]), 3, 5)[0]]:
        assert contains(image, colour)


def test_grid_maps_share_the_columns_range():
    low, high = np.full((8, 8), 1.0), np.full((8, 8), 2.0)
    image = render_grid({"map": [low, high]})
    for colour in heatmap(np.array([[1, 2]]), 1, 2)[0]:
        assert contains(image, colour)


def test_grid_width_and_height_follow_columns_and_rows():
    cell = np.zeros((8, 8, 3))
    one = render_grid({"a": [cell]})
    assert render_grid({"a": [cell], "b": [cell]}).shape[1] > 1.8 * one.shape[1]
    assert render_grid({"a": [cell, cell]}).shape[0] > 1.5 * one.shape[0]


def test_a_long_title_is_wrapped():
    cell = np.zeros((8, 8, 3))
    short, long = (render_grid({"a": [cell]}, title) for title in ("title", "title " * 12))
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0]
    assert (long[:, -2:] == 255).all()


def test_written_grid_is_the_rendered_one(tmp_path):
    columns = {"a": [np.random.default_rng(0).random((8, 9, 3))]}
    write_grid(tmp_path / "g.png", columns, "title")
    assert np.array_equal(read(tmp_path / "g.png"), render_grid(columns, "title"))


def test_drawing_leaves_matplotlibs_global_state_alone():
    before = matplotlib.rcParams.copy()
    render_grid({"a": [np.eye(3)]})
    assert matplotlib.rcParams == before
    assert not hasattr(sheets, "plt")


def test_a_matplotlibrc_of_the_user_changes_nothing(tmp_path):
    write_sheet(tmp_path / "own.png", [row()], "dent", threshold=0.4)
    theirs = {"text.usetex": True, "axes.facecolor": "red", "figure.constrained_layout.use": True}
    with matplotlib.rc_context(theirs):
        write_sheet(tmp_path / "same.png", [row()], "dent", threshold=0.4)
        assert matplotlib.rcParams["text.usetex"]
    np.testing.assert_array_equal(read(tmp_path / "own.png"), read(tmp_path / "same.png"))
