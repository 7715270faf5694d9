from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssae_tf.data.mvtec import Category, Sample, load_category
from ssae_tf.data.split import Split, data_hash, split_names, split_normal
from ssae_tf.errors import DataError

ROOT = Path("/data/tile")


def category(count: int, validation: int = 0, root: Path = ROOT) -> Category:
    return Category(
        root=root,
        name="tile",
        train=tuple(Sample(root / f"train/good/{i:03}.png", "good") for i in range(count)),
        validation=tuple(
            Sample(root / f"validation/good/{i:03}.png", "good") for i in range(validation)
        ),
    )


def split(count: int, validation: int = 0, seed: int = 0, shares: tuple = (0.1, 0.1)) -> Split:
    return split_normal(category(count, validation), seed, *shares)


def parts(one: Split) -> list[set[Sample]]:
    return [set(one.train), set(one.select), set(one.calibrate)]


@pytest.mark.parametrize("count", [11, 12, 15, 28, 100, 333])
def test_enough_images_fall_into_three_disjoint_parts(count: int) -> None:
    done = split(count)
    train, select, calibrate = parts(done)
    assert len(select) == len(calibrate) == max(1, round(0.1 * count))
    assert len(train) + len(select) + len(calibrate) == count
    assert train | select | calibrate == set(category(count).train)
    assert done.notes == ()
    assert done.root == ROOT


def test_the_shares_count_each_for_itself() -> None:
    done = split(100, shares=(0.05, 0.3))
    assert [len(part) for part in parts(done)] == [65, 5, 30]


@pytest.mark.parametrize("validation", [0, 2])
@pytest.mark.parametrize("shares", [(0.001, 0.001), (0.1, 0.1), (0.49, 0.49), (0.001, 0.49)])
def test_no_part_is_ever_empty(validation: int, shares: tuple[float, float]) -> None:
    for count in range(1, 40):
        done = split(count, validation, shares=shares)
        assert all(parts(done))
        assert len(done.train) == len(set(done.train))


def of_parts(sizes: list[int], validation: int = 0) -> Category:
    """Parts of the product in so many images each."""
    names = [
        f"part{part}_view{view}.png" for part, size in enumerate(sizes) for view in range(size)
    ]
    train = tuple(Sample(ROOT / "train/good" / name, "good") for name in names)
    return Category(ROOT, "tile", train, category(0, validation).validation)


def parts_of_the_product(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.path.name.partition("_")[0] for sample in samples}


GROUP = r"^part(\d+)_"


@pytest.mark.parametrize("validation", [0, 2])
@pytest.mark.parametrize(
    "sizes", [[6] * 20, [1, 2, 3, 4, 5, 6, 7, 8], [40, 1, 1], [4, 4, 4], [3, 3], [1] * 30, [5, 2]]
)
def test_no_part_of_the_product_is_on_two_sides(sizes: list[int], validation: int) -> None:
    for seed in range(10):
        done = split_normal(of_parts(sizes, validation), seed, 0.1, 0.1, GROUP)
        if len(sizes) == 2 and sum(sizes) <= 10 and not validation:
            # The threshold takes all images of few.
            sides = [done.train, done.select]
        elif validation:
            sides = [done.train, done.select]
            assert len(done.calibrate) == validation
        else:
            sides = [done.train, done.select, done.calibrate]
        found = [parts_of_the_product(side) for side in sides]
        assert all(found)
        assert sum(map(len, found)) == len(set().union(*found)) == len(sizes)


def test_the_shares_are_as_near_as_groups_allow() -> None:
    for seed in range(10):
        done = split_normal(of_parts([6] * 20), seed, 0.1, 0.2, GROUP)
        assert [len(part) for part in parts(done)] == [84, 12, 24]
        # Half of 5 of 50 images is as near as 5, and one part is the fewest.
        done = split_normal(of_parts([5] * 10), seed, 0.02, 0.13, GROUP)
        assert [len(part) for part in parts(done)] == [40, 5, 5]


def test_groups_are_drawn_by_seed_alone() -> None:
    first, again, other = (
        split_normal(of_parts([6] * 20), seed, 0.1, 0.1, GROUP) for seed in (3, 3, 4)
    )
    assert first == again
    assert parts(first) != parts(other)


