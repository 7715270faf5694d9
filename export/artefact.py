"""An exported detector: what its folder holds, and the detector's results from its graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssae_tf.config.arguments import checked
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError, SsaeError, one_line
from ssae_tf.export.formats import FORMATS, Format, onnx, openvino, tensorrt, tflite
from ssae_tf.export.manifest import check_sums
from ssae_tf.export.metadata import Metadata
from ssae_tf.export.names import (
    ANOMALY_MAP,
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    PICTURE,
    PIXELS,
    RECONSTRUCTION,
)
from ssae_tf.files import read_json
from ssae_tf.result import Image, Result, as_unit, path_of, post_process
from ssae_tf.run_folder import METADATA_FILE, PARITY_FILE, SUMS_FILE
from ssae_tf.schemas import check
from ssae_tf.scoring.threshold import float32_below


class Runtime(Protocol):
    """Runs an artefact's graph."""

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one call, by name."""


class Artefact:
    """An exported detector with its runtime.

    Attributes:
        folder: with metadata.json.
        metadata: its content.
        format: of the graph.
        threshold: the score above which an image is anomalous.
        min_area: pixels that a defect must have.
        outline: the share of its peak at which a defect ends; None ends it at the threshold.
        review_threshold: the score above which an image is to be reviewed; None for no such level.
        good_scores: what p-values come from; none for none.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Loads the graph.

        Args:
            folder: of an artefact.
            metadata: the content of its metadata.json.

        Raises:
            RunError: it is not such content, or the graph can't be loaded.
            MissingExtraError: its runtime is not installed.
        """
        checked = check(metadata, Metadata, folder / METADATA_FILE)
        self.folder = folder
        self.metadata = metadata
        self.format: Format = FORMATS[checked.format]
        self.threshold = checked.threshold
        self.min_area = checked.min_area
        self.outline = checked.outline
        self.review_threshold = checked.review_threshold
        self.good_scores = checked.good_scores
        self.format.check()
        try:
            self._runtime = _runtime(metadata["runtime"], folder)
        except SsaeError:
            raise
        except Exception as error:
            raise RunError(f"{folder}: can't be loaded ({one_line(error)}).") from None

    @classmethod
    @checked
    def load(cls, path: str | Path, *, even_failed: bool = False) -> Artefact:
        """Opens an artefact.

        Args:
            path: the folder with metadata.json, a file in it, or a folder of versions (NAME of
                NAME/1/), of which the newest is taken.
            even_failed: open also what failed its check against the detector, or had none yet.

        Raises:
            RunError: no artefact, or incomplete, altered, failed or damaged.
            MissingExtraError: its runtime is not installed.
        """
        folder = find(Path(path))
        if folder is None:
            raise RunError(f"{path}: has no {METADATA_FILE}, so this is no exported artefact.")
        metadata = read_json(folder / METADATA_FILE)
        checked = check(metadata, Metadata, folder / METADATA_FILE)
        # Before any loader sees the files: native code crashes on damaged ones.
        listed = check_sums(folder, (METADATA_FILE, *_RUNTIMES[checked.runtime][1]))
        own = (METADATA_FILE, PARITY_FILE)
        if checked.files != {name: listed[name] for name in listed if name not in own}:
            raise RunError(f"{folder / METADATA_FILE}: its files are not those of {SUMS_FILE}.")
        if not even_failed and not (checked.parity and checked.parity.passed):
            raise RunError(f"{folder}: failed its check against the detector ({PARITY_FILE}).")
        return cls(folder, metadata)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the images it takes; None for any."""
        size = self.metadata["inputs"]["image_size"]
        return None if size is None else (size[0], size[1])

    def predict(self, image: Image, *, threshold: float | None = None) -> Result:
        """Inspects one image, with the result of `Detector.predict`.

        The graph gives the map; score, defects and verdict follow from it by the area rule.

        Args:
            image: as `Detector.predict` takes it.
            threshold: in place of the artefact's own and of its level of review; None for these.

        Raises:
            DataError: the file can't be read, the array is none of the above, or the artefact
                takes images of another size.
            InputError: the threshold is no finite number of at least 0.
            RunError: the graph fails, or answers with no map of the image.
        """
        path = path_of(image)
        x = as_unit(image, self.metadata["inputs"]["white_level"])
        if self.image_size not in (None, x.shape[:2]):
            raise DataError(
                f"{f'{path}: ' if path else ''}{x.shape[0]}×{x.shape[1]} pixels, the artefact was "
                "exported for {}×{} only.".format(*self.image_size)
            )
        ignored = self.metadata.get("ignored")
        if ignored and 2 * ignored["border"] >= min(x.shape[:2]):
            raise DataError(
                f"{f'{path}: ' if path else ''}all of {x.shape[1]}×{x.shape[0]} pixels is ignored "
                f"(border {ignored['border']}): expected a larger image."
            )
        outputs = self.run(x[None])
        if len(outputs.get(ANOMALY_MAP, ())) != 1:
            raise RunError(f"{self.folder}: answers without a map of the image.")
        reconstruction = outputs.get(RECONSTRUCTION)
        return post_process(
            path,
            x,
            None if reconstruction is None else reconstruction[0],
            outputs[ANOMALY_MAP][0],
            self.threshold if threshold is None else threshold,
            self.min_area,
            self.outline,
            review_threshold=self.review_threshold if threshold is None else None,
            good_scores=self.good_scores,
            source=str(self.folder),
        )

    def run(self, images: np.ndarray, threshold: float | None = None) -> dict[str, np.ndarray]:
        """The graph's raw outputs.

        Args:
            images: (B, H, W, 3), float32 in [0, 1] or uint8, or (B,) objects, the bytes of
                image files.
            threshold: that `is_anomalous` is judged by; None for the artefact's own.

        Returns:
            The outputs of `Serving.__call__` that the format has.

        Raises:
            RunError: the graph fails, or takes no such images or no threshold.
        """
        signature = {"u": PIXELS, "O": ENCODED}.get(images.dtype.kind, FLOAT)
        if signature not in self.metadata["signatures"]:
            raise RunError(f"{self.folder}: has no signature {signature}.")
        inputs = {PICTURE: images}
        if threshold is not None:
            if not self.format.takes_threshold:
                raise RunError(
                    f"{self.folder}: its graph takes no threshold; `predict` applies one."
                )
            inputs[GIVEN_THRESHOLD] = np.array([float32_below(threshold)], np.float32)
        try:
            return self._runtime.run(signature, inputs)
        except Exception as error:
            raise RunError(f"{self.folder}: fails on an image ({one_line(error)}).") from None


