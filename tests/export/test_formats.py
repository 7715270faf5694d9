"""Every format against the detector, each reloaded from its files in its own runtime."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.detector import Detector, Result
from ssae_tf.errors import MissingExtraError, RunError
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported, export
from ssae_tf.export.formats import FORMATS, Format, onnx, savedmodel, tflite
from ssae_tf.export.make import Maker, Request
from ssae_tf.export.names import (
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    NETWORK,
    PICTURE,
    PIXELS,
    WITH_THRESHOLD,
)
from ssae_tf.export.serving import Serving, float32_below
from ssae_tf.progress import Reporter

# Format, precision, largest difference of the map; what rounds is below.
EXPORTED = [
    ("savedmodel", "float32", 1e-3),
    ("tflite", "float32", 1e-3),
    ("onnx", "float32", 1e-3),
    ("openvino", "float32", 1e-3),
]
IDS = [f"{name}-{precision}" for name, precision, _ in EXPORTED]

Make = Callable[..., Exported]


@pytest.fixture(scope="module", params=EXPORTED, ids=IDS)
def loaded(request: pytest.FixtureRequest, make: Make) -> tuple[Artefact, float]:
    """An artefact, and how far its map may lie from the detector's."""
    name, precision, tolerance = request.param
    return Artefact.load(make(name, precision).folder), tolerance


def _close(result: Result, expected: Result, tolerance: float) -> None:
    np.testing.assert_allclose(result.anomaly_map, expected.anomaly_map, atol=tolerance)
    assert abs(result.score - expected.score) <= tolerance
    assert result.anomaly_map.shape == expected.anomaly_map.shape
    np.testing.assert_array_equal(result.image, expected.image)
    if tolerance <= 1e-3:
        assert result.reconstruction is not None
        # Rounding of twenty layers.
        np.testing.assert_allclose(result.reconstruction, expected.reconstruction, atol=3e-5)


@pytest.mark.parametrize("size", [(1, 1), (9, 64), (37, 91)])
def test_images_of_any_size(
    size: tuple[int, int],
    loaded: tuple[Artefact, float],
    trained: Detector,
    rng: np.random.Generator,
) -> None:
    artefact, tolerance = loaded
    flat = np.full((*size, 3), 128, np.uint8)
    for pixels in (flat, rng.integers(0, 256, (*size, 3)).astype(np.uint8)):
        _close(artefact.predict(pixels), trained.predict(pixels), tolerance)


def test_files_give_the_detectors_lines(
    loaded: tuple[Artefact, float], trained: Detector, sample_root: Path
) -> None:
    artefact, tolerance = loaded
    for path in sorted((sample_root / "tile" / "test").glob("*/000.png")):
        expected = trained.predict(path)
        # At half of its score every image has defects, whatever the format rounds.
        level = 0.5 * expected.score
        result = artefact.predict(path, threshold=level)
        _close(result, expected, tolerance)
        line, other = result.to_dict(), trained.predict(path, threshold=level).to_dict()
        assert line["is_anomalous"]
        for key in ("schema_version", "path", "threshold", "is_anomalous"):
            assert line[key] == other[key]
        assert line["defects"][0]["peak"] == pytest.approx(
            other["defects"][0]["peak"], abs=tolerance
        )
        if tolerance <= 1e-3:
            places = [
                [(one["box"], one["area"]) for one in each["defects"]] for each in (line, other)
            ]
            assert places[0] == places[1]


def test_raw_outputs(loaded: tuple[Artefact, float], rng: np.random.Generator) -> None:
    """Names, shapes and types; batches; the graph's verdict follows from its own map."""
    artefact, _ = loaded
    x = rng.random((3, 21, 30, 3), dtype=np.float32)
    found = artefact.run(x)
    types = {name: (value.dtype, value.shape) for name, value in found.items()}
    expected = {
        "anomaly_map": (np.float32, (3, 21, 30)),
        "score_bound": (np.float32, (3,)),
        "threshold": (np.float32, (3,)),
        "min_area": (np.int32, (3,)),
        "reconstruction": (np.float32, (3, 21, 30, 3)),
    }
    if artefact.format.has_verdict:
        expected["is_anomalous"] = (np.bool_, (3,))
    if artefact.format.name == "savedmodel":
        # Of the run's three calibration images, for clients.
        expected["good_scores"] = (np.float32, (3, 3))
    assert types == expected
    assert set(artefact.metadata["outputs"]) == set(expected)
    assert found["threshold"].tolist() == [float32_below(artefact.threshold)] * 3
    assert found["min_area"].tolist() == [artefact.min_area] * 3
    np.testing.assert_array_equal(found["score_bound"], found["anomaly_map"].max(axis=(1, 2)))
    for index in range(3):
        single = artefact.run(x[index : index + 1])
        np.testing.assert_allclose(single["anomaly_map"][0], found["anomaly_map"][index], atol=1e-4)
        if artefact.format.has_verdict:
            result = artefact.predict(x[index])
            assert bool(found["is_anomalous"][index]) == result.is_anomalous


