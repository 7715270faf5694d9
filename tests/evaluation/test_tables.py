"""Tables: every figure in its place, missing ones marked, names shown as they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ssae_tf.evaluation.tables import metrics_markdown, metrics_table


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
    for text in (" ".join(shown(metrics_table(metrics)).split()), metrics_markdown(metrics)):
        assert "threshold 0.03123" in text
        assert "minimum area 52 px" in text
        assert "1 without a mask, left out of pixel figures" in text
    metrics["n_without_mask"] = 0
    assert "without a mask" not in metrics_markdown(metrics)


def test_folder_names_are_no_markup(metrics):
    assert "[bold]odd|name" in shown(metrics_table(metrics), width=120)
    assert r"| [bold]odd\|name |" in metrics_markdown(metrics)


def test_a_long_name_is_folded_and_not_cut(metrics):
    metrics["kinds"] = {"x" * 40: metrics["kinds"]["dent"]}
    text = shown(metrics_table(metrics))
    assert text.count("x") - text.count("px") - text.count("pix") == 40
    assert "…" not in text


def test_undefined_figures_are_dashes(metrics):
    metrics["tpr"] = metrics["kinds"]["dent"]["aupro"] = None
    markdown = metrics_markdown(metrics).splitlines()
    assert markdown[2].split(" | ")[3] == "–"
    assert markdown[4].split(" | ")[4] == "–"
    assert shown(metrics_table(metrics)).count("–") == 2


def test_without_defect_kinds_there_is_the_total(metrics):
    metrics["kinds"] = {}
    assert "total" in shown(metrics_table(metrics))
    assert len(metrics_markdown(metrics).splitlines()) == 5


def test_markdown_is_a_regular_table(metrics):
    lines = metrics_markdown({**metrics, "kinds": {"dent": metrics["kinds"]["dent"]}}).splitlines()
    assert [line.count("|") for line in lines[:4]] == [10] * 4
    assert lines[1] == "| --- |" + " ---: |" * 8
    assert lines[4] == ""
