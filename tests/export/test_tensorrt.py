"""TensorRT without a GPU: probes that survive, engines built, and what is said of the rest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ssae_tf.detector import Detector
from ssae_tf.errors import MissingExtraError, RunError
from ssae_tf.export import child
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import Exported
from ssae_tf.export.formats import FORMATS, savedmodel, tensorrt
from ssae_tf.export.names import FLOAT, PICTURE
from ssae_tf.export.serving import Serving

RTX = "tensorrt_rtx_bindings"
HAS_TFTRT = tuple(int(part) for part in tf.__version__.split(".")[:2]) <= (2, 17)
PROFILE = tensorrt.Profile((1, 32, 32), (1, 64, 64), (2, 64, 64))

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec(RTX) is None, reason=f"{RTX} is not installed"
)


def _without_tensorrt() -> None:
    if importlib.util.find_spec("tensorrt") is not None or tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorRT is here")


def test_the_probe_says_what_is_missing() -> None:
    _without_tensorrt()
    builder, reason = tensorrt.find_builder("trt")
    assert builder is None
    version = tf.__version__
    expected = (
        f"TF-TRT of TensorFlow {version} finds no TensorRT library"
        if HAS_TFTRT
        else f"TensorFlow {version} has no TF-TRT, the last with it is 2.17"
    )
    assert reason == f"{expected}; tensorrt can't be imported"


@pytest.mark.skipif(not HAS_TFTRT, reason="gone from TensorFlow 2.18 on")
def test_the_probe_ends_its_own_process_only() -> None:
    """Asked without care for the version of a library that is not there, TensorFlow aborts."""
    _without_tensorrt()
    assert child.call("ssae_tf.export.formats.tensorrt:tftrt_version") == ""
    module = "tensorflow.compiler.tf2tensorrt._pywrap_py_utils"
    with pytest.raises(RunError, match=r"died \(SIGABRT\)"):
        child.call(f"{module}:get_loaded_tensorrt_version")


@pytest.fixture(scope="module")
def handed_over(trained: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel that TF-TRT gets."""
    folder = tmp_path_factory.mktemp("tftrt") / "saved_model"
    serving = Serving.of(trained)
    serving = Serving(**{**serving.__dict__, "has_verdict": False})
    savedmodel.write(folder, serving, trained.folded, None, (FLOAT,))
    return folder


@pytest.mark.skipif(not HAS_TFTRT, reason="gone from TensorFlow 2.18 on")
def test_tftrt_without_the_library_is_an_error(handed_over: Path, tmp_path: Path) -> None:
    _without_tensorrt()
    with pytest.raises(RunError) as caught:
        child.call(
            "ssae_tf.export.formats.tensorrt:convert_with_tftrt",
            saved_model=str(handed_over),
            out=str(tmp_path / "out"),
            precision="fp16",
            profile=PROFILE.to_dict(),
        )
    assert "not been built with TensorRT support" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_graph_handed_over(
    handed_over: Path, trained: Detector, rng: np.random.Generator
) -> None:
    """Frozen, as TF-TRT freezes it: no loops, no normalisation, and the detector's map."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf.saved_model.load(str(handed_over))
    frozen = convert_variables_to_constants_v2(model.signatures[FLOAT])
    graph = frozen.graph.as_graph_def()
    kinds = {node.op for node in graph.node}
    kinds |= {node.op for function in graph.library.function for node in function.node_def}
    assert {"Conv2D", "Conv2DBackpropInput", "BiasAdd", "Relu"} <= kinds
    unwanted = ("While", "Norm", "ToBatch", "BatchTo")
    assert not {kind for kind in kinds if any(one in kind for one in unwanted)}
    x = rng.random((2, 40, 48, 3), dtype=np.float32)
    names = sorted(model.signatures[FLOAT].structured_outputs)
    found = dict(zip(names, frozen(tf.constant(x)), strict=True))
    for index in range(2):
        expected = trained.predict(x[index]).anomaly_map
        np.testing.assert_allclose(found["anomaly_map"][index], expected, atol=1e-4)


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a plain install."""
    find_spec = importlib.util.find_spec
    missing = ("onnx", "onnxruntime", "tf2onnx", "tensorrt")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find_spec(name)
    )


