"""`ssae-tf predict` of an artefact makes the files that it makes of a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf.cli.main import run
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported


def test_page_table_and_polygons(
    make: Callable[..., Exported],
    sample_root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = make("tflite").folder
    images = sample_root / "tile" / "test" / "crack"
    page, table, coco = (tmp_path / name for name in ("a.html", "b.csv", "c.json"))
    files = ["--report", str(page), "--csv", str(table), "--coco", str(coco)]
    assert run(["predict", str(folder), str(images), "--threshold", "0.01", *files]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    artefact = Artefact.load(folder)
    results = [artefact.predict(line["path"], threshold=0.01) for line in lines]
    boxes = [list(defect.box) for result in results for defect in result.defects]
    assert len(boxes) > 0
    found = json.loads(coco.read_text(encoding="utf-8"))
    assert [one["bbox"] for one in found["annotations"]] == boxes
    assert [image["file_name"] for image in found["images"]] == ["000.png", "001.png"]
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [line["score"] for line in lines]
    assert page.read_text(encoding="utf-8").count("<figure>") == 2
