"""Runs side by side: which figures and settings are shown, and what bears on comparing them."""

from __future__ import annotations

from html_page import Page
from ssae_tf.evaluation.comparison import FIGURES, Run, compare, write_comparison


def run(name, *, seed=0, tested=True, threshold=0.5, data_hash="e6"):
    figures = {key: 0.5 + index / 16 for index, key in enumerate(FIGURES)}
    metrics = {**figures, "aupro": None, "threshold": 0.5, "min_area": 12, "n_test": 8}
    return Run(
        name,
        {"category": "tile", "training": {"seed": seed, "stages": [{"size": 16}]}},
        metrics if tested else None,
        {"threshold": threshold, "n_calibration": 3},
        data_hash,
    )


def test_only_settings_that_differ_are_shown():
    found = compare([run("a"), run("b", seed=7)])
    assert found.names == ["a", "b"]
    assert found.settings == {"training.seed": ["0", "7"]}
    assert found.notes == []


def test_a_setting_that_came_later_has_its_default_in_runs_of_before():
    before, after = run("a"), run("b")
    after.settings["data"] = {"white_level": 65535, "rotate": False}
    assert compare([before, after]).settings == {"data.rotate": ["true", "false"]}


def test_figures_are_those_of_the_records():
    found = compare([run("a"), run("b", tested=False)])
    assert found.figures["image_auroc"] == ["0.500", "–"]
    assert found.figures["pixel_auroc"] == ["0.562", "–"]
    assert found.figures["aupro"] == ["–", "–"]
    assert found.figures["n_test"] == ["8", "–"]
    assert found.figures["n_calibration"] == ["3", "3"]
    assert found.notes == ["b was not tested."]


def test_what_each_promises_is_shown():
    before, after = run("a"), run("b")
    before.calibration["false_alarms"] = None
    after.calibration["false_alarms"] = {"expected": 0.25, "bound": 0.63160}
    found = compare([before, after, run("c")])
    assert found.figures["false_alarms_expected"] == ["–", "0.250", "–"]
    assert found.figures["false_alarms_bound"] == ["–", "0.632", "–"]


def test_what_bears_on_the_comparison_is_said():
    assert compare([run("a"), run("b", data_hash="e7")]).notes == [
        "The runs were not made with the same images: their figures may not compare."
    ]
    assert compare([run("a"), run("b", threshold=0.6)]).notes == [
        "b was calibrated anew after it was tested."
    ]


def test_the_page_takes_no_name_for_markup(tmp_path):
    write_comparison(tmp_path / "both.html", compare([run("<script>\x1b"), run("b", seed=1)]))
    page = Page((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert len(page.tables) == 2
    assert "<script>\\x1b" in page.text
    assert "training.seed" in page.text
