"""`ssae-tf predict --report --csv --coco`: files of all images together."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssae_tf.evaluation import predictions

Invoke = Callable[..., Any]


@pytest.fixture
def images(sample_root: Path, tmp_path: Path) -> Path:
    """A folder with two images and a broken one, in two folders."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    test = sample_root / "tile" / "test"
    shutil.copy(test / "good" / "000.png", folder / "a.png")
    shutil.copy(test / "crack" / "000.png", folder / "deep" / "b.png")
    (folder / "deep" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_the_files_say_what_the_lines_say(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path
) -> None:
    page, table, coco = (tmp_path / "new" / name for name in ("a.html", "b.csv", "c.json"))
    files = ("--report", page, "--csv", table, "--coco", coco)
    done = invoke("predict", run_folder, images, "--threshold", "0.01", *files)
    assert done.code == 3
    lines = [json.loads(line) for line in done.out]
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [line["path"] for line in lines]
    assert [row["error"] for row in rows] == [line.get("error", "") for line in lines]
    inspected = [line for line in lines if "error" not in line]
    found = json.loads(coco.read_text(encoding="utf-8"))
    assert [image["file_name"] for image in found["images"]] == ["a.png", "deep/b.png"]
    defects = [defect for line in inspected for defect in line["defects"]]
    assert len(defects) > 0
    assert [one["bbox"] for one in found["annotations"]] == [one["box"] for one in defects]
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") == len(inspected) == 2
    assert "1 not inspected" in text
    assert sorted(path.name for path in page.parent.iterdir()) == ["a.html", "b.csv", "c.json"]


def test_an_image_in_place_of_a_file_to_write_is_refused(
    invoke: Invoke, run_folder: Path, images: Path
) -> None:
    before = (images / "a.png").read_bytes()
    done = invoke("predict", run_folder, "--csv", images / "a.png", images / "deep" / "b.png")
    assert done.code == 2
    assert f"Expected a name ending in .csv. Received: {images / 'a.png'}." in " ".join(done.err)
    assert (images / "a.png").read_bytes() == before


def test_a_file_of_before_stays_whole_where_work_ends_early(
    invoke: Invoke, run_folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    table = tmp_path / "table.csv"
    table.write_text("of before")
    monkeypatch.setattr(predictions.PredictionsTable, "write", stop)
    done = invoke("predict", run_folder, images / "a.png", "--csv", table)
    assert (done.code, done.error) == (130, "Interrupted.")
    assert table.read_text() == "of before"
