"""The look at a folder before training: each finding where its fault is, and only there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.data.check import Check, check
from ssae_tf.data.faults import Finding
from ssae_tf.data.mvtec import load_category
from ssae_tf.data.survey import survey
from ssae_tf.data.twins import twin_groups
from ssae_tf.errors import DataError
from ssae_tf.scoring.conformal import FalseAlarmRate

SIDE = 64
CONFIG = config_module.preset("quick", "part")


def surface(number: int, side: int = SIDE) -> np.ndarray:
    """A grey surface of its own for each number, uint8, without black and white."""
    rng = np.random.default_rng(number)
    scales = [cv2.resize(rng.normal(size=(n, n)), (side, side)) for n in (4, 16, side)]
    noise = sum(scale / scale.std() for scale in scales)
    return np.clip(110 + 15 * noise, 10, 240).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_parts(folder: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        write(folder / f"{number:03}.png", surface(number))


@pytest.fixture(scope="module")
def clean_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean") / "part"
    write_parts(root / "train" / "good", 0, 24)
    write_parts(root / "validation" / "good", 100, 20)
    write_parts(root / "test" / "good", 200, 3)
    write_parts(root / "test" / "dent", 300, 3)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:30, 20:30] = 255
    for number in range(300, 303):
        write(root / "ground_truth" / "dent" / f"{number}_mask.png", mask)
    return root


@pytest.fixture
def root(clean_folder: Path, tmp_path: Path) -> Path:
    """A folder without fault, to be changed."""
    return Path(shutil.copytree(clean_folder, tmp_path / "part"))


def look(root: Path, config: RunConfig = CONFIG) -> Check:
    return check(load_category(root), config)


def only_finding(root: Path, config: RunConfig = CONFIG) -> Finding:
    (finding,) = look(root, config).findings
    return finding


def each_good(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes all images but masks."""
    for path in (*root.glob("[tv]*/*/*.png"), *root.glob("*.png")):
        write(path, change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def test_a_clean_folder_has_no_finding(root: Path) -> None:
    checked = look(root)
    assert checked.findings == []
    assert checked.is_clean
    assert checked.twins == []
    assert checked.promise == FalseAlarmRate(20)
    assert len(checked.facts) == 50


def test_images_and_masks_are_counted_as_they_are_read(root: Path) -> None:
    seen: list[None] = []
    check(load_category(root), CONFIG, lambda: seen.append(None))
    assert len(seen) == 50


def test_unreadable_images_are_errors(root: Path) -> None:
    (root / "train" / "good" / "003.png").write_bytes(b"no image")
    (root / "test" / "dent" / "301.png").write_bytes(b"")
    finding = only_finding(root)
    assert (finding.level, finding.title) == ("error", "Images that can't be read")
    assert "2 images" in finding.detail
    assert "003.png: expected a PNG" in finding.names[0]
    assert "301.png: the file is empty" in finding.names[1]


def test_without_a_readable_image_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"none of the 1 good images can be read; the first: .*empty"
    ):
        look(tmp_path)


def test_one_image_is_enough_to_be_told_what_is_missing(tmp_path: Path) -> None:
    write_parts(tmp_path, 0, 1)
    checked = look(tmp_path)
    assert [finding.title for finding in checked.findings] == ["Few good images", "No test set"]
    assert not checked.is_clean
    assert checked.promise is None


def test_names_with_control_characters_are_kept(root: Path) -> None:
    name = "a\x1b[2J\n.png"
    shutil.copy(root / "train/good/000.png", root / "train/good" / name)
    (group,) = only_finding(root).names
    assert set(group.split(" = ")) == {"train/good/000.png", f"train/good/{name}"}


PASSED_OVER = "Files and folders passed over, or taken for something else"


def test_files_left_out_are_named(root: Path) -> None:
    (root / "test" / "photo.WEBP").touch()
    (root / "readme.txt").touch()
    (root / "train" / "good" / "Thumbs.db").touch()
    (root / "train" / "good" / "._000.png").touch()
    finding = only_finding(root)
    assert (finding.level, finding.title) == ("warning", PASSED_OVER)
    assert finding.names == (f"{root / 'test'}: 1 image left out, expected in test/<kind>/.",)


def test_a_plain_folder_does_not_look_into_folders(root: Path) -> None:
    plain = root / "train" / "good"
    write(plain / "more" / "x.png", surface(1))
    titles = [finding.title for finding in look(plain).findings]
    assert titles == [PASSED_OVER, "Few images for the threshold", "No test set"]


