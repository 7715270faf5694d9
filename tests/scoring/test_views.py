"""Test-time augmentation: which turns and mirror images, and what is made of their evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import RunConfig, ScoringConfig, from_dict, override
from ssae_tf.data.pipeline import Sampler
from ssae_tf.models.answer import Answer
from ssae_tf.scoring.anomaly_map import anomaly_map, inspect
from ssae_tf.scoring.views import View, views

SQUARE = {"stages": [{"size": 32, "batch_size": 1, "steps": 1}]}
TURNS, MIRRORS = ("rotate",), ("flip_horizontal", "flip_vertical")
DRAWN = [(), TURNS, MIRRORS[:1], MIRRORS[1:], MIRRORS, (*TURNS, *MIRRORS[:1]), (*TURNS, *MIRRORS)]


def config_of(*drawn: str, **scoring: Any) -> RunConfig:
    data = {name: name in drawn for name in (*TURNS, *MIRRORS)}
    scoring = {"smoothing_sigma": 0.0, "test_time_augmentation": True, **scoring}
    return from_dict({"data": data, "training": SQUARE, "scoring": scoring})


def corners(config: RunConfig) -> list[str]:
    """The corners of an image, row by row, as each view shows them."""
    x = tf.reshape(tf.constant([ord(corner) for corner in "abcd"], tf.int32), (1, 2, 2, 1))
    return ["".join(map(chr, view.apply(x).numpy().ravel())) for view in views(config)]


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ((), ["abcd"]),
        (MIRRORS[:1], ["abcd", "badc"]),
        (MIRRORS[1:], ["abcd", "cdab"]),
        (MIRRORS, ["abcd", "badc", "cdab", "dcba"]),
        (TURNS, ["abcd", "dcba", "bdac", "cadb"]),
        ((*TURNS, *MIRRORS), ["abcd", "dcba", "bdac", "cadb"]),
    ],
)
def test_views_by_hand(drawn: tuple[str, ...], expected: list[str]) -> None:
    assert corners(config_of(*drawn)) == expected


@pytest.mark.parametrize("size", ["native", [32, 64]])
def test_only_squares_are_turned_by_a_quarter(size: Any) -> None:
    assert corners(config_of(*TURNS, inspection_size=size)) == ["abcd", "dcba"]
    both = corners(config_of(*TURNS, *MIRRORS, inspection_size=size))
    assert both == ["abcd", "badc", "cdab", "dcba"]
    # Turned by 180°, one mirror image is the other.
    assert corners(config_of(*TURNS, *MIRRORS[:1], inspection_size=size)) == both
    assert corners(config_of(*TURNS, *MIRRORS[1:], inspection_size=size)) == both


@pytest.mark.parametrize("drawn", DRAWN, ids="+".join)
def test_training_draws_every_view(rng: Any, drawn: tuple[str, ...]) -> None:
    config = config_of(*drawn)
    image = rng.integers(0, 255, (1, 4, 4, 3)).astype(np.uint8)
    batches = Sampler(image, 8, config.data, seed=(0,)).batches(0, 10)
    trained = {one.tobytes() for _, x in batches for one in x.numpy()}
    x = tf.constant(image, tf.float32) / 255.0
    assert {view.apply(x).numpy().tobytes() for view in views(config)} <= trained


def test_off_there_is_the_image_alone() -> None:
    config = config_of(*TURNS, *MIRRORS, test_time_augmentation=False)
    assert views(config) == (View(),)
    assert not RunConfig().scoring.test_time_augmentation


@pytest.mark.parametrize("shape", [(2, 5, 5, 3), (1, 1, 1, 1), (3, 4, 6, 2)])
@pytest.mark.parametrize("drawn", DRAWN, ids="+".join)
def test_what_is_seen_is_put_back(rng: Any, drawn: tuple[str, ...], shape: tuple[int, ...]) -> None:
    x = rng.random(shape, np.float32)
    for view in views(config_of(*drawn)):
        np.testing.assert_array_equal(view.invert(view.apply(tf.constant(x))), x)


def ramp(x: tf.Tensor) -> tf.Tensor:
    """A network whose error grows to the right, whatever it sees, and with what it sees."""
    columns = tf.cast(tf.range(tf.shape(x)[2]), tf.float32)[:, None]
    return x * 0.5 + columns / 100.0


def error_of(x: np.ndarray) -> np.ndarray:
    return np.abs(ramp(tf.constant(x)).numpy() - x).mean(axis=-1)


def test_the_map_is_the_mean_of_numpys_turns(rng: Any) -> None:
    x = rng.random((2, 32, 32, 3), np.float32)
    reconstruction, map_ = inspect(ramp, tf.constant(x), config_of(*TURNS, *MIRRORS))
    turned = [np.rot90(error_of(np.rot90(x, k, (1, 2))), -k, (1, 2)) for k in range(4)]
    np.testing.assert_allclose(map_, np.mean(turned, axis=0), atol=1e-6)
    # The reconstruction is that of the image as it is.
    np.testing.assert_array_equal(reconstruction, ramp(tf.constant(x)))


def test_the_gate_of_every_view_is_evidence(rng: Any) -> None:
    """Of a network whose gate is the red channel on the left, and 0 on the right."""
    changes = {"model.answer": "gated", "scoring.evidence": "gate"}
    config = override(config_of(*MIRRORS[:1]), changes)

    def gated(x: tf.Tensor) -> tf.Tensor:
        gate = x[..., :1] * tf.cast(tf.range(tf.shape(x)[2]) < 16, tf.float32)[:, None]
        return tf.concat([x, gate, x], axis=-1)

    x = rng.random((2, 32, 32, 3), np.float32)
    # Each side is on the left once.
    reconstruction, map_ = inspect(gated, tf.constant(x), config)
    np.testing.assert_allclose(map_, x[..., 0] / 2.0, atol=1e-6)
    np.testing.assert_array_equal(reconstruction, x)


@pytest.mark.parametrize("size", [(32, 32), (17, 40), (1, 1)])
def test_the_map_is_the_mean_of_numpys_mirror_images_in_graphs_of_any_size(
    rng: Any, size: tuple[int, int]
) -> None:
    config = config_of(*MIRRORS, inspection_size="native")
    graph = tf.function(
        lambda x: inspect(ramp, x, config),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
    )
    x = rng.random((3, *size, 3), np.float32)
    mirrored = [np.flip(error_of(np.flip(x, axes)), axes) for axes in ((), (1,), (2,), (1, 2))]
    np.testing.assert_allclose(graph(x)[1], np.mean(mirrored, axis=0), atol=1e-6)


def test_what_is_ignored_stays_where_it_is_in_the_image(rng: Any) -> None:
    x = tf.constant(rng.random((1, 32, 32, 3), np.float32))
    counted = np.ones((1, 32, 32, 1), np.float32)
    counted[:, :, :4] = 0.0
    config = config_of(*TURNS, smoothing_sigma=1.0)
    map_ = inspect(ramp, x, config, tf.constant(counted))[1].numpy()
    # Smoothed by itself, after the mean over the views.
    evidence = inspect(ramp, x, config_of(*TURNS))[1].numpy()[..., None]
    gate = Answer(x, tf.constant(np.where(counted > 0, evidence, 7.0)), x)
    scoring = ScoringConfig(evidence="gate", smoothing_sigma=1.0)
    expected = anomaly_map(gate, x, scoring, tf.constant(counted)).numpy()
    np.testing.assert_allclose(map_[:, :, 4:], expected[:, :, 4:], atol=1e-6)
