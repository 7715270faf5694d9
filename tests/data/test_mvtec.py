from __future__ import annotations

import dataclasses
import logging
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ssae_tf.data import images, mvtec
from ssae_tf.data.mvtec import Sample
from ssae_tf.errors import DataError


def touch(root: Path, *names: str) -> None:
    """Empty files: only names are looked at when a folder is listed."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(samples: tuple[Sample, ...], root: Path) -> list[str]:
    return [sample.path.relative_to(root).as_posix() for sample in samples]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two categories, as MVTec AD has them."""
    touch(
        tmp_path,
        "readme.txt",
        "tile/license.txt",
        *(f"tile/train/good/{i:03}.png" for i in range(3)),
        "tile/test/good/000.png",
        *(f"tile/test/crack/{i:03}.png" for i in range(2)),
        *(f"tile/ground_truth/crack/{i:03}_mask.png" for i in range(2)),
        "tile/test/oil/000.png",
        "tile/ground_truth/oil/000_mask.png",
        "wood/train/good/000.png",
    )
    return tmp_path


def test_a_category_of_mvtec_ad(root: Path) -> None:
    category = mvtec.load_category(root, "tile")
    folder = root / "tile"
    assert (category.root, category.name) == (folder, "tile")
    assert names(category.train, folder) == [f"train/good/{i:03}.png" for i in range(3)]
    assert category.validation == ()
    assert category.test == (
        Sample(folder / "test/crack/000.png", "crack", folder / "ground_truth/crack/000_mask.png"),
        Sample(folder / "test/crack/001.png", "crack", folder / "ground_truth/crack/001_mask.png"),
        Sample(folder / "test/good/000.png", "good"),
        Sample(folder / "test/oil/000.png", "oil", folder / "ground_truth/oil/000_mask.png"),
    )
    assert category.kinds == ("crack", "oil")
    assert category.warnings == ()
    assert [sample.is_anomalous for sample in category.test] == [True, True, False, True]
    assert not any(sample.is_anomalous for sample in category.train)


def test_samples_and_categories_are_values(root: Path) -> None:
    assert mvtec.load_category(root, "tile") == mvtec.load_category(str(root), "tile")
    with pytest.raises(dataclasses.FrozenInstanceError):
        mvtec.load_category(root, "tile").name = "other"


def test_a_category_without_test_images(root: Path) -> None:
    category = mvtec.load_category(root, "wood")
    assert (category.test, category.kinds, category.warnings) == ((), (), ())


def test_the_categories_of_a_root(root: Path) -> None:
    touch(root, "empty/note.txt", "carpet/train/good/a.png", ".hidden/train/good/a.png")
    touch(root, "__MACOSX/train/good/a.png")
    assert mvtec.list_categories(root) == ["carpet", "tile", "wood"]


def test_a_folder_that_may_not_be_entered_is_passed_over(root: Path, monkeypatch) -> None:
    # Also when tests run as root.
    real = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if "private" in Path(path).parts:
            raise PermissionError(13, "Permission denied")
        return real(path)

    (root / "private").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    assert mvtec.list_categories(root) == ["tile", "wood"]


def test_the_only_category_needs_no_name(tmp_path: Path) -> None:
    touch(tmp_path, "tile/train/good/000.png", "notes/a.txt")
    for name in (None, ""):
        category = mvtec.load_category(tmp_path, name)
        assert (category.root, category.name) == (tmp_path / "tile", "tile")


@pytest.mark.parametrize("name", [None, "", "tile"])
def test_the_folder_of_a_category_itself(root: Path, name: str | None) -> None:
    category = mvtec.load_category(root / "tile", name)
    assert category == mvtec.load_category(root, "tile")


def test_the_current_folder_has_a_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "tile")
    assert mvtec.load_category(".").name == "tile"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (".", "wood"),
        ("tile", None),
        ("tile", "tile"),
        ("tile/train/good", None),
        ("tile/train/good", "my tiles"),
        (".", None),
        (".", "slate"),
        ("tile", "slate"),
        ("tile/test", None),
        ("nowhere", None),
    ],
)
def test_the_name_alone_is_that_of_the_category(root: Path, place: str, name: str | None) -> None:
    def outcome(find: Callable[..., str]) -> str:
        try:
            return find(root / place, name)
        except DataError as error:
            return str(error)

    expected = outcome(lambda *where: mvtec.load_category(*where).name)
    assert outcome(mvtec.category_name) == expected


def test_for_its_name_no_category_is_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mvtec, "_load", lambda *_: pytest.fail("was listed"))
    assert mvtec.category_name(root, "tile") == "tile"


