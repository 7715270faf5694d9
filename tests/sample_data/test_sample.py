"""The embedded sample data set: layout, determinism, masks, and that it is not trivial."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from ssae_tf.errors import DataError
from ssae_tf.sample_data import sample as sample_module
from ssae_tf.sample_data.defects import DEFECTS
from ssae_tf.sample_data.sample import CATEGORIES, GOOD, Sample, draw_sample, write_sample_data
from ssae_tf.sample_data.textures import Tile, Weave, illumination, smooth_noise
from ssae_tf.scoring.threshold import image_score

SMALL = {"train": 2, "test_good": 1, "per_kind": 1, "size": 64}
KINDS = [(category, kind) for category in CATEGORIES for kind in DEFECTS[category]]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_layout_is_that_of_mvtec_ad(tmp_path: Path) -> None:
    root = write_sample_data(tmp_path / "new" / "root", **SMALL)
    assert root == tmp_path / "new" / "root"
    expected = set()
    for category in CATEGORIES:
        expected |= {f"{category}/train/good/00{i}.png" for i in range(2)}
        expected |= {f"{category}/test/good/000.png"}
        for kind in DEFECTS[category]:
            expected |= {f"{category}/test/{kind}/000.png"}
            expected |= {f"{category}/ground_truth/{kind}/000_mask.png"}
    assert set(contents(root)) == expected
    assert sorted(entry.name for entry in root.iterdir()) == sorted(CATEGORIES)


def test_default_counts_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = set()

    def draw(*args: object, size: int, seed: int) -> Sample:
        sizes.add(size)
        pixel = np.zeros((1, 1, 3), np.uint8)
        return Sample(pixel, pixel, np.ones((1, 1), bool))

    monkeypatch.setattr(sample_module, "draw_sample", draw)
    write_sample_data(tmp_path)
    assert sizes == {256}
    for category in CATEGORIES:
        assert len(DEFECTS[category]) == 3
        assert len(list((tmp_path / category / "train" / "good").iterdir())) == 40
        assert len(list((tmp_path / category / "test" / "good").iterdir())) == 12
        for kind in DEFECTS[category]:
            assert len(list((tmp_path / category / "test" / kind).iterdir())) == 8
            assert len(list((tmp_path / category / "ground_truth" / kind).iterdir())) == 8


def test_files_hold_the_drawn_pixels(tmp_path: Path) -> None:
    write_sample_data(tmp_path, categories=("weave",), seed=3, **{**SMALL, "size": (48, 70)})
    drawn = draw_sample("weave", "test", "misweave", 0, size=(48, 70), seed=3)
    image = cv2.imread(
        str(tmp_path / "weave" / "test" / "misweave" / "000.png"), cv2.IMREAD_UNCHANGED
    )
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[..., ::-1], drawn.image)
    mask = cv2.imread(
        str(tmp_path / "weave" / "ground_truth" / "misweave" / "000_mask.png"),
        cv2.IMREAD_UNCHANGED,
    )
    assert mask.shape == (48, 70)
    np.testing.assert_array_equal(mask, np.where(drawn.mask, 255, 0))


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = contents(write_sample_data(tmp_path / "a", **SMALL))
    assert contents(write_sample_data(tmp_path / "b", **SMALL)) == first
    other = contents(write_sample_data(tmp_path / "c", seed=1, **SMALL))
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if "ground_truth" not in name)


def test_images_do_not_depend_on_what_else_is_asked_for(tmp_path: Path) -> None:
    both = contents(write_sample_data(tmp_path / "a", categories=("weave", "tile"), **SMALL))
    more = {**SMALL, "train": 3, "per_kind": 2}
    alone = contents(write_sample_data(tmp_path / "b", categories=("tile",), **more))
    shared = both.keys() & alone.keys()
    assert shared == {name for name in both if name.startswith("tile/")}
    assert all(both[name] == alone[name] for name in shared)


def test_all_images_differ(tmp_path: Path) -> None:
    files = contents(write_sample_data(tmp_path, **{**SMALL, "train": 3, "test_good": 3}))
    images = [data for name, data in files.items() if "ground_truth" not in name]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_masks_tell_what_changed(category: str, kind: str) -> None:
    for index in range(3):
        drawn = draw_sample(category, "test", kind, index)
        change = np.abs(drawn.image.astype(int) - drawn.intact.astype(int)).max(axis=-1)
        assert not change[~drawn.mask].any()
        assert 0.001 < drawn.mask.mean() < 0.10
        assert ndimage.label(drawn.mask, np.ones((3, 3)))[1] <= 3
        # The margin is thin, and the defect no pixel-peeping matter: 1 grey level is 1/255.
        assert (change[drawn.mask] > 0).mean() > 0.5
        assert change[drawn.mask].mean() > 10
        far_from_change = ndimage.distance_transform_edt(change < 4)[drawn.mask]
        assert far_from_change.max() <= 9


def test_good_images_have_no_defect() -> None:
    drawn = draw_sample("tile", "test", GOOD, 0, size=64)
    assert not drawn.mask.any()
    np.testing.assert_array_equal(drawn.image, drawn.intact)


@pytest.mark.parametrize(("category", "kind"), [*KINDS, *((name, GOOD) for name in CATEGORIES)])
@pytest.mark.parametrize("size", [32, (37, 53), (131, 40)])
def test_odd_sizes(category: str, kind: str, size: int | tuple[int, int]) -> None:
    shape = (size, size) if isinstance(size, int) else size
    for index in range(8):
        drawn = draw_sample(category, "test", kind, index, size=size)
        assert drawn.image.shape == drawn.intact.shape == (*shape, 3)
        assert drawn.mask.shape == shape
        assert drawn.mask.any() == (kind != GOOD)
        assert not drawn.mask.all()


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "weave").mkdir()
    (tmp_path / "weave" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match=r"weave exists and is not empty; pass overwrite=True"):
        write_sample_data(tmp_path, **SMALL)
    # Nothing of the other category either: the check comes before the work.
    assert contents(tmp_path) == {"weave/mine.txt": b"keep"}


def test_overwrite_replaces_the_whole_category(tmp_path: Path) -> None:
    (tmp_path / "tile").mkdir()
    (tmp_path / "tile" / "old.txt").write_text("old")
    (tmp_path / "other.txt").write_text("keep")
    write_sample_data(tmp_path, categories=("tile",), overwrite=True, **SMALL)
    files = contents(tmp_path)
    assert "tile/old.txt" not in files
    assert "tile/train/good/000.png" in files
    assert files["other.txt"] == b"keep"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other.txt", "tile"]


def test_a_failed_overwrite_keeps_the_old_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tile").mkdir()
    (tmp_path / "tile" / "old.txt").write_text("old")
    rename = Path.rename

    def fail_on_the_new_one(self: Path, target: Path) -> Path:
        if self.name == "tile" and (self / "train").is_dir():
            raise OSError("disk on fire")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_on_the_new_one)
    with pytest.raises(DataError, match="disk on fire"):
        write_sample_data(tmp_path, categories=("tile",), overwrite=True, **SMALL)
    assert contents(tmp_path) == {"tile/old.txt": b"old"}


def test_an_empty_target_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "tile").mkdir()
    write_sample_data(tmp_path, categories=("tile",), **SMALL)
    assert (tmp_path / "tile" / "train" / "good" / "001.png").is_file()


def test_a_file_in_the_way_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "tile").write_text("")
    with pytest.raises(DataError, match=r"tile is a file"):
        write_sample_data(tmp_path, overwrite=True, **SMALL)
    with pytest.raises(DataError, match=r"Cannot write the sample data to"):
        write_sample_data(tmp_path / "tile", **SMALL)


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(category: str, *args: object, **kwargs: object) -> Sample:
        if category == "weave":
            raise KeyboardInterrupt
        return draw_sample(category, *args, **kwargs)

    monkeypatch.setattr(sample_module, "draw_sample", draw)
    with pytest.raises(KeyboardInterrupt):
        write_sample_data(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sigma", [1.0, 2.5, 12.0, 40.0])
def test_smooth_noise_is_standardised_and_smooth(sigma: float) -> None:
    fields = np.stack([smooth_noise(np.random.default_rng(i), (180, 200), sigma) for i in range(8)])
    assert fields.shape == (8, 180, 200)
    assert fields.dtype == np.float32
    assert 0.75 < fields.std() < 1.25
    # Correlation of Gaussian-filtered noise at lag d: exp(-d² / 4 sigma²).
    lag = max(1, round(sigma))
    product = (fields[:, :, lag:] * fields[:, :, :-lag]).mean() / fields.var()
    assert product == pytest.approx(np.exp(-(lag**2) / (4 * sigma**2)), abs=0.12)


def test_illumination_is_modest() -> None:
    for seed in range(20):
        field = illumination(np.random.default_rng(seed), (50, 80))
        assert field.shape == (50, 80, 1)
        assert 0.8 < field.min() < field.max() < 1.12


@pytest.mark.parametrize("surface", [Tile, Weave])
def test_rendering_is_repeatable(surface: type[Tile] | type[Weave]) -> None:
    drawn = surface(np.random.default_rng(0), (64, 64))
    first = drawn.render()
    assert first.dtype == np.float32
    np.testing.assert_array_equal(drawn.render(), first)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_residual_of_a_blur_does_not_find_the_defects(category: str) -> None:
    folders = [(GOOD, 12), *((kind, 8) for kind in DEFECTS[category])]
    anomalous = [kind != GOOD for kind, count in folders for _ in range(count)]
    images = [
        draw_sample(category, "test", kind, index).image.astype(np.float32) / 255
        for kind, count in folders
        for index in range(count)
    ]
    for sigma in (1, 2, 4, 8):
        scores = []
        for image in images:
            residual = np.abs(image - cv2.GaussianBlur(image, (0, 0), sigma)).mean(axis=-1)
            scores.append(image_score(cv2.GaussianBlur(residual, (0, 0), 4), min_area=13))
        assert roc_auc_score(anomalous, scores) <= 0.75, f"blur of sigma {sigma}"
