"""What the tests of the export share: artefacts, each made once in all tests."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from mutations import Server
from ssae_tf.config import from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.export.build import Exported, export
from ssae_tf.export.formats import FORMATS
from ssae_tf.export.make import Maker, Request
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.models.blocks import BatchNormalization
from ssae_tf.progress import Reporter
from ssae_tf.run_data import run_split
from stand_ins import randomize

Make = Callable[..., Exported]


@pytest.fixture(scope="session")
def validation(run_folder: Path, trained: Detector) -> list[Path]:
    """The run's validation images."""
    split = run_split(run_folder, trained.config)[1]
    return [sample.path for sample in split.calibrate]


@pytest.fixture(scope="session")
def make(
    run_folder: Path,
    trained: Detector,
    validation: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Make:
    """Exports the shared run; the same request gives the same artefact: copy it to change it.

    TFLite's converter in float32 has a process of its own, as all have outside of tests; the others
    would only import TensorFlow once more.
    """
    made: dict[Request, Exported] = {}
    files: list[Path] = []
    convert = Maker.onnx_without_verdict

    def convert_once(maker: Maker, out: Path) -> None:
        # Three formats start from the same files.
        if files:
            shutil.copytree(files[0], out, dirs_exist_ok=True)
            return
        convert(maker, out)
        files.append(tmp_path_factory.mktemp("onnx"))
        shutil.copytree(out, files[0], dirs_exist_ok=True)

    def exported(format_name: str, precision: str | None = None) -> Exported:
        request = Request(format_name, precision or FORMATS[format_name].precisions[0])
        if request not in made:
            out = tmp_path_factory.mktemp("artefacts") / "tile"
            with pytest.MonkeyPatch.context() as patch:
                # Tracing the network again would take longer than comparing.
                patch.setattr(Detector, "load", lambda _: trained)
                patch.setattr(Maker, "onnx_without_verdict", convert_once)
                if request != Request("tflite", "float32"):
                    patch.setattr(Maker, "call", _call_here)
                made[request] = export(
                    run_folder, request, validation, out=out, reporter=Reporter(quiet=True)
                )
        return made[request]

    return exported


@pytest.fixture(scope="session")
def call_here() -> Callable[..., Any]:
    """In place of `Maker.call`: converters in this process, without another start of TensorFlow."""
    return _call_here


def _call_here(_: Maker, function: str, **arguments: Any) -> Any:
    """`Maker.call` without a process."""
    module, name = function.split(":")
    given = {key: str(one) if isinstance(one, Path) else one for key, one in arguments.items()}
    with warnings.catch_warnings():
        # The converters' own, which nobody sees of a process.
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"ssae_tf.export.formats.{module}"), name)(**given)


_UNUSUAL: dict[str, dict[str, Any]] = {
    # No smoothing, single pixels count.
    "resized": {"inspection_size": [32, 48], "smoothing_sigma": 0.0, "reading": "euclidean"},
    "gated": {
        "smoothing_sigma": 1.0,
        "evidence": "gate",
        "outline": 0.5,
        "inspection_size": "native",
    },
}


@pytest.fixture(scope="session", params=list(_UNUSUAL))
def unusual(request: pytest.FixtureRequest) -> Detector:
    """Settings far from the defaults.

    The network is small, so that it converts quickly: what predicts a repair, and halves once. The
    gated one is our own.
    """
    settings: dict[str, Any] = {"scoring": _UNUSUAL[request.param]}
    if request.param == "gated":
        settings["model"] = {"width": 0.0625, "answer": "gated", "context": 2, "standardize": True}
        settings["training"] = {"stages": [{"size": 32, "batch_size": 1, "steps": 1}]}
    config = from_dict(settings)
    layers = tf.keras.layers
    initial = tf.keras.initializers.RandomNormal(stddev=0.5, seed=1)
    inputs = tf.keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, kernel_initializer=initial)(inputs)
    x = layers.ReLU()(BatchNormalization(name="first_norm")(x))
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", kernel_initializer=initial)(x)
    x = layers.Conv2D(3, 1, activation="tanh", name="reconstruction")(x)
    model = tf.keras.Model(inputs, layers.Add()([inputs, x]), name="ssae")
    if request.param == "gated":
        model = autoencoder(config.model, training_size=32)
    randomize(model)
    # Above the outline of a gate, so that defects reach beyond it.
    threshold = 0.55 if request.param == "gated" else 0.5
    return Detector(model, config, Calibration(threshold, 1, (threshold,)))


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers as each test says."""
    with contextlib.closing(Server()) as one:
        yield one
