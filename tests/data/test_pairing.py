from __future__ import annotations

from pathlib import Path

import pytest

from ssae_tf.data.pairing import Oddities, keys, pair, part_masks

TEST, TRUTH = Path("test/cut"), Path("ground_truth/cut")


def paired(images: list[str], masks: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Image -> mask by name, and what is said."""
    odd = Oddities()
    found = pair(
        keys([TEST / name for name in images], TEST),
        keys([TRUTH / name for name in masks], TRUTH),
        odd,
    )
    names = {
        image.relative_to(TEST).as_posix(): mask.relative_to(TRUTH).as_posix()
        for image, mask in found.items()
    }
    return names, odd.summed()


@pytest.mark.parametrize(
    "mask",
    [
        "0_mask.png",
        "0.png",
        "0.bmp",
        "0_GT.png",
        "0_label.tif",
        "0-mask.png",
        "0_Mask.PNG",
        "0/a.png",
    ],
)
def test_names_of_masks(mask: str) -> None:
    found, said = paired(["0.png"], [mask])
    assert found == {"0.png": "0" if "/" in mask else mask}
    assert said == ()


def test_the_name_of_mvtec_ad_comes_first() -> None:
    masks = ["0.png", "0/1.png", "0_gt.png", "0_mask.png"]
    found, said = paired(["0.png"], masks)
    assert found == {"0.png": "0_mask.png"}
    assert said == tuple(
        f"{TRUTH / mask}: left out, because 0_mask.png is there too." for mask in masks[:3]
    )


def test_of_two_masks_of_a_name_the_first_is_taken() -> None:
    found, said = paired(["0.png"], ["0_mask.bmp", "0_mask.png"])
    assert found == {"0.png": "0_mask.bmp"}
    assert said == (f"{TRUTH / '0_mask.png'}: left out, because 0_mask.bmp is there too.",)


def test_images_that_share_a_mask_are_named() -> None:
    found, said = paired(["0.jpg", "0.png"], ["0_mask.png"])
    assert found == {"0.jpg": "0_mask.png", "0.png": "0_mask.png"}
    assert said == (f"{TEST / '0.png'}: has the same mask as 0.jpg, 0_mask.png.",)


def test_masks_lie_where_their_images_do() -> None:
    found, said = paired(["a/0.png", "b/0.png"], ["0_mask.png", "b/0_mask.png"])
    assert found == {"b/0.png": "b/0_mask.png"}
    assert said == (f"{TRUTH / '0_mask.png'}: a mask without its image, left out.",)


def test_a_folder_of_images_is_no_folder_of_masks() -> None:
    found, _ = paired(["0.png", "0/a.png"], ["0/a.png"])
    assert found == {"0/a.png": "0/a.png"}


def test_an_image_may_be_named_like_a_mask() -> None:
    found, said = paired(["0-Mask.png"], ["0-Mask.png"])
    assert found == {"0-Mask.png": "0-Mask.png"}
    assert said == ()


def test_a_dot_in_a_name_is_no_suffix() -> None:
    assert paired(["a.b.png", "a.c.png"], ["a.b_mask.png", "a.c.png"]) == (
        {"a.b.png": "a.b_mask.png", "a.c.png": "a.c.png"},
        (),
    )


def test_masks_beside_their_images_are_no_images() -> None:
    names = ["0.png", "0_mask.png", "1.png", "1_GT.bmp", "2_mask.png", "in/0_mask.png"]
    images, masks = part_masks(keys([TEST / name for name in names], TEST))
    assert [path.relative_to(TEST).as_posix() for path in masks] == ["0_mask.png", "1_GT.bmp"]
    assert len(images) == 4
