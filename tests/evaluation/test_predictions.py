"""The page and the table of inspected images."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssae_tf.errors import RunError
from ssae_tf.evaluation.predictions import MAX_SHOWN, PredictionsPage, PredictionsTable, writers
from ssae_tf.result import Result, post_process


def result(path: str, level: float, side: int = 40, **levels: Any) -> Result:
    """An image of noise, which compresses badly, with a square of a level in its map."""
    image = np.random.default_rng(int(1000 * level)).random((side, side, 3), np.float32)
    map_ = np.full((side, side), 0.01, np.float32)
    map_[2:6, 3:9] = level
    return post_process(path, image, None, map_, 0.5, 4, **levels)


def captions(path: Path) -> list[str]:
    found = re.findall("<figcaption>(.*?)</figcaption>", path.read_text(encoding="utf-8"))
    return [re.sub("<.*?>", "", caption) for caption in found]


def test_the_most_anomalous_come_first(tmp_path: Path) -> None:
    page = PredictionsPage(tmp_path / "page.html", "runs/<tile>")
    for name, level in (("a.png", 0.3), ("<b>.png", 0.9), ("c.png", 0.6)):
        page.add(result(name, level))
    page.fail({"path": "d.png", "error": "d.png: is broken & gone."})
    page.write()
    assert captions(tmp_path / "page.html") == [
        "&lt;b&gt;.png: rejected, score 0.9, 1 defect",
        "c.png: rejected, score 0.6, 1 defect",
        "a.png: passed, score 0.3, 0 defects",
    ]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 images inspected, 2 rejected, 1 not inspected." in text
    assert "<h1>runs/&lt;tile&gt;</h1>" in text
    assert "<li>d.png: is broken &amp; gone.</li>" in text


def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = PredictionsPage(tmp_path / "page.html", "run")
    page.add(result("a.png", 0.9))
    page.write()
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="(.*?)"', text)
    assert len(sources) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "<script" not in text


def test_a_full_page_stays_below_5_mb_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    page = PredictionsPage(tmp_path / "page.html", "run")
    for index in range(MAX_SHOWN + 3):
        page.add(result(f"{'long/' * 20}{index}.png", 0.1 + index / 1000, side=256))
    page.write()
    shown = captions(tmp_path / "page.html")
    assert len(shown) == MAX_SHOWN
    assert f"/{MAX_SHOWN + 2}.png: " in shown[0]
    assert "/3.png: " in shown[-1]
    assert "3 more left out" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


def test_no_image_at_all(tmp_path: Path) -> None:
    page = PredictionsPage(tmp_path / "page.html", "run")
    page.fail({"path": "d.png", "error": "d.png: is broken."})
    page.write()
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "0 images inspected, 0 rejected, 1 not inspected." in text


def test_a_row_per_image(tmp_path: Path) -> None:
    table = PredictionsTable(tmp_path / "table.csv")
    good, bad = result("a, b.png", 0.25), result("bad.png", 0.75)
    table.add(good)
    table.fail({"path": "c.png", "error": 'c.png: "broken".'})
    table.add(bad)
    table.write()
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["a, b.png", "c.png", "bad.png"]
    assert [row["is_anomalous"] for row in rows] == ["false", "", "true"]
    assert [row["error"] for row in rows] == ["", 'c.png: "broken".', ""]
    assert (float(rows[2]["score"]), float(rows[2]["threshold"])) == (bad.score, 0.5)
    assert (rows[2]["defects"], rows[2]["area"]) == ("1", "24")
    assert (rows[0]["defects"], rows[0]["area"]) == ("0", "0")


def test_both_levels_and_p_values_are_kept(tmp_path: Path) -> None:
    page, table = PredictionsPage(tmp_path / "a.html", "run"), PredictionsTable(tmp_path / "b.csv")
    for name, level in (("a.png", 0.75), ("b.png", 0.4), ("c.png", 0.2)):
        one = result(name, level, review_threshold=0.3, good_scores=[0.1, 0.3, 0.5])
        page.add(one)
        table.add(one)
    table.fail({"path": "d.png", "error": "d.png: is broken."})
    page.write()
    table.write()
    with (tmp_path / "b.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["reject", "review", "good", ""]
    assert [row["review_threshold"] for row in rows] == ["0.3"] * 3 + [""]
    assert [row["p_value"] for row in rows] == ["0.25", "0.5", "0.75", ""]
    said = [caption.split(",")[0] for caption in captions(tmp_path / "a.html")]
    assert said == ["a.png: rejected", "b.png: to review", "c.png: passed"]
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "3 images inspected, 1 rejected, 1 to review." in text
    assert "above the level of review, 0.3." in text


def test_a_folder_that_cant_be_made_is_told_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file is a file"):
        writers("run", [tmp_path], table=tmp_path / "file" / "table.csv")