def test_pixels_and_floats_give_the_same(
    loaded: tuple[Artefact, float], rng: np.random.Generator
) -> None:
    artefact, _ = loaded
    pixels = rng.integers(0, 256, (2, 16, 24, 3)).astype(np.uint8)
    one = artefact.run(pixels)["anomaly_map"]
    other = artefact.run(pixels.astype(np.float32) / np.float32(255))["anomaly_map"]
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_another_threshold_needs_no_export(
    loaded: tuple[Artefact, float], rng: np.random.Generator
) -> None:
    artefact, _ = loaded
    x = rng.random((40, 40, 3), dtype=np.float32)
    score = artefact.predict(x).score
    for threshold in (score, math.nextafter(score, 0.0), math.nextafter(score, 1.0)):
        expected = score > threshold
        assert artefact.predict(x, threshold=threshold).is_anomalous == expected
        if artefact.format.takes_threshold:
            found = artefact.run(x[None], threshold=threshold)
            assert bool(found["is_anomalous"][0]) == expected
        else:
            with pytest.raises(RunError, match="takes no threshold; `predict` applies one"):
                artefact.run(x[None], threshold=threshold)


def test_what_stands_beside(loaded: tuple[Artefact, float], run_folder: Path) -> None:
    artefact, tolerance = loaded
    metadata = artefact.metadata
    calibration = json.loads((run_folder / "calibration.json").read_text())
    assert metadata["threshold"] == calibration["threshold"]
    assert metadata["min_area"] == calibration["min_area"]
    assert metadata["inputs"]["colour_order"] == "RGB"
    assert len(metadata["run_hash"]) == 64
    assert {"ssae_tf", "tensorflow", "keras", "numpy", "python"} <= set(metadata["versions"])
    parity = json.loads((artefact.folder / "parity.json").read_text())
    assert parity["passed"]
    assert parity["map_largest"] <= tolerance
    assert parity["failures"] == []
    # Three images, a corrupted copy of each, and all of these at an odd size.
    assert parity["n"] == 12
    assert parity["sizes"] == [[64, 64], [39, 47]]
    assert metadata["parity"]["map_largest"] == parity["map_largest"]


def test_files_are_decoded_in_the_graph(make: Make, trained: Detector, sample_root: Path) -> None:
    artefact = Artefact.load(make("savedmodel").folder)
    paths = sorted((sample_root / "tile" / "test").glob("*/000.png"))
    contents = np.array([path.read_bytes() for path in paths], object)
    maps = artefact.run(contents)["anomaly_map"]
    for path, map_ in zip(paths, maps, strict=True):
        np.testing.assert_allclose(map_, trained.predict(path).anomaly_map, atol=1e-4)
    with pytest.raises(RunError, match="fails on an image"):
        artefact.run(np.array([b"no image"], object))


def test_signatures_of_a_saved_model(make: Make) -> None:
    names = {FLOAT, PIXELS, ENCODED}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(make("savedmodel").folder))
        found = {name for name in meta.signature_def if not name.startswith("__")}
        assert found == names | {name + WITH_THRESHOLD for name in names}
        shapes = {
            name: [dim.size for dim in one.inputs[PICTURE].tensor_shape.dim]
            for name, one in meta.signature_def.items()
            if name in names
        }
    assert shapes == {FLOAT: [-1, -1, -1, 3], PIXELS: [-1, -1, -1, 3], ENCODED: [-1]}


def test_weights_are_stored_once(make: Make, trained: Detector) -> None:
    folder = make("savedmodel").folder / "variables"
    stored = sum(path.stat().st_size for path in folder.glob("*.data-*"))
    assert stored < 4.4 * trained.model.count_params()


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_what_is_in_8_bits(precision: str, make: Make, validation: list[Path]) -> None:
    """The network alone where it is computed in integers; the gate judges like any other."""
    from ai_edge_litert import schema_py_generated as schema

    folder = make("tflite", precision).folder
    parity = json.loads((folder / "parity.json").read_text())
    assert parity["passed"]
    assert parity["n"] == 4 * len(validation)
    # It is no float file under another name.
    assert parity["map_largest"] > 1e-3
    model = schema.ModelT.InitFromPackedBuf((folder / "model.tflite").read_bytes(), 0)
    codes = [max(one.builtinCode, one.deprecatedBuiltinCode) for one in model.operatorCodes]
    kinds = schema.BuiltinOperator
    for signature in model.signatureDefs:
        graph = model.subgraphs[signature.subgraphIndex]
        assert schema.TensorType.INT8 in {one.type for one in graph.tensors if one.buffer}
        computed = [
            (graph.tensors[one.outputs[0]].type, graph.tensors[one.outputs[0]].name.decode())
            for one in graph.operators
            if codes[one.opcodeIndex] not in (kinds.QUANTIZE, kinds.DEQUANTIZE)
        ]
        inside = [
            kind
            for kind, name in computed
            if f"{NETWORK}/" in name and kind != schema.TensorType.INT32
        ]
        assert len(inside) > 30
        expected = schema.TensorType.INT8 if precision == "int8" else schema.TensorType.FLOAT32
        assert set(inside) == {expected}
        assert not [
            name
            for kind, name in computed
            if f"{NETWORK}/" not in name and kind == schema.TensorType.INT8
        ]


