"""The gate: what is broken on purpose does not pass, and nothing of it is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mutations import seal
from ssae_tf.config import RunConfig, override
from ssae_tf.detector import Calibration, Detector
from ssae_tf.errors import InputError, RunError
from ssae_tf.export import make
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported, export
from ssae_tf.export.make import Request
from ssae_tf.export.parity import Case, Parity, cases, compare
from ssae_tf.progress import Reporter

Make = Callable[..., Exported]
QUIET = Reporter(quiet=True)


@pytest.fixture
def onnx_copy(make: Make, tmp_path: Path) -> Path:
    """An ONNX artefact that may be changed."""
    return shutil.copytree(make("onnx").folder, tmp_path / "artefact")


@pytest.fixture(scope="module")
def compared(validation: list[Path], trained: Detector) -> list[Case]:
    """The images of the gate."""
    return cases(validation, trained.config.data.white_level)


def _change_weights(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes the kernel of one convolution in both files of an ONNX artefact."""
    import onnx

    for name in ("model.onnx", "model_u8.onnx"):
        model = onnx.load(folder / name)
        weights = {one.name: one for one in model.graph.initializer}
        (kernel, *_) = (
            weights[node.input[1]]
            for node in model.graph.node
            if node.op_type == "Conv" and "bridge" in node.name
        )
        value = change(onnx.numpy_helper.to_array(kernel))
        kernel.CopyFrom(onnx.numpy_helper.from_array(value, kernel.name))
        onnx.save(model, folder / name)
    seal(folder)


def _compare(detector: Detector, folder: Path, compared: list[Case], tolerance: float) -> Parity:
    return compare(detector, Artefact.load(folder), compared, tolerance, QUIET)


def test_what_is_compared(validation: list[Path], compared: list[Case]) -> None:
    names = [case.name for case in compared]
    assert len(validation) == 3
    assert len(set(names)) == len(names) == 12
    assert [case.image.shape for case in compared] == [(64, 64, 3)] * 6 + [(39, 47, 3)] * 6
    for normal, corrupted in zip(compared[:3], compared[3:6], strict=True):
        assert 0.0 <= corrupted.image.min() < corrupted.image.max() <= 1.0
        assert not np.array_equal(normal.image, corrupted.image)
    again = cases(validation, 65535)
    other = cases(validation, 65535, seed=1)
    np.testing.assert_array_equal(again[4].image, compared[4].image)
    assert not np.array_equal(other[4].image, compared[4].image)
    fixed = cases(validation, 65535, image_size=(24, 40))
    assert [case.image.shape for case in fixed] == [(24, 40, 3)] * 6


def test_the_same_passes(onnx_copy: Path, trained: Detector, compared: list[Case]) -> None:
    parity = _compare(trained, onnx_copy, compared, 1e-3)
    assert parity.passed
    assert 0.0 < parity.map_mean < parity.map_largest < 1e-3
    assert "12 images of 64×64 and 39×47: map differs by" in parity.sentence()
    assert 0.0 < parity.map_deciding <= parity.map_largest


def test_many_sizes_are_summed_up() -> None:
    sizes = [(40, 30), (20, 70), (9, 9), (64, 64)]
    sentence = Parity(1.0, passed=True, n=8, sizes=sizes).sentence()
    assert sentence.startswith("8 images of 4 sizes from 9×9 to 64×64: map differs by")


def test_other_weights_do_not_pass(
    onnx_copy: Path, trained: Detector, compared: list[Case]
) -> None:
    _change_weights(onnx_copy, lambda kernel: kernel * 1.5)
    parity = _compare(trained, onnx_copy, compared, 5e-3)
    assert not parity.passed
    assert parity.map_largest > 5e-3
    assert any("The map differs by" in sentence for sentence in parity.failures)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_does_not_pass(
    value: float, onnx_copy: Path, trained: Detector, compared: list[Case]
) -> None:
    _change_weights(onnx_copy, lambda kernel: np.full_like(kernel, value))
    parity = _compare(trained, onnx_copy, compared, 1e9)
    assert not parity.passed
    assert "NaN or infinity" in parity.failures[0]


def test_flipped_verdicts(onnx_copy: Path, trained: Detector, compared: list[Case]) -> None:
    """A threshold that the detector has and the artefact has not, near the scores and far away."""
    artefact = Artefact.load(onnx_copy)
    # Its own verdicts: one image's score is the threshold, and may be rounded above it.
    verdicts = [artefact.predict(case.image).is_anomalous for case in compared]
    calibration = Calibration(artefact.threshold, artefact.min_area, ())
    moved = Detector(_grey(0.0), trained.config, calibration)
    # The other network's scores pass the threshold, the artefact's do not.
    flipped = [moved.predict(case.image).score > artefact.threshold for case in compared]
    flipped = [new != old for new, old in zip(flipped, verdicts, strict=True)]
    assert any(flipped)
    far = compare(moved, artefact, compared, 1e-5, QUIET)
    assert len(far.flipped) == sum(flipped)
    assert any("flipped, its score" in sentence for sentence in far.failures)
    # What lies within the tolerance is told, and passes.
    near = compare(moved, artefact, compared, 10.0, QUIET)
    assert near.passed
    assert near.flipped == far.flipped


