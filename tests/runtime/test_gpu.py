"""What GPUs are asked for: all that can be known without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.config import from_dict
from ssae_tf.data.cache import ImageCache
from ssae_tf.data.mvtec import load_category
from ssae_tf.detector import Detector
from ssae_tf.errors import InputError
from ssae_tf.export.formats import FORMATS
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.progress import Reporter
from ssae_tf.runtime.gpu import MEMORY_VARIABLE, set_up_gpus, use_tensor_float_32
from ssae_tf.scoring.anomaly_map import inspect
from ssae_tf.training.loop import Trainer
from stand_ins import randomize

is_tensor_float_32 = tf.config.experimental.tensor_float_32_execution_enabled


@pytest.fixture(autouse=True)
def _as_before() -> object:
    before = is_tensor_float_32()
    yield
    use_tensor_float_32(before)


@pytest.mark.parametrize("limit", [None, "", "4096"])
def test_without_a_gpu_nothing_is_set_up(
    limit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU is here")
    if limit is not None:
        monkeypatch.setenv(MEMORY_VARIABLE, limit)
    before = tf.config.list_logical_devices()
    set_up_gpus()
    assert tf.config.list_logical_devices() == before


@pytest.mark.parametrize("limit", ["0", "-1", "8GB", "1.5", "²"])
def test_a_limit_that_is_no_number_is_refused(
    limit: str, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, limit)
    with pytest.raises(InputError, match=f"{MEMORY_VARIABLE}: expected MiB.*'{limit}'"):
        Detector.load(run_folder)


def test_a_detector_multiplies_all_bits(run_folder: Path) -> None:
    use_tensor_float_32(True)
    Detector.load(run_folder)
    assert not is_tensor_float_32()


def test_training_may_round_whatever_ran_before(run_folder: Path, sample_root: Path) -> None:
    config = Detector.load(run_folder).config
    samples = load_category(sample_root, "tile").train
    cache = ImageCache(samples[:2])
    trainer = Trainer(cache, cache, config, Reporter(quiet=True))
    assert not is_tensor_float_32()
    trainer._step_of(config.training.stages[0])
    assert is_tensor_float_32()


def _to_ten_bits(x: np.ndarray) -> np.ndarray:
    """float32 as TensorFloat-32 has it: the mantissa rounded to 10 of 23 bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(np.float32)


def test_rounding_to_ten_bits_by_hand() -> None:
    x = np.float32([1.0, 1.0 + 2**-10, 1.0 + 2**-12, 1.0 + 3 * 2**-12, -3.0 - 2**-11])
    expected = np.float32([1.0, 1.0 + 2**-10, 1.0, 1.0 + 2**-10, -3.0])
    np.testing.assert_array_equal(_to_ten_bits(x), expected)


def _layer_by_layer(
    model: tf.keras.Model, rounded: Callable[[np.ndarray], np.ndarray]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """F with what its convolutions multiply rounded."""
    with_kernel = [layer for layer in model.layers if hasattr(layer, "kernel")]
    for layer in with_kernel:
        layer.kernel.assign(rounded(layer.kernel.numpy()))

    def network(x: tf.Tensor) -> tf.Tensor:
        values = {model.layers[0].name: x}
        for layer in model.layers[1:]:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            # The first entry of the history is the layer under both versions of Keras.
            given = [values[tensor._keras_history[0].name] for tensor in inputs]
            given = given if len(given) > 1 else given[0]
            if layer in with_kernel:
                given = tf.constant(rounded(given.numpy()))
            values[layer.name] = layer(given)
        return values[model.layers[-1].name]

    return network


def test_tensor_float_32_moves_a_map_by_more_than_an_export_may() -> None:
    """Emulated: what convolutions multiply is rounded as an Ampere GPU rounds it."""
    settings = {
        "model": {"width": 0.125, "answer": "gated", "context": 2},
        "scoring": {"evidence": "gate", "smoothing_sigma": 1.0},
        "training": {"stages": [{"size": 64, "batch_size": 1, "steps": 1}]},
    }
    config = from_dict(settings)
    model = autoencoder(config.model, training_size=64, seed=1)
    randomize(model)
    gate = model.get_layer("gate")
    # As sure as a trained one is.
    gate.set_weights([20.0 * value for value in gate.get_weights()])
    x = tf.constant(np.random.default_rng(0).random((1, 64, 64, 3), dtype=np.float32))

    def map_of(network: Callable[[tf.Tensor], tf.Tensor]) -> np.ndarray:
        return inspect(network, x, config)[1].numpy()

    expected = map_of(lambda given: model(given, training=False))
    assert np.ptp(expected) > 0.1
    tolerance = FORMATS["trt"].tolerance("fp32", threshold=0.5)
    exact = map_of(_layer_by_layer(model, lambda values: values))
    assert np.abs(exact - expected).max() < tolerance / 2
    moved = map_of(_layer_by_layer(model, _to_ten_bits))
    assert np.abs(moved - expected).max() > tolerance
