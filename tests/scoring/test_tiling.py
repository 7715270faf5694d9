"""Tiles give the map of the whole image where they overlap enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import ModelConfig, from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import RunError
from ssae_tf.models.answer import answer
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.ops.resampling import next_multiple
from ssae_tf.scoring.tiling import receptive_reach, tiled
from stand_ins import randomize


@pytest.fixture(scope="module")
def model() -> tf.keras.Model:
    """A tiny network whose dilated kernels see one cell to either side, at rate 1 only."""
    network = autoencoder(ModelConfig(width=0.0625), training_size=16)
    randomize(network)
    return network


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """(200, 331, 3): several tiles, of no multiple of anything."""
    return np.random.default_rng(0).random((200, 331, 3), dtype=np.float32)


def _detector(model: tf.keras.Model, **scoring: Any) -> Detector:
    config = from_dict({"scoring": {"smoothing_sigma": 1.0, **scoring}})
    weights = np.random.default_rng(1).uniform(0.5, 2.0, (64, 64)).astype(np.float32)
    return Detector(model, config, Calibration(0.1, 4, (0.1,)), weights)


def test_reach_by_hand(model: tf.keras.Model) -> None:
    # Encoder: (1 + 1 + 1) at 1 pixel, the same at 2 and at 4; four dilated layers and the bridge at
    # 8; decoder: 8 + 4 + 4, 4 + 2 + 2, 2 + 1 + 1.
    assert receptive_reach(model) == 3 * 7 + 5 * 8 + 16 + 8 + 4
    full = autoencoder(ModelConfig(width=0.0625), training_size=512)
    # The outermost tap of rate 16 is 32 cells away.
    assert receptive_reach(full) == 21 + 4 * 32 * 8 + 8 + 28


def test_nothing_beyond_the_reach_matters(model: tf.keras.Model) -> None:
    """And what lies halfway does, so that the bound is of the right size."""
    reach = receptive_reach(model)
    side = next_multiple(2 * reach + 40, 8)
    x = np.full((1, side, side, 3), 0.5, np.float32)
    base = model(x, training=False).numpy()
    at = side // 2
    x[0, at, at] = 1.0
    rows, columns = np.nonzero(np.abs(model(x, training=False).numpy() - base)[0].max(axis=-1))
    furthest = max(np.abs(rows - at).max(), np.abs(columns - at).max())
    assert reach / 2 < furthest <= reach


@pytest.fixture(scope="module", params=[1, 2, 4])
def gated(request: pytest.FixtureRequest) -> tf.keras.Model:
    """A tiny gated network for each context, whose two sub-networks both answer to the image."""
    config = ModelConfig(width=0.125, answer="gated", context=request.param)
    # Maps of two cells of Table 1: kernels of rate 1 see one to either side.
    network = autoencoder(config, training_size=16 * request.param, seed=1)
    randomize(network)
    return network


def test_reach_of_a_gated_network_by_hand() -> None:
    # U-Net: 2 and 2 at 1 and 2 pixels, pools and pairs at 2 … 16, up and once more, and up.
    unet = 2 + 2 + sum(level + 2 * 2 * level for level in (2, 4, 8, 16))
    unet += sum(2 * level + level for level in (16, 8, 4, 2)) + 2
    for context, expected in ((1, unet), (4, (4 - 1) + 4 * 89 + 4)):
        config = ModelConfig(width=0.0625, answer="gated", context=context)
        network = autoencoder(config, training_size=16 * context)
        assert receptive_reach(network) == expected


def test_nothing_beyond_the_reach_of_a_gated_network_matters(gated: tf.keras.Model) -> None:
    """Neither for A nor for G; and what lies beyond half of it does for one of them."""
    reach = receptive_reach(gated)
    side = next_multiple(2 * reach + 40, 32)
    x = np.random.default_rng(3).random((1, side, side, 3), dtype=np.float32)
    base = answer(gated(x, training=False))
    found = []
    # At the first and the last pixel of the cells.
    for at in (side // 2 // 32 * 32, side // 2 // 32 * 32 - 1):
        changed = x.copy()
        changed[0, at, at] = 50.0
        for part, before in zip(answer(gated(changed, training=False)), base, strict=True):
            rows, columns = np.nonzero(np.abs(part - before)[0].max(axis=-1))
            found.append(max(np.abs(rows - at).max(), np.abs(columns - at).max()))
    assert reach / 2 < max(found) <= reach
    # All have a say.
    assert min(found) > 32


@pytest.mark.parametrize(
    ("scoring", "side"),
    [
        ({}, 64),
        ({}, 96),
        # One tile is enough.
        ({}, 512),
        ({"margin": 0}, 128),
        ({"inspection_size": [120, 160]}, 64),
    ],
)
def test_the_map_of_the_whole(
    scoring: dict[str, Any], side: int, model: tf.keras.Model, image: np.ndarray
) -> None:
    detector = _detector(model, **scoring)
    reconstruction, map_ = detector.inspect(image)
    tiles = detector.tiles(side)
    assert (tiles.side, tiles.reach) == (side, receptive_reach(model))
    assert tiles.halo == next_multiple(tiles.reach, 8)
    in_tiles = detector.inspect(image, tiles)
    np.testing.assert_allclose(in_tiles[0], reconstruction, atol=1e-5)
    np.testing.assert_allclose(in_tiles[1], map_, atol=1e-5)
    result = detector.predict(image, tiles=tiles)
    assert result.score == pytest.approx(detector.predict(image).score, abs=1e-5)


def test_less_overlap_loses_the_less_the_more_there_is(
    model: tf.keras.Model, image: np.ndarray
) -> None:
    detector = _detector(model)
    expected = detector.inspect(image)[1]
    lost = [
        float(np.abs(detector.inspect(image, detector.tiles(64, halo))[1] - expected).max())
        for halo in (0, 16, 96)
    ]
    assert lost[0] > lost[1] > 1e-5 > lost[2]


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (3, 200)])
def test_small_images(shape: tuple[int, int], model: tf.keras.Model) -> None:
    detector = _detector(model)
    x = np.random.default_rng(2).random((*shape, 3), dtype=np.float32)
    tiles = detector.tiles(64)
    np.testing.assert_allclose(detector.inspect(x, tiles)[1], detector.inspect(x)[1], atol=1e-5)


def test_no_more_is_seen_than_a_tile_and_its_halo() -> None:
    seen: list[tuple[int, ...]] = []

    def network(x: tf.Tensor) -> tf.Tensor:
        seen.append(tuple(x.shape))
        return x

    x = tf.constant(np.random.default_rng(3).random((1, 160, 72, 3), dtype=np.float32))
    np.testing.assert_array_equal(tiled(network, 64, 16)(x), x)
    heights, widths = (80, 96, 48), (72, 24)
    assert seen == [(1, height, width, 3) for height in heights for width in widths]


def test_tiles_of_a_gated_network_begin_where_its_cells_do(gated: tf.keras.Model) -> None:
    context = 1
    if "context" in {layer.name for layer in gated.layers}:
        context = gated.get_layer("context").pool_size[0]
    config = from_dict(
        {
            "model": {"answer": "gated", "context": context},
            "scoring": {"evidence": "gate", "smoothing_sigma": 1.0},
        }
    )
    detector = Detector(gated, config, Calibration(0.1, 4, (0.1,)))
    tiles = detector.tiles(70, 33)
    assert (tiles.side, tiles.halo) == (96, 64)
    tiles = detector.tiles(64)
    reach = receptive_reach(gated)
    assert tiles.halo == next_multiple(reach, 32)
    # Longer than a tile sees.
    image = np.random.default_rng(4).random((40, 2 * reach + 300, 3), dtype=np.float32)
    for found, expected in zip(
        detector.inspect(image, tiles), detector.inspect(image), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sides_and_halos_are_rounded_up(model: tf.keras.Model) -> None:
    tiles = _detector(model).tiles(65, 1)
    assert (tiles.side, tiles.halo) == (72, 8)


def test_none_where_the_whole_image_decides() -> None:
    values = {"width": 0.0625, "answer": "gated", "standardize": True}
    config = from_dict({"data": {"sampling": "resize"}, "model": values})
    detector = Detector(autoencoder(config.model, training_size=32), config)
    with pytest.raises(RunError, match="standardizes each image as a whole"):
        detector.tiles(64)


@pytest.mark.parametrize(("side", "halo"), [(63, None), (64, -1), (0, 8)])
def test_impossible_tiles(side: int, halo: int | None, model: tf.keras.Model) -> None:
    with pytest.raises(RunError, match="Expected tiles of at least 64 pixels"):
        _detector(model).tiles(side, halo)