def test_int8_that_judges_otherwise_is_refused(
    make: Make,
    trained: Detector,
    validation: list[Path],
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is where the threshold is low beside what 8 bits cost."""
    folder = make("tflite", "int8").folder
    monkeypatch.setattr(Detector, "load", lambda _: trained)
    monkeypatch.setattr(
        Maker,
        "call",
        lambda maker, function, **arguments: shutil.copytree(
            folder,
            maker.scratch / "artefact",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("*.json", "SHA256SUMS"),
        ),
    )
    monkeypatch.setattr(Maker, "_saved_model", lambda *_: None)
    monkeypatch.setitem(FORMATS["tflite"].shares, "int8", 1e-4)
    with pytest.raises(RunError) as caught:
        export(
            run_folder,
            Request("tflite", "int8"),
            validation,
            out=tmp_path / "tile",
            reporter=Reporter(quiet=True),
        )
    assert "he map differs by" in str(caught.value)
    assert str(caught.value).endswith("nothing was written; --keep-failed keeps it.")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def unusual_model(unusual: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel of settings far from the defaults."""
    folder = tmp_path_factory.mktemp("unusual") / "saved_model"
    savedmodel.write(folder, Serving.of(unusual), unusual.folded, None, tflite.SIGNATURES)
    return folder


@pytest.fixture(scope="module")
def unusual_run(
    runtime: str, unusual_model: Path, unusual: Detector, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Callable[..., dict[str, np.ndarray]], float]:
    """What runs these settings in one of the runtimes; what the map may differ by, as a share."""
    folder = tmp_path_factory.mktemp("converted")
    if runtime == "savedmodel":
        return savedmodel.SavedModelRuntime(unusual_model).run, 1e-4
    if runtime == "onnx":
        onnx.convert(str(unusual_model), str(folder), 0.5)
        return onnx.OnnxRuntime(folder).run, 1e-4
    tflite.convert(str(unusual_model), str(folder), runtime)
    share = {"float32": 1e-4, "float16": 4e-2, "dynamic": 4e-2}[runtime]
    return tflite.TfliteRuntime(folder).run, share


# What rounds does so in the network: one of them will do.
@pytest.mark.parametrize(
    ("unusual", "runtime"),
    [
        *(("gated", name) for name in ("savedmodel", "float32", "float16", "dynamic", "onnx")),
        *(("resized", name) for name in ("savedmodel", "float32", "onnx")),
    ],
    indirect=["unusual"],
    scope="module",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_unusual_settings(
    unusual_run: tuple[Callable[..., dict[str, np.ndarray]], float],
    unusual: Detector,
    rng: np.random.Generator,
) -> None:
    """Resized, gated; single pixels count."""
    run, share = unusual_run
    for size in ((32, 48), (75, 41), (20, 90)):
        pixels = rng.integers(0, 256, (2, *size, 3)).astype(np.uint8)
        found = run(PIXELS, {PICTURE: pixels})
        for index in range(2):
            expected = unusual.predict(pixels[index])
            outline = unusual.config.scoring.outline
            assert found.get("outline", [None, None])[index] == outline
            assert expected.anomaly_map.std() > 0.005
            np.testing.assert_allclose(
                found["anomaly_map"][index],
                expected.anomaly_map,
                atol=share * expected.anomaly_map.max(),
            )
        # One pixel is above the second highest value.
        x = pixels.astype(np.float32) / np.float32(255)
        map_ = run(FLOAT, {PICTURE: x})["anomaly_map"]
        second, first = np.sort(map_[0].ravel())[-2:]
        limits = np.array([second, first], np.float32)
        twice = np.stack([x[0], x[0]])
        verdicts = run(FLOAT, {PICTURE: twice, GIVEN_THRESHOLD: limits})["is_anomalous"]
        assert verdicts.tolist() == [bool(first > second), False]


def test_what_is_not_installed_is_named() -> None:
    absent = Format("tflite", "", {"float32": 1.0}, "tflite", ("no_such_package",))
    with pytest.raises(MissingExtraError, match=r"needs no_such_package: pip install 'ssae-tf\["):
        absent.check()


def test_onnx_cuts_nothing_off_after_transposed_convolutions(make: Make) -> None:
    graph = pytest.importorskip("onnx").load(make("onnx").folder / onnx.FILES[FLOAT]).graph
    after = {name: node.op_type for node in graph.node for name in node.input}
    outputs = [node.output[0] for node in graph.node if node.op_type == "ConvTranspose"]
    assert [after[name] for name in outputs] == ["Relu"] * 3
    assert {one.name for one in graph.initializer} <= {*after}


def test_an_onnx_that_can_not_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip makes of `ssae-tf[onnx]` beside TensorFlow 2.15."""
    versions = {"onnx": "1.23.2", "ml_dtypes": "0.3.2"}
    monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
    with pytest.raises(MissingExtraError, match=r"pip install 'onnx==1\.18\.0'"):
        FORMATS["onnx"].check()
    versions["onnx"] = "1.18.0"
    FORMATS["onnx"].check()