def find(path: Path) -> Path | None:
    """The folder of an artefact, as `Artefact.load` takes it; None where there is none.

    Raises:
        RunError: the path can't be looked at.
    """
    try:
        folder = path.parent if path.is_file() else path
        if (folder / METADATA_FILE).is_file():
            return folder
        versions = [one for one in versions_in(path) if (one / METADATA_FILE).is_file()]
    except OSError as error:
        raise RunError(f"{path}: can't be opened ({error.strerror}).") from None
    return max(versions, key=lambda one: int(one.name), default=None)


def versions_in(folder: Path) -> list[Path]:
    """The folders with a number for a name, which TF Serving takes for versions."""
    if not folder.is_dir():
        return []
    return [one for one in folder.iterdir() if one.name.isdecimal() and one.is_dir()]


@checked
def open_detector(path: str | Path) -> Detector | Artefact:
    """A run folder as a detector, or an artefact: both have `predict`.

    Raises:
        SsaeError: neither, or it can't be used.
    """
    return Detector.load(path) if find(Path(path)) is None else Artefact.load(path)


def _saved_model(folder: Path) -> Runtime:
    from ssae_tf.export.formats.savedmodel import SavedModelRuntime

    return SavedModelRuntime(folder)


def _engine(folder: Path) -> Runtime:
    module = read_json(folder / METADATA_FILE)["builder"]["module"]
    return tensorrt.EngineRuntime(folder, module)


# What loads each runtime's files, and those that there must be.
_RUNTIMES: dict[str, tuple[Callable[[Path], Runtime], tuple[str, ...]]] = {
    "savedmodel": (_saved_model, ("saved_model.pb",)),
    "litert": (tflite.TfliteRuntime, (tflite.FILE,)),
    "onnxruntime": (onnx.OnnxRuntime, tuple(onnx.FILES.values())),
    "openvino": (openvino.OpenvinoRuntime, tuple(openvino.FILES.values())),
    "tensorrt": (_engine, (tensorrt.ENGINE,)),
}


def _runtime(name: str, folder: Path) -> Runtime:
    return _RUNTIMES[name][0](folder)
