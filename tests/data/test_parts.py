"""Parts that were photographed more than once, named in a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import from_dict
from ssae_tf.data.mvtec import Category, Sample
from ssae_tf.data.split import split_names, split_normal
from ssae_tf.errors import DataError, RunError
from ssae_tf.files import write_json
from ssae_tf.run_data import check_split

ROOT = Path("/root/tile")


def category(count: int = 24) -> Category:
    """Images 000.png and so on, which are nowhere."""
    train = tuple(Sample(ROOT / "train/good" / f"{k:03}.png", "good") for k in range(count))
    return Category(ROOT, "tile", train)


def table(path: Path, rows: str) -> str:
    path.write_text(rows, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("folder", ["", "train/good/"])
def test_images_of_a_part_stay_on_one_side(folder: str, tmp_path: Path) -> None:
    rows = "".join(f"{folder}{k:03}.png,part {k % 8}\n" for k in range(24))
    group = table(tmp_path / "parts.csv", f"name,group\n{rows}")
    split = split_normal(category(), 0, 0.2, 0.2, group)
    sides = [{int(one.path.stem) % 8 for one in part} for part in (split.train, split.select)]
    sides.append({int(one.path.stem) % 8 for one in split.calibrate})
    assert sorted(part for side in sides for part in side) == list(range(8))


def test_a_table_says_what_an_expression_says(tmp_path: Path) -> None:
    rows = "".join(f"{k:03}.png,{k // 10}\n" for k in range(24))
    group = table(tmp_path / "parts.csv", f"name,group\n{rows}")
    assert split_normal(category(), 3, 0.2, 0.2, group) == split_normal(
        category(), 3, 0.2, 0.2, r"^0(\d)"
    )


def test_an_image_that_the_table_does_not_name_is_a_part_by_itself(tmp_path: Path) -> None:
    group = table(tmp_path / "parts.csv", "name,group\n000.png,a\n001.png,a\n")
    split = split_normal(category(), 0, 0.2, 0.2, group)
    parts = (split.train, split.select, split.calibrate)
    assert sum(map(len, parts)) == 24
    (both,) = [part for part in parts if any(one.path.name == "000.png" for one in part)]
    assert "001.png" in {one.path.name for one in both}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("image,part\n000.png,a\n", "Received: 0 such of 1 rows"),
        ("name,group\n000.png,\n001.png,a\n", "Received: 1 such of 2 rows"),
        ("name,group\n000.png,a\n000.png,b\n", "Received: 1 such of 2 rows"),
        ("", "Received: 0 such of 0 rows"),
        ("name,group\nother.png,a\n", "is in none of the 24 file names"),
    ],
)
def test_what_is_no_table_of_these_images_is_refused(
    rows: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        split_normal(category(), 0, 0.2, 0.2, table(tmp_path / "parts.csv", rows))


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"parts\.csv: can't be read \(No such file"):
        split_normal(category(), 0, 0.2, 0.2, str(tmp_path / "parts.csv"))


def test_a_run_records_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_module.absolute(from_dict({"data": {"group": "parts.csv"}}))
    assert config.data.group == str(tmp_path / "parts.csv")
    expression = from_dict({"data": {"group": r"part(\d)"}})
    assert config_module.absolute(expression) == expression


def test_training_does_not_go_on_with_other_parts(tmp_path: Path) -> None:
    split = split_normal(category(), 0, 0.2, 0.2)
    write_json(tmp_path / "split.json", split_names(split))
    check_split(tmp_path, split)
    with pytest.raises(RunError, match=r"fall into other parts than split\.json has"):
        check_split(tmp_path, split_normal(category(), 1, 0.2, 0.2))
