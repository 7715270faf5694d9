"""Which categories a benchmark takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssae_tf.errors import DataError
from ssae_tf.paper_tables.plan import choose_categories


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("zipper", "wood", "bottle", "carpet", "magnetic_tile", "slate"):
        (tmp_path / name / "train" / "good").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", ("carpet", "wood", "bottle", "zipper", "magnetic_tile", "slate")),
        ("textures", ("carpet", "wood")),
        ("objects", ("bottle", "zipper")),
        ("slate, wood,wood", ("wood", "slate")),
        ("slate,textures", ("carpet", "wood", "slate")),
    ],
)
def test_categories_in_the_papers_order(text: str, expected: tuple[str, ...], root: Path) -> None:
    assert choose_categories(root, text) == expected


def test_a_folder_comes_before_a_group(root: Path) -> None:
    (root / "all" / "train" / "good").mkdir(parents=True)
    assert choose_categories(root, "all") == ("all",)


@pytest.mark.parametrize("name", ["wod", "", "notes", "Wood"])
def test_an_unknown_category_names_those_found(name: str, root: Path) -> None:
    with pytest.raises(DataError) as error:
        choose_categories(root, f"wood,{name}")
    assert str(error.value) == (
        f"{root}: no category {name!r} (a folder with train/good); "
        "found: bottle, carpet, magnetic_tile, slate, wood, zipper."
    )


def test_a_root_without(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no categories \(folders with train/good\)\.$"):
        choose_categories(tmp_path, "all")
    with pytest.raises(DataError, match="no such folder"):
        choose_categories(tmp_path / "nowhere", "all")
    (tmp_path / "slate" / "train" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds none of MVTec AD's textures; found: slate\.$"):
        choose_categories(tmp_path, "textures")