def _grey(level: float) -> tf.keras.Model:
    """F(X) = level."""
    inputs = tf.keras.Input((None, None, 3))
    return tf.keras.Model(inputs, tf.keras.layers.Rescaling(0.0, level)(inputs))


class _Higher(Detector):
    """With maps that are a tenth higher everywhere."""

    def inspect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reconstruction, map_ = super().inspect(image)
        return reconstruction, np.float32(1.1) * map_


@pytest.mark.parametrize(("threshold", "passes"), [(1.0, False), (1e-2, True)])
def test_far_above_the_threshold_a_share_is_what_counts(
    threshold: float, passes: bool, onnx_copy: Path, trained: Detector, compared: list[Case]
) -> None:
    calibration = Calibration(threshold, 3, ())
    higher = _Higher(trained.model, trained.config, calibration)
    maps = [higher.inspect(case.image)[1] for case in compared]
    assert max(map_.max() for map_ in maps) > 0.1
    # A tenth of a low threshold that the maps are above, and of maps that reach none.
    parity = compare(higher, Artefact.load(onnx_copy), compared, 2e-3, QUIET)
    assert parity.map_deciding <= parity.map_largest
    assert (parity.map_deciding <= 2e-3) == passes


def test_a_verdict_that_is_not_the_maps(
    onnx_copy: Path, trained: Detector, compared: list[Case]
) -> None:
    """The graph's own `is_anomalous` counts too."""
    import onnx

    # At this threshold all images are anomalous.
    detector = trained.replace(calibration=Calibration(0.0, 3, ()))
    path = onnx_copy / "model.onnx"
    model = onnx.load(path)
    (limit,) = (one for one in model.graph.initializer if one.name == "given_threshold")
    limit.CopyFrom(onnx.numpy_helper.from_array(np.zeros(1, np.float32), limit.name))
    _save(model, onnx_copy, threshold=0.0)
    assert _compare(detector, onnx_copy, compared, 1e-3).passed
    # Now none is.
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == "is_anomalous":
                node.output[index] = "hidden"
    make = onnx.helper.make_node
    model.graph.node.append(make("Xor", ["hidden", "hidden"], ["is_anomalous"]))
    _save(model, onnx_copy)
    failures = _compare(detector, onnx_copy, compared, 1e-5).failures
    assert any("a given threshold is without effect" in one for one in failures)
    wrong = [one for one in failures if "the graph's verdict is not that of its own map" in one]
    assert len(wrong) == len(compared)


def _save(model: Any, folder: Path, **metadata: Any) -> None:
    import onnx

    onnx.save(model, folder / "model.onnx")
    path = folder / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | metadata))
    seal(folder)


def test_an_artefact_that_fails_on_an_image(onnx_copy: Path, trained: Detector) -> None:
    broken = [Case("wrong channels", np.zeros((8, 8, 4), np.float32))]
    parity = _compare(trained, onnx_copy, broken, 1.0)
    assert not parity.passed
    assert parity.failures[0].startswith("wrong channels: ")


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "caffe"},
        {"format": "onnx", "image_size": (0, 8)},
        {"format": "savedmodel", "warmup": -1},
        {"format": "onnx", "time_limit": float("nan")},
    ],
)
def test_requests_that_can_not_be(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"Expected .* Received: "):
        Request(**settings)


def test_a_failed_export_leaves_nothing(
    run_folder: Path, validation: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export whose network is not the detector's; both are small, so that it is quick."""
    config = override(RunConfig(), {"category": "tile"})
    detector = Detector(_grey(0.5), config, Calibration(0.1, 9, ()))
    detector.folded = _grey(0.4)
    monkeypatch.setattr(Detector, "load", lambda _: detector)
    monkeypatch.setattr(make, "SIGNATURES", ("serving_default",))
    out = tmp_path / "deep" / "tile"

    def attempt(**settings: Any) -> str:
        with pytest.raises(RunError) as caught:
            export(
                run_folder, Request("savedmodel"), validation, out=out, reporter=QUIET, **settings
            )
        return str(caught.value)

    message = attempt()
    assert message.startswith("The artefact does not judge as the detector does: ")
    assert message.endswith("nothing was written; --keep-failed keeps it.")
    assert list(tmp_path.iterdir()) == []

    message = attempt(keep_failed=True)
    assert message.endswith(f"it is kept in {out / '1.failed'}, marked as failed.")
    assert [path.name for path in out.iterdir()] == ["1.failed"]
    parity = json.loads((out / "1.failed" / "parity.json").read_text())
    assert not parity["passed"]
    assert parity["failures"]
    with pytest.raises(RunError, match="failed its check"):
        Artefact.load(out / "1.failed")
    assert Artefact.load(out / "1.failed", even_failed=True).metadata["format"] == "savedmodel"