def test_a_category_of_the_same_name_inside_is_not_preferred(tmp_path: Path) -> None:
    touch(tmp_path, "tile/train/good/0.png", "tile/wood/train/good/0.png")
    assert mvtec.load_category(tmp_path / "tile").root == tmp_path / "tile"
    assert mvtec.load_category(tmp_path / "tile", "wood").root == tmp_path / "tile" / "wood"


@pytest.mark.parametrize(("name", "expected"), [(None, "parts"), ("tile", "tile")])
def test_a_plain_folder_of_good_images(tmp_path: Path, name: str | None, expected: str) -> None:
    folder = tmp_path / "parts"
    touch(folder, "b.jpg", "a.png", "notes.txt", "more/notes.txt")
    category = mvtec.load_category(folder, name)
    assert (category.root, category.name) == (folder, expected)
    assert category.train == (Sample(folder / "a.png", "good"), Sample(folder / "b.jpg", "good"))
    assert category.validation == category.test == ()
    assert category.warnings == (f"{folder}: 1 file left out: 1 .txt.",)


def test_every_extension_in_any_case(tmp_path: Path) -> None:
    wanted = ["a.png", "b.JPG", "c.Jpeg", "d.BMP", "e.tif", "f.TIFF"]
    touch(tmp_path, *wanted, "g.gif", "h.gif", "i.pdf", "j")
    assert names(mvtec.load_category(tmp_path).train, tmp_path) == wanted


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/good/0.png",
        "train/good/._0.png",
        "train/good/.hidden.png",
        "train/good/Thumbs.db",
        "train/good/desktop.ini",
        "train/good/.ipynb_checkpoints/0-checkpoint.png",
        "train/good/__MACOSX/0.png",
        "train/good/@eaDir/0.png/SYNOPHOTO_THUMB_XL.jpg",
        "train/good/lost+found/0.png",
        "test/.ipynb_checkpoints/0.png",
        "test/__MACOSX/0.png",
        "test/crack/0.png",
        "test/crack/.DS_Store",
        "ground_truth/.DS_Store",
        "ground_truth/crack/0_mask.png",
        "ground_truth/crack/._0_mask.png",
        "ground_truth/crack/Thumbs.db",
        "ground_truth/__MACOSX/0_mask.png",
    )
    category = mvtec.load_category(tmp_path)
    assert names(category.train, tmp_path) == ["train/good/0.png"]
    assert names(category.test, tmp_path) == ["test/crack/0.png"]
    assert category.warnings == ()


def test_order_is_natural_and_tells_cases_apart(tmp_path: Path) -> None:
    expected = ["01.png", "1.png", "2.png", "10.png", "B.png", "a2.png", "a10.png", "é.png"]
    touch(tmp_path, *reversed(expected))
    found = names(mvtec.load_category(tmp_path).train, tmp_path)
    assert [unicodedata.normalize("NFC", name) for name in found] == expected


def test_kinds_come_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/0.png", *(f"test/kind {i}/0.png" for i in (10, 9, 1)))
    assert mvtec.load_category(tmp_path).kinds == ("kind 1", "kind 9", "kind 10")


def test_a_broken_link_is_kept_for_the_reader_to_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    assert names(mvtec.load_category(tmp_path).train, tmp_path) == ["a.png", "b.png"]


# Masks and their images.


@pytest.mark.parametrize("mask", ["000_mask.PNG", "000_mask.bmp", "000_mask.tif", "000_mask.jpg"])
def test_masks_of_any_extension(tmp_path: Path, mask: str) -> None:
    touch(tmp_path, "train/good/0.png", "test/cut/000.JPG", f"ground_truth/cut/{mask}")
    category = mvtec.load_category(tmp_path)
    assert category.test[0].mask_path == tmp_path / "ground_truth/cut" / mask
    assert category.warnings == ()


def test_images_without_mask_are_counted_by_kind(root: Path) -> None:
    touch(root, *(f"tile/test/crack/{i:03}.png" for i in range(2, 6)))
    (root / "tile/ground_truth/crack/001_mask.png").unlink()
    category = mvtec.load_category(root, "tile")
    assert [sample.mask_path is None for sample in category.test[:3]] == [False, True, True]
    (warning,) = category.warnings
    assert warning.startswith(f"{root / 'tile/test/crack'}: 5 images without a mask")
    assert warning.endswith("the first: 001.png.")


def test_without_ground_truth_every_kind_is_named(root: Path) -> None:
    (root / "tile/ground_truth").rename(root / "elsewhere")
    category = mvtec.load_category(root, "tile")
    assert all(sample.mask_path is None for sample in category.test)
    assert [warning.partition(",")[0] for warning in category.warnings] == [
        f"{root / 'tile/test/crack'}: 2 images without a mask",
        f"{root / 'tile/test/oil'}: 1 image without a mask",
    ]