def test_an_image_that_no_group_matches_is_a_part_by_itself() -> None:
    for seed in range(10):
        done = split_normal(category(50), seed, 0.1, 0.1, "^(00)")
        first_ten = set(category(50).train[:10])
        assert sum(bool(part & first_ten) for part in parts(done)) == 1
        assert all(part - first_ten for part in parts(done)[:1])
        assert sum(map(len, parts(done))) == 50


@pytest.mark.parametrize(
    ("sizes", "validation", "words"),
    [
        ([24], 0, "of one part: training, the choice of the checkpoint and the threshold"),
        ([12, 12], 0, "of 2 parts: training, the choice of the checkpoint and the threshold"),
        ([24], 2, "of one part: training and the choice of the checkpoint share"),
    ],
)
def test_too_few_parts_are_shared_and_said(sizes: list[int], validation: int, words: str) -> None:
    given = of_parts(sizes, validation)
    done = split_normal(given, 0, 0.1, 0.1, GROUP)
    assert done.train == done.select == given.train
    assert done.calibrate == (given.validation or given.train)
    (note,) = done.notes
    assert note.startswith("All 24 good images are ")
    assert words in note


def test_a_group_that_no_name_has_is_refused() -> None:
    with pytest.raises(DataError, match=r"in none of the 20 file names, such as 000\.png"):
        split_normal(category(20), 0, 0.1, 0.1, r"part(\d+)")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_up_to_three_images_are_in_every_part(count: int) -> None:
    done = split(count)
    assert done.train == done.select == done.calibrate == category(count).train
    checkpoint, threshold = done.notes
    assert "checkpoint" in checkpoint
    assert "threshold" in threshold
    assert ("1 good image," if count == 1 else f"{count} good images,") in checkpoint


@pytest.mark.parametrize(("count", "unseen"), [(4, 1), (5, 1), (8, 2), (10, 2)])
def test_up_to_ten_images_share_those_kept_from_training(count: int, unseen: int) -> None:
    done = split(count)
    train, select, calibrate = parts(done)
    assert len(select) == unseen
    assert not train & select
    assert train | select == calibrate == set(category(count).train)
    (note,) = done.notes
    assert f"Of {count} good images {unseen} " in note
    assert f"the {count - unseen} that training has seen" in note


def test_of_few_images_at_most_half_are_kept_from_training() -> None:
    assert len(split(5, shares=(0.49, 0.49)).train) == 3


@pytest.mark.parametrize("count", [4, 10, 11, 100])
def test_validation_images_set_the_threshold_alone(count: int) -> None:
    done = split(count, validation=3)
    assert done.calibrate == category(count, 3).validation
    train, select, _ = parts(done)
    assert len(select) == max(1, round(0.1 * count))
    assert not train & select
    assert train | select == set(category(count).train)
    assert done.notes == ()


@pytest.mark.parametrize("count", [1, 3])
def test_validation_images_spare_the_note_on_the_threshold(count: int) -> None:
    done = split(count, validation=1)
    assert done.train == done.select == category(count).train
    assert done.calibrate == category(count, 1).validation
    (note,) = done.notes
    assert "checkpoint" in note


@pytest.mark.parametrize("count", [8, 30])
def test_the_split_follows_from_the_seed(count: int) -> None:
    assert split(count, seed=5) == split(count, seed=5)
    assert len({split(count, seed=seed).select for seed in range(20)}) > 10


@pytest.mark.parametrize("count", [8, 30])
def test_neither_order_nor_place_of_the_files_matters(count: int) -> None:
    straight = split_normal(category(count), 3, 0.1, 0.1)
    backward = Category(ROOT, "tile", category(count).train[::-1])
    elsewhere = category(count, root=Path("elsewhere"))
    for part, other in zip(
        parts(straight), parts(split_normal(backward, 3, 0.1, 0.1)), strict=True
    ):
        assert part == other
    assert split_names(straight) == split_names(split_normal(elsewhere, 3, 0.1, 0.1))


def test_the_split_is_the_same_on_every_machine() -> None:
    names = split_names(split(12, seed=1))
    assert names["select"] + names["calibrate"] == ["train/good/009.png", "train/good/000.png"]


def test_a_new_image_moves_few_others() -> None:
    before, after = parts(split(200)), parts(split(201))
    moved = sum(len(one - other) for one, other in zip(before, after, strict=True))
    assert moved <= 4