def test_a_plain_install_hears_what_is_missing_for_each_road(without_onnx: None) -> None:
    _without_tensorrt()
    with pytest.raises(MissingExtraError) as caught:
        FORMATS["trt"].check()
    text = str(caught.value)
    assert text.startswith("--format trt finds neither of its roads: ")
    assert f"TensorFlow {tf.__version__}" in text
    assert "ONNX needs onnx, onnxruntime, tf2onnx: pip install 'ssae-tf[onnx]'" in text
    with pytest.raises(MissingExtraError, match="--format trt-rtx needs onnx"):
        FORMATS["trt-rtx"].check()


def test_tftrt_needs_no_onnx(without_onnx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it finds TensorRT, which no machine of the tests has."""
    monkeypatch.setattr(tensorrt, "probe_tftrt", lambda: ("8.6.1", ""))
    FORMATS["trt"].check()


@pytest.fixture(scope="module")
def exported(make: Callable[..., Exported]) -> Exported:
    """An engine where the builder is installed, else only what it would be built from."""
    return make("trt-rtx")


def test_without_a_builder_there_is_onnx(
    make: Callable[..., Exported], trained: Detector, rng: np.random.Generator
) -> None:
    _without_tensorrt()
    done = make("trt")
    folder = done.folder
    assert done.missing.startswith("No engine was built: ")
    assert done.missing.endswith(
        "; tensorrt can't be imported. On the GPU host, `pip install 'ssae-tf[trt]'` and this "
        f"command again, or `trtexec --onnx={folder / 'model.onnx'} "
        f"--saveEngine={folder / 'model.engine'} --minShapes=picture:1x32x32x3 "
        "--optShapes=picture:1x64x64x3 --maxShapes=picture:4x64x64x3 --noTF32`."
    )
    artefact = Artefact.load(folder)
    assert artefact.metadata["runtime"] == "onnxruntime"
    image = rng.random((20, 27, 3), dtype=np.float32)
    score = trained.predict(image).score
    assert artefact.predict(image).score == pytest.approx(score, abs=1e-4)


@needs_rtx
def test_an_engine_is_built_but_not_checked_without_a_gpu(exported: Exported) -> None:
    _without_tensorrt()
    engine = exported.folder / "model.engine"
    assert engine.stat().st_size > 10_000
    assert exported.missing == (
        f"{engine} was built but not checked, because no GPU here runs it; the ONNX file it was "
        "built from was."
    )
    artefact = Artefact.load(exported.folder)
    metadata = artefact.metadata
    assert metadata["runtime"] == "onnxruntime"
    assert metadata["gpu"] == ""
    assert metadata["builder"]["module"] == RTX
    assert metadata["profile"] == {
        "smallest": [1, 32, 32],
        "usual": [1, 64, 64],
        "largest": [4, 64, 64],
    }
    made = {name for name in metadata["files"] if not name.startswith("golden/")}
    assert made == {"model.onnx", "model_u8.onnx", "model.engine"}


@needs_rtx
def test_files_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RunError, match="TensorRT can't read the ONNX file"):
        child.call(
            "ssae_tf.export.formats.tensorrt:build_engine",
            module=RTX,
            onnx=str(tmp_path / "model.onnx"),
            out=str(tmp_path / "model.engine"),
            precision="fp32",
            profile=PROFILE.to_dict(),
        )
    assert not (tmp_path / "model.engine").exists()


@pytest.mark.parametrize("module", ["os", "numpy", "tensorrt.evil", "", "cuda.bindings.runtime"])
def test_no_other_module_is_imported(module: str, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"")
    with pytest.raises(RunError, match="Expected one of the modules tensorrt, tensorrt_rtx"):
        tensorrt.EngineRuntime(tmp_path, module)


def test_profiles() -> None:
    assert PROFILE.for_trtexec() == (
        f"--minShapes={PICTURE}:1x32x32x3 --optShapes={PICTURE}:1x64x64x3 "
        f"--maxShapes={PICTURE}:2x64x64x3"
    )
    for shapes in (
        ((1, 64, 64), (1, 32, 64), (1, 64, 64)),
        ((1, 8, 8), (4, 8, 8), (2, 8, 8)),
        ((0, 8, 8), (1, 8, 8), (1, 8, 8)),
        ((8, 8), (1, 8, 8), (1, 8, 8)),
    ):
        with pytest.raises(RunError, match="smallest ≤ usual ≤ largest"):
            tensorrt.Profile(*shapes)
