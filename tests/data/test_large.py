"""What large images lose at the inspection size, and what is proposed."""

from __future__ import annotations

import pytest

from ssae_tf.data.large import (
    cost_of_own_size,
    is_large,
    proposed_size,
    smallest_defect,
    what_helps,
    what_is_lost,
)


def test_two_megapixels_are_large() -> None:
    assert is_large((3000, 4000))
    assert not is_large((1000, 2000))
    assert is_large((1001, 2000))


@pytest.mark.parametrize(
    ("size", "inspected", "pixels"),
    [((3000, 4000), (256, 256), 47), ((1536, 1536), (256, 256), 18), ((200, 300), (100, 300), 6)],
)
def test_a_defect_must_have_three_pixels_where_it_is_seen(
    size: tuple[int, int], inspected: tuple[int, int], pixels: int
) -> None:
    assert smallest_defect(size, inspected) == pixels


@pytest.mark.parametrize(
    ("size", "proposed"),
    [((3000, 4000), (448, 576)), ((4000, 3000), (576, 448)), ((2000, 2000), (512, 512))],
)
def test_the_proposed_size_has_four_times_the_pixels_and_the_images_proportions(
    size: tuple[int, int], proposed: tuple[int, int]
) -> None:
    assert proposed_size(size, (256, 256)) == proposed
    assert proposed[0] * proposed[1] == pytest.approx(4 * 256**2, rel=0.1)
    assert proposed[0] / proposed[1] == pytest.approx(size[0] / size[1], rel=0.1)
    assert all(side % 32 == 0 for side in proposed)


def test_a_very_long_image_keeps_a_side() -> None:
    assert proposed_size((100, 400_000), (256, 256))[0] == 32


def test_sentences_name_sizes_cost_and_setting() -> None:
    lost = what_is_lost((3000, 4000), (256, 256))
    assert lost.startswith("Images of 4000 × 3000 are inspected at 256 × 256: ")
    assert "47 pixels of the image" in lost
    helps = what_helps((3000, 4000), (256, 256))
    assert "--set scoring.inspection_size=[448,576] shows defects of 21 pixels" in helps
    assert "4 times the time" in helps


def test_their_own_size_has_a_price() -> None:
    sentence = cost_of_own_size((3000, 4000), 256)
    assert sentence.startswith("Images of 4000 × 3000 are inspected at their own size: 183 times")
    assert "up to 16 times larger" in sentence
    assert "scoring.inspection_size=[448,576]" in sentence