def test_the_parts_keep_the_order_of_the_category() -> None:
    for part in split_names(split(50)).values():
        assert part == sorted(part)


def test_every_image_is_seen_by_some_seed_in_every_part() -> None:
    seen = [set(), set(), set()]
    for seed in range(60):
        for all_of, part in zip(seen, parts(split(12, seed=seed)), strict=True):
            all_of |= part
    assert [len(all_of) for all_of in seen] == [12, 12, 12]


@pytest.mark.parametrize("shares", [(0, 0.1), (0.1, 0), (0.5, 0.1), (0.1, 0.5), (-1, 0.1)])
def test_shares_out_of_range(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"Expected 0 < .*_fraction < 0\.5\. Received"):
        split(20, shares=shares)


def test_a_category_without_images() -> None:
    with pytest.raises(ValueError, match="Received: 'tile'"):
        split(0)


def test_names_are_relative_to_the_category() -> None:
    assert split_names(split(1, validation=1)) == {
        "train": ["train/good/000.png"],
        "select": ["train/good/000.png"],
        "calibrate": ["validation/good/000.png"],
    }


def test_names_of_a_split_made_by_hand_are_the_paths() -> None:
    sample = Sample(Path("/x/a.png"), "good")
    assert split_names(Split((sample,), (sample,), (sample,)))["train"] == ["/x/a.png"]


# The fingerprint of a data set.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in [
        ("train/good/0.png", 1),
        ("train/good/1.png", 2),
        ("validation/good/0.png", 3),
        ("test/good/0.png", 4),
        ("test/cut/0.png", 5),
        ("ground_truth/cut/0_mask.png", 6),
    ]:
        path = tmp_path / "tile" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return tmp_path / "tile"


def test_the_fingerprint_does_not_depend_on_the_place(folder: Path) -> None:
    before = data_hash(load_category(folder))
    assert len(before) == 64
    moved = folder.rename(folder.parent / "moved")
    assert data_hash(load_category(moved)) == before


@pytest.mark.parametrize(
    "name",
    [
        "train/good/1.png",
        "validation/good/0.png",
        "test/good/0.png",
        "test/cut/0.png",
        "ground_truth/cut/0_mask.png",
    ],
)
def test_the_fingerprint_changes_with_any_file(folder: Path, name: str) -> None:
    before = data_hash(load_category(folder))
    (folder / name).write_bytes(b"another size")
    resized = data_hash(load_category(folder))
    (folder / name).unlink()
    removed = data_hash(load_category(folder))
    assert len({before, resized, removed}) == 3


def test_the_fingerprint_changes_with_a_name(folder: Path) -> None:
    before = data_hash(load_category(folder))
    (folder / "train/good/1.png").rename(folder / "train/good/2.png")
    assert data_hash(load_category(folder)) != before


def test_the_fingerprint_of_samples(folder: Path) -> None:
    loaded = load_category(folder)
    assert data_hash(loaded.train) == data_hash(reversed(loaded.train))
    assert data_hash(loaded.train) != data_hash(loaded.train[:1])
    assert data_hash(loaded.train) != data_hash(loaded)
    assert data_hash([]) == data_hash(())


def test_the_fingerprint_looks_into_folders_of_masks(folder: Path) -> None:
    masks = folder / "ground_truth/cut/0"
    masks.mkdir()
    (folder / "ground_truth/cut/0_mask.png").rename(masks / "000.png")
    one = data_hash(load_category(folder))
    (masks / "001.png").write_bytes(b"x")
    two = data_hash(load_category(folder))
    (masks / "001.png").write_bytes(b"another size")
    assert len({one, two, data_hash(load_category(folder))}) == 3


def test_names_that_are_not_utf_8_are_listed_and_hashed(folder: Path) -> None:
    before = data_hash(load_category(folder))
    odd = os.fsdecode(b"caf\xe9.png")
    (folder / "train/good/0.png").rename(folder / "train/good" / odd)
    loaded = load_category(folder)
    assert data_hash(loaded) != before
    assert f"train/good/{odd}" in split_names(split_normal(loaded, 0, 0.1, 0.1))["train"]


def test_a_file_that_is_gone_has_a_fingerprint(folder: Path) -> None:
    loaded = load_category(folder)
    before = data_hash(loaded)
    loaded.train[0].path.unlink()
    assert data_hash(loaded) != before
