"""An exported detector: what its folder holds, and the detector's results from its graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssae_tf.detector import Detector, Result, as_unit, judged
from ssae_tf.errors import DataError, RunError, SsaeError, one_line
from ssae_tf.export.formats import FORMATS, Format
from ssae_tf.export.names import (
    ANOMALY_MAP,
    ENCODED,
    FLOAT,
    GIVEN_THRESHOLD,
    PICTURE,
    PIXELS,
    RECONSTRUCTION,
)
from ssae_tf.export.serving import float32_below
from ssae_tf.files import read_json
from ssae_tf.run_folder import METADATA_FILE, PARITY_FILE

SCHEMA_VERSION = 1


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
        threshold: the score above which a picture is anomalous.
        min_area: pixels that a defect must have.
        outline: the level of the map at which defects end; None is the threshold.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Loads the graph.

        Args:
            folder: of an artefact.
            metadata: the content of its metadata.json.

        Raises:
            RunError: the graph can't be loaded.
            MissingExtraError: its runtime is not installed.
        """
        self.folder = folder
        self.metadata = metadata
        self.format: Format = FORMATS[metadata["format"]]
        self.threshold = float(metadata["threshold"])
        self.min_area = int(metadata["min_area"])
        # Artefacts of earlier versions have none.
        outline = metadata.get("outline")
        self.outline = None if outline is None else float(outline)
        self.format.check()
        try:
            self._runtime = _runtime(metadata["runtime"], folder)
        except SsaeError:
            raise
        except Exception as error:
            raise RunError(f"{folder}: can't be loaded ({one_line(error)}).") from None

    @classmethod
    def load(cls, path: str | Path, *, even_failed: bool = False) -> Artefact:
        """Opens an artefact.

        Args:
            path: the folder with metadata.json, a file in it, or a folder of versions (NAME of
                NAME/1/), of which the newest is taken.
            even_failed: open also what failed its check against the detector.

        Raises:
            RunError: no artefact, or incomplete, altered, failed or damaged.
            MissingExtraError: its runtime is not installed.
        """
        folder = find(Path(path))
        if folder is None:
            raise RunError(f"{path}: has no {METADATA_FILE}, so this is no exported artefact.")
        metadata = read_json(folder / METADATA_FILE)
        _check(folder, metadata)
        if metadata.get("parity", {}).get("passed") is False and not even_failed:
            raise RunError(f"{folder}: failed its check against the detector ({PARITY_FILE}).")
        return cls(folder, metadata)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the pictures it takes; None for any."""
        size = self.metadata["inputs"]["image_size"]
        return None if size is None else (size[0], size[1])

    def predict(
        self, picture: str | Path | np.ndarray, *, threshold: float | None = None
    ) -> Result:
        """Inspects one picture, with the result of `Detector.predict`.

        The graph gives the map; score, defects and verdict follow from it by the area rule.

        Args:
            picture: a path, or (H, W, 3) or (H, W), uint8, uint16, or float in [0, 1], RGB.
            threshold: None for the artefact's own.

        Raises:
            DataError: the file can't be read, the array is none of the above, or the artefact
                takes pictures of another size.
            RunError: the graph fails, or answers with NaN.
        """
        path = "" if isinstance(picture, np.ndarray) else str(picture)
        x = as_unit(picture, self.metadata["inputs"]["white_level"])
        if self.image_size not in (None, x.shape[:2]):
            raise DataError(
                f"{path or 'The picture'}: {x.shape[0]}×{x.shape[1]} pixels, the artefact was "
                "exported for {}×{} only.".format(*self.image_size)
            )
        found = self.run(x[None])
        map_ = found[ANOMALY_MAP][0]
        if not np.isfinite(map_).all():
            raise RunError(f"{self.folder}: answers with NaN or infinity.")
        reconstruction = found.get(RECONSTRUCTION)
        return judged(
            path,
            x,
            None if reconstruction is None else reconstruction[0],
            map_,
            self.threshold if threshold is None else threshold,
            self.min_area,
            self.outline,
        )

    def run(self, pictures: np.ndarray, threshold: float | None = None) -> dict[str, np.ndarray]:
        """The graph's raw outputs.

        Args:
            pictures: (B, H, W, 3), float32 in [0, 1] or uint8, or (B,) objects, the bytes of
                picture files.
            threshold: that `is_anomalous` is judged by; None for the artefact's own.

        Returns:
            The outputs of `Serving.__call__` that the format has.

        Raises:
            RunError: the graph fails, or takes no such pictures or no threshold.
        """
        signature = {"u": PIXELS, "O": ENCODED}.get(pictures.dtype.kind, FLOAT)
        if signature not in self.metadata["signatures"]:
            raise RunError(f"{self.folder}: has no signature {signature}.")
        inputs = {PICTURE: pictures}
        if threshold is not None:
            if not self.format.takes_threshold:
                raise RunError(
                    f"{self.folder}: its graph takes no threshold; `predict` applies one."
                )
            inputs[GIVEN_THRESHOLD] = np.array([float32_below(threshold)], np.float32)
        try:
            return self._runtime.run(signature, inputs)
        except Exception as error:
            raise RunError(f"{self.folder}: fails on a picture ({one_line(error)}).") from None


def find(path: Path) -> Path | None:
    """The folder of an artefact, as `Artefact.load` takes it; None where there is none."""
    folder = path.parent if path.is_file() else path
    if (folder / METADATA_FILE).is_file():
        return folder
    versions = [one for one in versions_in(path) if (one / METADATA_FILE).is_file()]
    return max(versions, key=lambda one: int(one.name), default=None)


def versions_in(folder: Path) -> list[Path]:
    """The folders with a number for a name, which TF Serving takes for versions."""
    if not folder.is_dir():
        return []
    return [one for one in folder.iterdir() if one.name.isdecimal() and one.is_dir()]


def open_detector(path: str | Path) -> Detector | Artefact:
    """A run folder as a detector, or an artefact: both have `predict`.

    Raises:
        SsaeError: neither, or it can't be used.
    """
    return Detector.load(path) if find(Path(path)) is None else Artefact.load(path)


def file_hashes(folder: Path) -> dict[str, str]:
    """Path in a folder -> SHA-256 in hexadecimal, of all files but this module's own."""
    own = {METADATA_FILE, PARITY_FILE}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in own)
    return {path.relative_to(folder).as_posix(): _hash([path]) for path in paths}


