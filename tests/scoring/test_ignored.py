"""What is ignored: to the pixel, in the map, in the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import DataError, InputError
from ssae_tf.models.answer import Answer
from ssae_tf.ops.gaussian import gaussian_filter
from ssae_tf.ops.resampling import nearest
from ssae_tf.scoring.anomaly_map import anomaly_map
from ssae_tf.scoring.ignored import Ignored, counted_in
from stand_ins import grey_network

Make = Callable[..., Detector]


@pytest.fixture(scope="module")
def make() -> Make:
    """A detector with F(X) = 0.5 that ignores something."""
    model = grey_network()

    def made(mask: np.ndarray | None = None, border: int = 0, **scoring: Any) -> Detector:
        values = {"smoothing_sigma": 0.0, "border": border, **scoring}
        if mask is not None:
            values["ignore"] = "mask.png"
        config = from_dict({"scoring": values})
        return Detector(model, config, Calibration(0.1, 4, (0.1,)), ignore_mask=mask)

    return made


@pytest.fixture
def mask() -> np.ndarray:
    """Ignores rows 8 to 15 and columns 4 to 19 of 32 × 32."""
    found = np.zeros((32, 32), np.bool_)
    found[8:16, 4:20] = True
    return found


def part(rows: slice, columns: slice) -> np.ndarray:
    """A grey image of 32 × 32 with a white rectangle."""
    image = np.full((32, 32, 3), 0.5, np.float32)
    image[rows, columns] = 1.0
    return image


@pytest.mark.parametrize(
    ("size", "target"), [((5, 7), (13, 4)), ((9, 9), (9, 9)), ((1, 3), (8, 2))]
)
def test_nearest_takes_the_pixel_that_the_centre_falls_into(
    size: tuple[int, int], target: tuple[int, int], rng: np.random.Generator
) -> None:
    x = rng.integers(0, 99, (2, *size, 3))
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(size, target, strict=True)
    )
    np.testing.assert_array_equal(nearest(tf.constant(x), *target), x[:, rows][:, :, columns])


@pytest.mark.parametrize(("border", "left"), [(0, 7 * 11), (1, 5 * 9), (3, 1 * 5)])
def test_a_border_is_on_every_side(border: int, left: int) -> None:
    found = Ignored(border=border).pixels(7, 11)
    assert found.sum() == left
    assert found[border : 7 - border, border : 11 - border].all()


@pytest.mark.parametrize(("border", "size"), [(4, (7, 11)), (6, (40, 12))])
def test_a_border_that_leaves_nothing_is_refused(border: int, size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=rf"All of an image of {size[1]}×{size[0]} pixels"):
        Ignored(border=border).pixels(*size)


def test_a_mask_of_any_size_is_stretched(mask: np.ndarray) -> None:
    found = ~Ignored(mask).pixels(64, 96)
    assert found.sum() == 6 * mask.sum()
    assert found[16:32, 12:60].all()


def test_images_of_one_size_share_what_counts(mask: np.ndarray) -> None:
    sizes = [(side, side) for side in (32, 64, 32)]
    counted, which = counted_in(sizes, Ignored(mask, 2), (32, 32))
    assert which == [0, 1, 0]
    assert counted.shape == (2, 32, 32, 1)
    np.testing.assert_array_equal(counted[0, ..., 0] == 255, Ignored(mask, 2).pixels(32, 32))
    small, _ = counted_in(sizes, Ignored(border=4), (16, 16))
    # A border is one of the image, not of what it is resized to.
    assert [int((one > 0).sum()) for one in small] == [12 * 12, 14 * 14]


class TestTheMap:
    SCORING = from_dict({"scoring": {"smoothing_sigma": 2.0}}).scoring

    def found(self, evidence: np.ndarray, counted: np.ndarray) -> np.ndarray:
        x = tf.zeros((1, *evidence.shape, 1))
        answer = Answer(tf.constant(evidence[None, ..., None]), None, None)
        counts = tf.constant(counted[None, ..., None].astype(np.float32))
        return np.asarray(anomaly_map(answer, x, self.SCORING, counted=counts)[0])

    def test_ignored_evidence_does_not_leak(self, mask: np.ndarray, rng: np.random.Generator):
        evidence = rng.random((32, 32), dtype=np.float32)
        other = np.where(mask, np.float32(100.0), evidence)
        np.testing.assert_array_equal(
            self.found(evidence, ~mask)[~mask], self.found(other, ~mask)[~mask]
        )

    def test_evidence_beside_it_is_not_fainter(self, mask: np.ndarray):
        found = self.found(np.ones((32, 32), np.float32), ~mask)
        np.testing.assert_allclose(found[~mask], 1.0, rtol=1e-5)

    def test_far_from_it_nothing_changes(self, mask: np.ndarray, rng: np.random.Generator):
        evidence = rng.random((32, 32), dtype=np.float32)
        plain = gaussian_filter(evidence[None, ..., None], 2.0)[0, ..., 0]
        np.testing.assert_allclose(self.found(evidence, ~mask)[25:], plain[25:], rtol=1e-5)

    def test_a_pixel_between_ignored_ones_keeps_its_own(self):
        counted = np.zeros((32, 32), np.bool_)
        counted[11, 13] = True
        evidence = np.full((32, 32), 9.0, np.float32)
        evidence[11, 13] = 0.25
        found = self.found(evidence, counted)
        assert np.isfinite(found).all()
        assert found[11, 13] == pytest.approx(0.25, rel=1e-4)


class TestTheVerdict:
    def test_a_defect_inside_is_none(self, make: Make, mask: np.ndarray) -> None:
        image = part(slice(9, 15), slice(6, 18))
        assert make().predict(image).is_anomalous
        result = make(mask).predict(image)
        assert (result.is_anomalous, result.score, result.defects) == (False, 0.0, ())

    @pytest.mark.parametrize("scoring", [{}, {"smoothing_sigma": 1.0}])
    def test_a_defect_outside_is_the_same(
        self, scoring: dict[str, Any], make: Make, mask: np.ndarray
    ) -> None:
        image = part(slice(22, 27), slice(22, 27))
        expected, result = make(**scoring).predict(image), make(mask, **scoring).predict(image)
        assert result.is_anomalous
        assert result.score == pytest.approx(expected.score, rel=1e-5)
        np.testing.assert_array_equal(result.mask, expected.mask)

    def test_defects_have_no_pixels_there(self, make: Make, mask: np.ndarray) -> None:
        """Of one that lies half in it, also where the map is resized."""
        image = part(slice(12, 20), slice(10, 14))
        for scoring in ({}, {"smoothing_sigma": 1.0}, {"inspection_size": [16, 16]}):
            result = make(mask, **scoring).predict(image)
            assert result.is_anomalous
            assert (result.anomaly_map[mask] == 0.0).all()
            assert not result.mask[mask].any()
            assert result.mask[16:20, 10:14].all()

    def test_the_border_counts_pixels_of_the_image(self, make: Make) -> None:
        image = part(slice(0, 32), slice(0, 32))
        for scoring in ({}, {"inspection_size": [16, 24]}):
            found = make(border=3, **scoring).predict(image).mask
            assert found.sum() == 26 * 26
            assert found[3:29, 3:29].all()

    def test_a_hole_of_a_pixel_is_seen(self, make: Make) -> None:
        mask = np.ones((32, 32), np.bool_)
        mask[5, 9] = False
        detector = make(mask).replace(calibration=Calibration(0.1, 1, (0.1,)))
        result = detector.predict(part(slice(0, 32), slice(0, 32)))
        assert [defect.box for defect in result.defects] == [(9, 5, 1, 1)]

    def test_too_small_an_image_is_refused(self, make: Make) -> None:
        with pytest.raises(DataError, match="All of an image of 40×12 pixels is ignored"):
            make(border=6).predict(np.zeros((12, 40, 3), np.float32))

    def test_nothing_ignored_changes_nothing(self, make: Make, rng: np.random.Generator) -> None:
        image = rng.random((32, 32, 3), dtype=np.float32)
        expected = make(smoothing_sigma=1.5).inspect(image)[1]
        found = make(np.zeros((4, 4), np.bool_), smoothing_sigma=1.5).inspect(image)[1]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("named", [True, False])
def test_a_mask_and_its_setting_come_together(named: bool, mask: np.ndarray) -> None:
    config = from_dict({"scoring": {"ignore": "mask.png" if named else None}})
    with pytest.raises(InputError, match=r"exactly where `scoring\.ignore` names its file"):
        Detector(grey_network(), config, ignore_mask=None if named else mask)