def test_reading_masks(tmp_path: Path) -> None:
    drawn = np.zeros((4, 6), bool)
    drawn[1, 2] = True
    images.write_png(tmp_path / "m.png", drawn)
    defect = Sample(tmp_path / "a.png", "cut", tmp_path / "m.png")
    np.testing.assert_array_equal(mvtec.read_sample_mask(defect, (4, 6)), drawn)
    assert mvtec.read_sample_mask(dataclasses.replace(defect, mask_path=None), (4, 6)) is None
    empty = mvtec.read_sample_mask(Sample(tmp_path / "a.png", "good"), (4, 6))
    assert (empty.shape, empty.dtype, empty.any()) == ((4, 6), np.bool_, False)


# What is refused.


def refusal(root: Path, name: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        mvtec.load_category(root, name)
    return str(caught.value)


def test_no_such_root(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent") == f"{tmp_path / 'absent'}: no such folder."
    with pytest.raises(DataError, match="no such folder"):
        mvtec.list_categories(tmp_path / "absent")


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.zip")
    assert "expected a folder" in refusal(tmp_path / "a.zip")


def test_no_such_category_names_those_found(root: Path) -> None:
    message = refusal(root, "til")
    assert "'til'" in message
    assert "tile, wood" in message


def test_several_categories_and_no_name(root: Path) -> None:
    assert "tile, wood" in refusal(root)


def test_another_name_than_the_category_folder(root: Path) -> None:
    message = refusal(root / "tile", "wood")
    assert "'tile'" in message
    assert "'wood'" in message


@pytest.mark.parametrize("name", ["../tile", "a/b", "..", ".", "/tile"])
def test_a_path_is_no_category(root: Path, name: str) -> None:
    assert f"Received: {name!r}." in refusal(root, name)


def test_a_folder_that_can_not_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "test":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal(root / "tile") == (f"{root / 'tile/test'}: can't be listed (Permission denied).")


# Images to inspect.


def test_files_and_folders_in_any_mix(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "in/10.png",
        "in/9.png",
        "in/deep/er/0.JPG",
        "in/deep/notes.txt",
        "in/.cache/0.png",
        "in/__MACOSX/0.png",
        "in/._9.png",
        "one.xyz",
    )
    paths = [tmp_path / "one.xyz", str(tmp_path / "in"), tmp_path / "absent.png"]
    assert mvtec.find_images(paths) == [
        tmp_path / "one.xyz",
        tmp_path / "in/9.png",
        tmp_path / "in/10.png",
        tmp_path / "in/deep/er/0.JPG",
        tmp_path / "absent.png",
    ]


def test_a_ring_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert mvtec.find_images([tmp_path]) == [tmp_path / "a.png"]
    assert mvtec.find_images([tmp_path / "again"]) == [tmp_path / "again" / "a.png"]


def test_a_folder_without_images_is_named(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="ssae_tf"):
        assert mvtec.find_images([tmp_path]) == []
    assert str(tmp_path) in caplog.text


def test_nothing_asked_nothing_found() -> None:
    assert mvtec.find_images([]) == []


# Real images.


@pytest.fixture
def real(shared_data: Path) -> Path:
    if not {"leather", "magnetic_tile"} <= set(mvtec.list_categories(shared_data)):
        pytest.skip(f"no leather and magnetic_tile in {shared_data}")
    return shared_data


def test_leather_lacks_some_masks_and_images(real: Path) -> None:
    category = mvtec.load_category(real, "leather")
    assert len(category.train) == 4
    assert category.kinds == ("color", "cut", "fold", "glue", "poke")
    without = [sample for sample in category.test if sample.is_anomalous and not sample.mask_path]
    named = "\n".join(category.warnings)
    assert without
    assert str(without[0].path.parent) in named
    assert str(real / "leather/ground_truth/color/001_mask.png") in named
    sample = next(sample for sample in category.test if sample.mask_path)
    pixels = images.read_image(sample.path)
    mask = mvtec.read_sample_mask(sample, pixels.shape[:2])
    assert mask is not None
    assert 0 < mask.mean() < 0.5


def test_magnetic_tile_is_complete_and_of_many_sizes(real: Path) -> None:
    category = mvtec.load_category(real, "magnetic_tile")
    assert category.kinds == ("blowhole", "break", "crack", "fray", "uneven")
    assert len(category.train) == 505
    sizes = set()
    for sample in category.test[::20]:
        size = images.image_size(sample.path)
        sizes.add(size)
        mask = mvtec.read_sample_mask(sample, size)
        assert mask is None or mask.any() == sample.is_anomalous
    assert len(sizes) > 1