def run_hash(run: Path, names: Iterable[str]) -> str:
    """SHA-256 in hexadecimal of some files of a run folder, one after the other."""
    return _hash(run / name for name in names)


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _check(folder: Path, metadata: Any) -> None:
    """Refuses what was not written by this package, or changed since: native code would crash."""
    path = folder / METADATA_FILE
    try:
        if metadata["schema_version"] != SCHEMA_VERSION:
            raise RunError(
                f"{path}: schema version {metadata['schema_version']}, this version of ssae_tf "
                f"reads {SCHEMA_VERSION}."
            )
        known = FORMATS[metadata["format"]]
        recorded = dict(metadata["files"])
        if metadata["precision"] not in known.shares or metadata["runtime"] not in _RUNTIMES:
            raise KeyError("precision or runtime")
        float(metadata["threshold"]), int(metadata["min_area"]), list(metadata["signatures"])
        if metadata.get("outline") is not None:
            float(metadata["outline"])
        metadata["inputs"]["image_size"], metadata["inputs"]["white_level"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not the metadata of an artefact ({error!r}).") from None
    for name, expected in recorded.items():
        if not (folder / name).is_file():
            raise RunError(f"{folder}: has no {name}, so the artefact is incomplete.")
        if _hash([folder / name]) != expected:
            raise RunError(f"{folder / name}: is not the file that was exported, but damaged.")


def _saved_model(folder: Path) -> Runtime:
    from ssae_tf.export.savedmodel import SavedModelRuntime

    return SavedModelRuntime(folder)


def _tflite(folder: Path) -> Runtime:
    from ssae_tf.export.tflite import TfliteRuntime

    return TfliteRuntime(folder)


def _onnx(folder: Path) -> Runtime:
    from ssae_tf.export.onnx import OnnxRuntime

    return OnnxRuntime(folder)


def _openvino(folder: Path) -> Runtime:
    from ssae_tf.export.openvino import OpenvinoRuntime

    return OpenvinoRuntime(folder)


def _engine(folder: Path) -> Runtime:
    from ssae_tf.export.tensorrt import EngineRuntime

    return EngineRuntime(folder, read_json(folder / METADATA_FILE)["builder"]["module"])


_RUNTIMES: dict[str, Callable[[Path], Runtime]] = {
    "savedmodel": _saved_model,
    "litert": _tflite,
    "onnxruntime": _onnx,
    "openvino": _openvino,
    "tensorrt": _engine,
}


def _runtime(name: str, folder: Path) -> Runtime:
    return _RUNTIMES[name](folder)