# What is done to the masks of a clean folder, and the finding with its level and names.
MASKS = {
    "missing": (
        lambda masks: (masks / "301_mask.png").unlink(),
        ("warning", "Defective images without mask", ("test/dent/301.png",)),
    ),
    "all missing": (lambda masks: shutil.rmtree(masks), ("note", "No masks", ())),
    "empty": (
        lambda masks: write(masks / "300_mask.png", np.zeros((SIDE, SIDE), np.uint8)),
        ("warning", "Empty masks", ("test/dent/300.png",)),
    ),
    "inverted": (
        lambda masks: write(masks / "302_mask.png", np.full((SIDE, SIDE), 255, np.uint8)),
        ("warning", "Masks of most of the image", ("test/dent/302.png",)),
    ),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_that_do_not_fit(case: str, root: Path) -> None:
    spoil, expected = MASKS[case]
    spoil(root / "ground_truth" / "dent")
    finding = only_finding(root)
    assert (finding.level, finding.title, finding.names) == expected


def test_masks_of_another_size_are_errors(root: Path) -> None:
    write(root / "ground_truth/dent/300_mask.png", np.full((9, 9), 255, np.uint8))
    finding = only_finding(root)
    assert (finding.level, finding.title) == ("error", "Masks that can't be used")
    assert "9 x 9" in finding.names[0]


def test_masks_without_image(root: Path) -> None:
    write(root / "ground_truth/dent/999_mask.png", np.full((SIDE, SIDE), 255, np.uint8))
    finding = only_finding(root)
    assert (finding.level, finding.title) == ("warning", PASSED_OVER)
    assert "999_mask.png" in finding.names[0]


@pytest.mark.parametrize(("bits", "level"), [(10, 1023), (12, 4095), (14, 16383)])
def test_cameras_with_fewer_bits_than_their_files(bits: int, level: int, root: Path) -> None:
    each_good(root, lambda image: image.astype(np.uint16) << (bits - 8))
    finding = only_finding(root)
    assert (finding.level, finding.title) == ("warning", "16-bit files that hold less")
    assert f"--white-level {level} " in finding.remedy
    mended = config_module.override(CONFIG, {"data.white_level": level})
    assert look(root, mended).is_clean


def test_files_of_16_bits_that_use_them_are_clean(root: Path) -> None:
    each_good(root, lambda image: image.astype(np.uint16) * 257)
    assert look(root).findings == []


def test_a_white_level_below_the_values(root: Path) -> None:
    each_good(root, lambda image: image.astype(np.uint16) << 4)
    config = config_module.override(CONFIG, {"data.white_level": 2600})
    titles = {finding.title: finding for finding in look(root, config).findings}
    assert "--white-level 4095." in titles["White level below the values in the files"].remedy


def test_depths_mixed(root: Path) -> None:
    path = root / "train/good/003.png"
    write(path, surface(3).astype(np.uint16) * 257)
    finding = only_finding(root)
    assert finding.title == "Files of 8 and 16 bits mixed"
    assert finding.names == ("train/good/003.png",)


def test_grey_and_colour_mixed(root: Path) -> None:
    tint = np.array([0.9, 1.0, 1.1])
    write(root / "train/good/003.png", (surface(3)[..., None] * tint).astype(np.uint8))
    finding = only_finding(root)
    assert finding.title == "Grey and coloured images mixed"
    assert finding.names == ("train/good/003.png",)


def test_exposure_that_differs(root: Path) -> None:
    path = root / "train/good/003.png"
    write(path, surface(3) // 2)
    titles = {finding.title: finding.names for finding in look(root).findings}
    assert titles["Exposure differs among good images"] == ("train/good/003.png",)
    assert set(titles) <= {"Exposure differs among good images", "Unusual good images"}


@pytest.mark.parametrize("end", [0, 255])
def test_clipped_images(end: int, root: Path, rng: np.random.Generator) -> None:
    image = surface(3)
    image[rng.random(image.shape) < 0.1] = end
    write(root / "train/good/003.png", image)
    finding = only_finding(root)
    assert (finding.title, finding.names) == ("Clipped images", ("train/good/003.png",))


def test_a_white_background_is_only_noted(root: Path) -> None:
    def on_white(image: np.ndarray) -> np.ndarray:
        image[:20] = 255
        return image

    each_good(root, on_white)
    checked = look(root)
    assert [finding.title for finding in checked.findings] == ["White areas"]
    assert checked.is_clean


def test_flat_images(root: Path) -> None:
    write(root / "test/good/200.png", np.full((SIDE, SIDE), 100, np.uint8))
    finding = only_finding(root)
    assert (finding.title, finding.names) == ("Images without content", ("test/good/200.png",))


def test_an_image_unlike_the_others(root: Path) -> None:
    image = surface(3)
    image[:32], image[32:] = 60, 160
    write(root / "train/good/003.png", image)
    checked = look(root)
    (finding,) = checked.findings
    assert (finding.title, finding.names) == ("Unusual good images", ("train/good/003.png",))
    assert next(iter(checked.unusual())) == "train/good/003.png"
    assert len(checked.unusual()) == 20


def test_shapes_that_differ_are_stretched_differently(root: Path) -> None:
    write(root / "train/good/003.png", surface(3)[:48])
    finding = only_finding(root)
    assert (finding.title, finding.names) == ("Shapes differ", ("train/good/003.png",))
    native = {"scoring.inspection_size": "native"}
    assert look(root, config_module.override(CONFIG, native)).findings == []


def test_images_smaller_than_the_network_takes(root: Path) -> None:
    write(root / "train/good/003.png", surface(3)[:7, :7])
    finding = look(root).findings[0]
    assert (finding.level, finding.title) == ("error", "Images that are too small")
    assert finding.names == ("train/good/003.png",)


def test_large_images_are_told_what_gets_lost(tmp_path: Path) -> None:
    write(tmp_path / "a.png", surface(0, 1536))
    finding = look(tmp_path).findings[-1]
    assert finding.title == "No test set"
    large = look(tmp_path).findings[-2]
    assert large.title == "Large images are made small"
    # 1536 / 256 = 6 pixels for one, and three are needed.
    assert "1536 × 1536 are inspected at 256 × 256" in large.detail
    assert "so 18 pixels of the image" in large.detail


def test_copies_within_training_and_across(root: Path) -> None:
    shutil.copy(root / "train/good/000.png", root / "train/good/copy.png")
    finding = only_finding(root)
    assert finding.title == "The same image more than once"
    assert finding.names == ("train/good/000.png = train/good/copy.png",)
    shutil.move(root / "train/good/copy.png", root / "test/good/copy.png")
    finding = only_finding(root)
    assert finding.title == "The same image for training and for testing"
    assert finding.names == ("train/good/000.png = test/good/copy.png",)


def another_exposure(number: int) -> np.ndarray:
    """The same part darker, moved by three pixels, with noise of its own."""
    noise = np.random.default_rng(1000 + number).normal(0, 2, (SIDE, SIDE))
    moved = np.roll(surface(number), 3, axis=1)
    return np.clip(0.8 * moved + noise, 0, 255).astype(np.uint8)


def test_twins_across_training_and_test(root: Path) -> None:
    write(root / "test/good/again.png", another_exposure(5))
    finding = only_finding(root)
    assert (finding.level, finding.title) == ("warning", "One part in training and test")
    assert finding.names == ("train/good/005.png = test/good/again.png",)


def test_twins_on_both_sides_of_the_split(root: Path) -> None:
    write(root / "validation/good/again.png", another_exposure(5))
    checked = look(root)
    (finding,) = checked.findings
    assert (finding.level, finding.title) == ("warning", "One part on both sides of the split")
    assert finding.names == ("train/good/005.png = validation/good/again.png",)
    assert checked.twins == [["train/good/005.png", "validation/good/again.png"]]


def test_a_group_keeps_twins_on_one_side(root: Path) -> None:
    shutil.rmtree(root / "validation")
    for number in range(24):
        path = root / f"train/good/{number:03}.png"
        write(path.with_name(f"{number:03}b.png"), another_exposure(number))
        path.rename(path.with_name(f"{number:03}a.png"))
    assert "--group REGEX" in look(root).findings[0].remedy
    grouped = look(root, config_module.override(CONFIG, {"data.group": r"^(\d+)"}))
    assert [finding.title for finding in grouped.findings] == ["Few images for the threshold"]
    assert len(grouped.twins) == 24


def test_twins_on_one_side_do_no_harm(root: Path) -> None:
    write(root / "validation/good/again.png", another_exposure(105))
    checked = look(root)
    assert checked.findings == []
    assert checked.twins == [["validation/good/105.png", "validation/good/again.png"]]


def test_few_good_images(tmp_path: Path) -> None:
    write_parts(tmp_path, 0, 10)
    finding = look(tmp_path).findings[0]
    assert (finding.level, finding.title) == ("warning", "Few good images")
    write_parts(tmp_path, 10, 20)
    finding = look(tmp_path).findings[0]
    assert (finding.level, finding.title) == ("note", "Few images for the threshold")
    assert "3 of 30 good images, so that about 1 in 4 good parts" in finding.detail


def test_kinds_with_one_image_and_without_good_ones(root: Path) -> None:
    for name in ("301", "302"):
        (root / f"test/dent/{name}.png").unlink()
        (root / f"ground_truth/dent/{name}_mask.png").unlink()
    assert only_finding(root).names == ("dent",)
    shutil.rmtree(root / "test" / "good")
    titles = [finding.title for finding in look(root).findings]
    assert titles == ["Kinds with one image", "No good test images"]


def test_real_twins_are_found_and_no_others(shared_data: Path) -> None:
    """File numbers of one tile's exposures lie near each other, and far from other tiles'."""
    if not (shared_data / "magnetic_tile").is_dir():
        pytest.skip("no magnetic tiles among the real images")
    category = load_category(shared_data, "magnetic_tile")
    # Few, to be quick: those from one end are the exposures of about 25 tiles.
    train = sorted(category.train, key=lambda sample: _number(sample.path))[-150:]
    numbers = np.array([_number(sample.path) for sample in train])
    facts, _ = survey(train, 65535)
    groups = twin_groups(np.stack([fact.thumbnail for fact in facts]))
    named = np.zeros((len(train), len(train)), bool)
    for group in groups:
        named[np.ix_(group, group)] = True
    apart = np.abs(numbers[:, None] - numbers)
    same = (apart > 0) & (apart < 30)
    assert named[same].mean() > 0.95
    assert not named[apart > 3000].any()


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
