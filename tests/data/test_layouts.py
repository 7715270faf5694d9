"""Folders other than MVTec AD's own: of other data sets, and of people."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ssae_tf.data import images, mvtec
from ssae_tf.data.mvtec import Category, Sample
from ssae_tf.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def labels(samples: tuple[Sample, ...], root: Path) -> dict[str, tuple[str, str | None]]:
    """Image -> its kind and its mask, both below the root."""
    return {
        sample.path.relative_to(root).as_posix(): (
            sample.kind,
            sample.mask_path and sample.mask_path.relative_to(root).as_posix(),
        )
        for sample in samples
    }


def load(root: Path, *names: str) -> Category:
    touch(root, *names)
    return mvtec.load_category(root)


def test_btad(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/ok/0000.bmp",
        "test/ok/0000.bmp",
        "test/ko/0000.bmp",
        "ground_truth/ko/0000.png",
    )
    assert labels(category.train, tmp_path) == {"train/ok/0000.bmp": ("good", None)}
    assert labels(category.test, tmp_path) == {
        "test/ko/0000.bmp": ("ko", "ground_truth/ko/0000.png"),
        "test/ok/0000.bmp": ("good", None),
    }
    assert category.warnings == (
        f"{tmp_path / 'train'}: ok is taken for good images.",
        f"{tmp_path / 'test'}: ok is taken for good images.",
    )


def test_visa_in_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/0000.JPG",
        "test/good/0001.JPG",
        "test/bad/000.JPG",
        "ground_truth/bad/000.png",
    )
    assert labels(category.test, tmp_path)["test/bad/000.JPG"] == (
        "bad",
        "ground_truth/bad/000.png",
    )
    assert category.warnings == ()


def test_mvtec_loco(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/000.png",
        "validation/good/000.png",
        "test/good/000.png",
        "test/logical_anomalies/000.png",
        "test/logical_anomalies/001.png",
        "test/structural_anomalies/000.png",
        "ground_truth/logical_anomalies/000/000.png",
        "ground_truth/logical_anomalies/000/001.png",
        "ground_truth/logical_anomalies/001/000.png",
        "ground_truth/structural_anomalies/000/000.png",
    )
    truth = "ground_truth/logical_anomalies"
    assert labels(category.test, tmp_path) == {
        "test/good/000.png": ("good", None),
        "test/logical_anomalies/000.png": ("logical_anomalies", f"{truth}/000"),
        "test/logical_anomalies/001.png": ("logical_anomalies", f"{truth}/001"),
        "test/structural_anomalies/000.png": (
            "structural_anomalies",
            "ground_truth/structural_anomalies/000",
        ),
    }
    assert len(category.validation) == 1
    assert category.warnings == ()


def test_masks_of_a_folder_are_united(tmp_path: Path) -> None:
    (tmp_path / "000").mkdir()
    drawn = np.zeros((2, 4, 6), bool)
    for number, mask in enumerate(drawn):
        mask[number, 1] = True
        images.write_png(tmp_path / "000" / f"{number}.png", mask)
    sample = Sample(tmp_path / "a.png", "missing", tmp_path / "000")
    np.testing.assert_array_equal(mvtec.read_sample_mask(sample, (4, 6)), drawn.any(axis=0))
    images.write_png(tmp_path / "000" / "2.png", np.zeros((6, 4), bool))
    with pytest.raises(DataError, match=r"2\.png: the mask is 4 x 6 pixels, its image .* 6 x 4\.$"):
        mvtec.read_sample_mask(sample, (4, 6))


# Names for good images.


@pytest.mark.parametrize("name", ["Good", "GOOD", "ok", "OK", "Normal", "defect-free", "no_defect"])
def test_names_that_mean_good(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tile"
    category = load(
        folder,
        f"train/{name}/0.png",
        f"validation/{name}/0.png",
        f"test/{name}/0.png",
        "test/cut/0.png",
        "ground_truth/cut/0.png",
    )
    assert [sample.kind for sample in (*category.train, *category.validation)] == ["good", "good"]
    assert Counter(sample.kind for sample in category.test) == {"good": 1, "cut": 1}
    assert category.warnings == tuple(
        f"{folder / part}: {name} is taken for good images."
        for part in ("train", "validation", "test")
    )
    assert mvtec.list_categories(tmp_path) == ["tile"]


@pytest.mark.parametrize("name", ["not_good", "ng", "nok", "ko", "bad", "goods", "abnormal"])
def test_names_that_do_not_mean_good(tmp_path: Path, name: str) -> None:
    category = load(tmp_path, "train/good/0.png", f"test/{name}/0.png")
    assert category.kinds == (name,)


def test_two_folders_of_good_images_are_one(tmp_path: Path) -> None:
    category = load(tmp_path, "train/good/0.png", "test/good/0.png", "test/OK/0.png")
    assert labels(category.test, tmp_path) == {
        "test/OK/0.png": ("good", None),
        "test/good/0.png": ("good", None),
    }
    assert category.warnings == (f"{tmp_path / 'test'}: OK and good are taken for good images.",)


# Folders inside of folders.


def test_images_are_found_at_any_depth(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/lot3/0.png",
        "train/good/1.png",
        "train/good/lot10/day/0.png",
        "validation/good/lot1/0.png",
        "test/good/cam1/0.png",
        "test/crack/cam1/0.png",
        "test/crack/cam2/0.png",
        "ground_truth/crack/cam1/0_mask.png",
        "ground_truth/crack/cam2/0_mask.png",
    )
    assert list(labels(category.train, tmp_path)) == [
        "train/good/1.png",
        "train/good/lot3/0.png",
        "train/good/lot10/day/0.png",
    ]
    assert list(labels(category.validation, tmp_path)) == ["validation/good/lot1/0.png"]
    assert labels(category.test, tmp_path) == {
        "test/crack/cam1/0.png": ("crack", "ground_truth/crack/cam1/0_mask.png"),
        "test/crack/cam2/0.png": ("crack", "ground_truth/crack/cam2/0_mask.png"),
        "test/good/cam1/0.png": ("good", None),
    }
    assert category.warnings == ()


def test_good_images_within_a_kind_of_defect_are_left_out(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/0.png",
        "test/cam1/good/0.png",
        "test/cam1/crack/0.png",
        "ground_truth/cam1/crack/0.png",
    )
    assert list(labels(category.test, tmp_path)) == ["test/cam1/crack/0.png"]
    assert category.warnings == (
        f"{tmp_path / 'test/cam1/good'}: left out, not expected in {tmp_path / 'test/cam1'}.",
    )


def test_folders_of_masks_among_images_are_left_out(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/0.png",
        "train/good/masks/0.png",
        "test/crack/0.png",
        "test/crack/GT/0.png",
        "test/ground_truth/crack/0.png",
        "ground_truth/crack/0.png",
    )
    assert list(labels(category.train, tmp_path)) == ["train/good/0.png"]
    assert list(labels(category.test, tmp_path)) == ["test/crack/0.png"]
    assert category.warnings == (
        f"{tmp_path / 'train/good/masks'}: left out, not expected in {tmp_path / 'train/good'}.",
        f"{tmp_path / 'test/crack/GT'}: left out, not expected in {tmp_path / 'test/crack'}.",
        f"{tmp_path / 'test/ground_truth'}: left out, not expected in {tmp_path / 'test'}.",
    )


def test_folders_of_a_plain_folder_are_named(tmp_path: Path) -> None:
    category = load(tmp_path, "a.png", "lot1/b.png", "bad/day/c.png", "notes/a.txt")
    assert list(labels(category.train, tmp_path)) == ["a.png"]
    assert category.warnings == (f"{tmp_path}: images in its folders are left out: bad, lot1.",)


def test_a_folder_of_folders_of_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "lot1/b.png", "lot2/c.png")
    with pytest.raises(DataError, match=r"found none of them; images lie in lot1, lot2: name one"):
        mvtec.load_category(tmp_path)


# What is not understood.


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["test/0.png"], "test: 1 image left out, expected in test/<kind>/."),
        (["train/0.png", "train/1.png"], "train: 2 images left out, expected in train/<kind>/."),
        (["validation/0.png"], "validation: 1 image left out, expected in validation/<kind>/."),
        (["ground_truth/0.png"], "ground_truth: 1 image left out, expected in ground_truth/<kind>"),
        (["test/crack/.hidden"], "test/crack: holds no images (.bmp"),
        (["test/notes.txt", "train/good/1.gif"], ": 2 files left out: 1 .gif, 1 .txt."),
        (["train/bad/0.png"], "train/bad: 1 image left out, train is for good ones."),
        (
            ["ground_truth/crack/0_mask.png", "ground_truth/crack/1_mask.png"],
            "ground_truth/crack: 2 images left out, masks without test/crack.",
        ),
        (["ground_truth/OK/0.png"], "ground_truth/OK: masks of good images are left out."),
        (["test/crack/0_mask.png"], "test/crack: left out, all its names are those of masks."),
        (
            ["Test/crack/0.png", "masks/0.png", "notes/a/b/0.png", "0.png"],
            ": images outside of train, validation, test, ground_truth are left out: "
            "Test, masks, 0.png.",
        ),
    ],
)
def test_what_is_not_understood_gets_one_sentence(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    category = load(tmp_path, "train/good/0.png", *names)
    (warning,) = category.warnings
    place = "" if expected.startswith(":") else "/"
    assert warning.startswith(f"{tmp_path}{place}{expected}")
    assert len(category.train) == 1
    assert category.test == ()


def test_files_that_are_no_images_are_counted_once(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/good/{name}" for name in ["a.gif", "b.GIF", "c.txt", "1.pdf"]))
    counted = "4 files left out: 2 .gif, 1 .pdf, 1 .txt."
    with pytest.raises(DataError, match=rf"holds no images \(.*\); {re.escape(counted)}$"):
        mvtec.load_category(tmp_path)
    touch(tmp_path, "train/good/0.png")
    assert mvtec.load_category(tmp_path).warnings == (f"{tmp_path}: {counted}",)


def test_files_that_are_no_images_in_a_plain_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.gif", "more/b.gif")
    with pytest.raises(DataError, match=r"found none of them; 1 file left out: 1 \.gif\.$"):
        mvtec.load_category(tmp_path)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train/0.png"], "train"),
        (["train/bad/0.png", "test/good/0.png"], "train, test"),
        (["test/good/0.png", "0.png"], "test"),
    ],
)
def test_train_without_good_is_refused(tmp_path: Path, names: list[str], parts: str) -> None:
    touch(tmp_path / "tile", *names)
    touch(tmp_path, "wood/train/good/0.png")
    for root, name in ((tmp_path / "tile", None), (tmp_path, "tile")):
        with pytest.raises(DataError) as caught:
            mvtec.load_category(root, name)
        assert str(caught.value) == (
            f"{tmp_path / 'tile'}: has {parts}, but no train/good (or ok, normal …) to learn from."
        )


def test_of_many_warnings_of_a_kind_three_are_told(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/0.png",
        "test/cut/0.png",
        "ground_truth/cut/0.png",
        *(f"ground_truth/cut/{number}.png" for number in range(1, 45)),
        *(f"test/empty{number}/.hidden" for number in range(3)),
    )
    empty, orphans = category.warnings[:3], category.warnings[3:]
    assert all("holds no images" in warning for warning in empty)
    assert all("a mask without its image" in warning for warning in orphans[:3])
    assert orphans[3:] == ("… and 41 more masks without their image.",)


# Names.


@pytest.mark.parametrize(("image", "mask"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_find_each_other(
    tmp_path: Path, image: str, mask: str
) -> None:
    def written(form: str, name: str) -> str:
        return unicodedata.normalize(form, name)

    category = load(
        tmp_path,
        "train/good/0.png",
        written(image, "test/brûlé/é1.png"),
        written(mask, "ground_truth/brûlé/é1_mask.png"),
    )
    (sample,) = category.test
    assert sample.mask_path is not None
    assert category.warnings == ()


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    category = load(
        tmp_path,
        "train/good/0.png",
        os.fsdecode(b"test/caf\xe9/\xff1.png"),
        os.fsdecode(b"ground_truth/caf\xe9/\xff1_mask.png"),
    )
    assert category.test[0].mask_path is not None
    assert category.warnings == ()


@pytest.mark.parametrize("image", ["train/good/0.png", "0.png"])
def test_a_category_is_named_in_utf_8(tmp_path: Path, image: str) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    touch(folder, image)
    with pytest.raises(DataError, match=r"expected a category's name in UTF-8; rename"):
        mvtec.load_category(folder)


# Work.


def test_each_folder_is_read_a_few_times_however_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "train/good/0.png")
    for number in range(200):
        touch(tmp_path, f"test/cut/{number}.png", f"ground_truth/cut/{number}_mask.png")
    reads: Counter[str] = Counter()
    scandir = os.scandir

    def counted(path: Path) -> object:
        reads[str(path)] += 1
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    mvtec.load_category(tmp_path)
    # Once for images, once for other files.
    assert reads[str(tmp_path / "test/cut")] == reads[str(tmp_path / "ground_truth/cut")] == 2
    assert max(reads.values()) <= 5
    assert sum(reads.values()) <= 21


def test_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/0.png", "tile/train/good/1.png")
    good = tmp_path / "tile/train/good"
    (good / "lot1").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (good / "lot2").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (good / "ring").symlink_to(good, target_is_directory=True)
    category = mvtec.load_category(tmp_path / "tile")
    assert list(labels(category.train, good)) == ["1.png", "lot1/0.png"]
