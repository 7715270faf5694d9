"""Tables: every figure in its place, missing ones marked, names shown as they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ssae_tf.evaluation.projection import projection_figures
from ssae_tf.evaluation.tables import metrics_table, projection_line


def figures(first, n_test, n_defective, n_without_mask=0):
    keys = ("image_auroc", "pixel_auroc", "aupro", "tpr", "tnr", "f1_image", "f1_pixel")
    values = {key: (first + i) / 1000 for i, key in enumerate(keys)}
    counts = {"n_test": n_test, "n_defective": n_defective, "n_without_mask": n_without_mask}
    return {**values, "balanced_accuracy": 0.5, **counts}


@pytest.fixture
def metrics():
    kinds = {"dent": figures(100, 8, 3), "[bold]odd|name": figures(200, 9, 4, 1)}
    top = {"schema_version": 1, "threshold": 0.031234, "min_area": 52, "kinds": kinds}
    return {**top, **figures(300, 12, 7, 1)}


def shown(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_every_figure_stands_in_its_row(metrics):
    lines = {
        line.split()[0]: line.split()
        for line in shown(metrics_table(metrics)).splitlines()
        if line.split()
    }
    assert lines["dent"][1:] == [f"0.{100 + i}" for i in range(7)] + ["3", "+", "5"]
    assert lines["total"][1:] == [f"0.{300 + i}" for i in range(7)] + ["7", "+", "5"]


def test_columns(metrics):
    headers = [str(column.header).replace("\n", " ") for column in metrics_table(metrics).columns]
    assert headers == [
        "defect kind",
        "image AUROC",
        "pixel AUROC",
        "AUPRO",
        "TPR",
        "TNR",
        "F1 image",
        "F1 pixel",
        "n",
    ]


def test_caption_names_threshold_area_and_missing_masks(metrics):
    text = " ".join(shown(metrics_table(metrics)).split())
    assert "threshold 0.03123" in text
    assert "minimum area 52 px" in text
    assert "1 without a mask, left out of pixel figures" in text
    metrics["n_without_mask"] = 0
    assert "without a mask" not in shown(metrics_table(metrics))


def test_folder_names_are_no_markup(metrics):
    assert "[bold]odd|name" in shown(metrics_table(metrics), width=120)


def test_a_long_name_is_folded_and_not_cut(metrics):
    metrics["kinds"] = {"x" * 40: metrics["kinds"]["dent"]}
    text = shown(metrics_table(metrics))
    assert text.count("x") - text.count("px") - text.count("pix") == 40
    assert "…" not in text


def test_undefined_figures_are_dashes(metrics):
    metrics["tpr"] = metrics["kinds"]["dent"]["aupro"] = None
    assert shown(metrics_table(metrics)).count("–") == 2


def test_without_defect_kinds_there_is_the_total(metrics):
    metrics["kinds"] = {}
    assert "total" in shown(metrics_table(metrics))


def test_what_is_repaired_in_one_line():
    bands = [(0, 4, 0.01), (4, 16, 0.002), (16, 64, None), (64, None, 0.0005)]
    errors = {"residual": 0.03, "idempotence": 0.004}
    errors |= {"corrupted_region_error_before": 0.2, "corrupted_region_error_after": 0.05}
    conservation = [{"from": low, "to": high, "mean": mean} for low, high, mean in bands]
    assert projection_line({"n_images": 3, **errors, "conservation": conservation}) == (
        "Repairs synthetic anomalies: error 0.2000 → 0.0500 inside, moves 0.0100 at 0–4 px, 0.0020 "
        "at 4–16 px, 0.0005 farther away; normal images: error 0.0300, the second time 0.0040."
    )


def test_without_normal_images_nothing_is_known_to_be_repaired():
    line = projection_line(projection_figures([]))
    assert line == "Repairs: not measured, there are no normal test images."
