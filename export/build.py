"""From a run folder to an artefact: written aside, compared with the detector, put in place."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf import __version__
from ssae_tf.config import DOWNSAMPLING
from ssae_tf.data.cache import resize
from ssae_tf.data.images import read_pixels, to_unit
from ssae_tf.detector import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    STATISTICS_FILE,
    WEIGHTING_FILE,
    WEIGHTS_FILE,
    Detector,
)
from ssae_tf.errors import DataError, RunError
from ssae_tf.export import child, onnx, quantization, savedmodel, tensorrt, tfserving
from ssae_tf.export.artefact import (
    METADATA_FILE,
    PARITY_FILE,
    SCHEMA_VERSION,
    Artefact,
    file_hashes,
    run_hash,
)
from ssae_tf.export.formats import FORMATS, Format
from ssae_tf.export.names import FLOAT, PIXELS, SIGNATURES, WITH_THRESHOLD
from ssae_tf.export.parity import Parity, cases, compare, corrupted_copies
from ssae_tf.export.place import choose_place, put, working_folder
from ssae_tf.export.serving import Serving, network_of
from ssae_tf.export.tflite import SIGNATURES as TFLITE_SIGNATURES
from ssae_tf.files import write_json
from ssae_tf.progress import Reporter, duration
from ssae_tf.tensor_ops import pad_reflect, shrink

# Pictures that int8 is calibrated on, and of how many one is taken in a corrupted copy too.
_CALIBRATION, _CORRUPTED_OF = 32, 4
# Precisions whose weights are rounded, and the pictures that this goes by, with a crop of each,
# pixels, and the largest side of them.
_EIGHT_BITS = ("dynamic", "int8")
_SEEN, _CROP, _LARGEST = 32, 128, 1024
# Of an engine's default profile.
_SMALLEST_SIDE, _LARGEST_BATCH = 32, 4


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be exported, and how.

    Attributes:
        format: one of `FORMATS`.
        precision: one of the format's; None for its first.
        image_size: (height, width) of all pictures; None for any.
        has_reconstruction: whether F(X) is an output.
        warmup: requests for TF Serving to replay on loading; SavedModel only.
        profile: of an engine; None for 32² to the pictures' own size, batches of up to 4.
        seed: of the corrupted pictures and of the crops that 8 bits are fitted to.
        time_limit: seconds that each converter may take.
    """

    format: str
    precision: str | None = None
    image_size: tuple[int, int] | None = None
    has_reconstruction: bool = True
    warmup: int = 0
    profile: tensorrt.Profile | None = None
    seed: int = 0
    time_limit: float = child.TIME_LIMIT


@dataclasses.dataclass(frozen=True)
class Exported:
    """What `export` made.

    Attributes:
        folder: of the artefact.
        parity: how it compares with the detector.
        missing: what could not be made or checked here, and how it is; "" where nothing is.
        seconds: that the conversion took.
    """

    folder: Path
    parity: Parity
    missing: str
    seconds: float


def export(
    run: str | Path,
    request: Request,
    pictures: Sequence[Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    keep_failed: bool = False,
    reporter: Reporter | None = None,
) -> Exported:
    """Exports a run and proves that the artefact judges as the run's detector does.

    Args:
        run: a finished run folder.
        request: what to make.
        pictures: good ones that training has not seen, at least one: those of the run's
            validation. The artefact is compared on them, and int8 calibrated.
        out: the artefact's folder, for SavedModel that of its versions; None for
            RUN/export/FORMAT, and RUN/export/savedmodel/CATEGORY.
        overwrite: replace an artefact, for SavedModel the newest version; without, a SavedModel
            becomes the next version.
        keep_failed: keep what fails the comparison beside `out`, as NAME.failed.
        reporter: where progress goes; None for stderr.

    Raises:
        MissingExtraError: the format needs packages that are not installed.
        RunError: the run is incomplete, `out` exists or can't be written to, the converter fails,
            or the artefact does not judge as the detector does. Nothing is left behind then.
        DataError: a picture can't be read.
    """
    reporter = reporter or Reporter()
    run = Path(run)
    wanted = FORMATS[request.format]
    precision = request.precision or wanted.precisions[0]
    if precision not in wanted.shares:
        raise RunError(
            f"--format {wanted.name} has the precisions {', '.join(wanted.precisions)}. "
            f"Received: {precision}."
        )
    wanted.check()
    if request.warmup:
        tfserving.check()
    if not pictures:
        raise DataError("Expected at least one good picture to compare on. Received none.")
    detector = Detector.load(run)
    place = choose_place(run, detector, request.format, precision, out, overwrite)
    with working_folder(place) as scratch:
        work = _Work(run, detector, request, wanted, precision, tuple(pictures), scratch, reporter)
        result = scratch / "artefact"
        begin = time.monotonic()
        made = work.make(result, place)
        seconds = time.monotonic() - begin
        reporter.say(f"Converted in {duration(seconds)}.")
        metadata = work.metadata(result, made, seconds)
        parity = work.compare(result, metadata)
        metadata["parity"] = {
            key: value for key, value in parity.to_dict().items() if key != "schema_version"
        }
        write_json(result / PARITY_FILE, parity.to_dict())
        write_json(result / METADATA_FILE, metadata)
        if not parity.passed:
            _refuse(result, place, parity, keep_failed)
        put(result, place)
    return Exported(place, parity, made.missing, seconds)


@dataclasses.dataclass(frozen=True)
class _Made:
    """What a converter left.

    Attributes:
        runtime: what runs it, a key of `artefact._RUNTIMES`.
        signatures: that it has.
        has_own_process: whether running it can end the process.
        missing: as in `Exported`.
        extra: for metadata.json.
    """

    runtime: str
    signatures: Sequence[str]
    has_own_process: bool = False
    missing: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Work:
    run: Path
    detector: Detector
    request: Request
    format: Format
    precision: str
    pictures: tuple[Path, ...]
    scratch: Path
    reporter: Reporter

    def make(self, out: Path, place: Path) -> _Made:
        """Writes the artefact's own files into `out`."""
        if self.format.name == "savedmodel":
            self._saved_model(out, SIGNATURES)
            if self.request.warmup:
                count = min(self.request.warmup, tfserving.MOST_WARMUP)
                chosen = [self.pictures[index % len(self.pictures)] for index in range(count)]
                pixels = [self._pixels(path) for path in chosen]
                tfserving.write_warmup(out, place.parent.name, pixels)
            return _Made("savedmodel", SIGNATURES)
        out.mkdir()
        saved = self.scratch / "saved_model"
        if self.format.name == "tflite":
            self._saved_model(saved, TFLITE_SIGNATURES)
            self._call(
                "tflite:convert",
                saved_model=saved,
                out=out,
                precision=self.precision,
                pictures=self._calibration() if self.precision == "int8" else [],
            )
            return _Made("litert", TFLITE_SIGNATURES)
        if self.format.name == "onnx":
            self._saved_model(saved, (FLOAT + WITH_THRESHOLD,))
            threshold = self.detector.calibration.threshold  # type: ignore[union-attr]
            self._call("onnx:convert", saved_model=saved, out=out, threshold=threshold)
            return _Made("onnxruntime", (FLOAT, PIXELS))
        if self.format.name == "openvino":
            self.onnx_without_verdict(out)
            self._call("openvino:convert", folder=out)
            return _Made("openvino", (FLOAT, PIXELS))
        return self._tensorrt(out, place)

    def onnx_without_verdict(self, out: Path) -> None:
        """Writes the ONNX files that other formats are made of, whose readers refuse loops."""
        saved = self.scratch / "saved_model"
        self._saved_model(saved, (FLOAT,))
        self._call("onnx:convert", saved_model=saved, out=out)

    def _tensorrt(self, out: Path, place: Path) -> _Made:
        name = self.format.name
        builder, reason = tensorrt.find_builder(name)
        profile = self.request.profile or self._profile()
        extra: dict[str, Any] = {"profile": profile.to_dict()}
        if builder is not None and builder.kind == "tf-trt":
            saved = self.scratch / "saved_model"
            self._saved_model(saved, (FLOAT,))
            out.rmdir()
            self._call(
                "tensorrt:convert_with_tftrt",
                saved_model=saved,
                out=out,
                precision=self.precision,
                profile=profile.to_dict(),
                pictures=self._calibration() if self.precision == "int8" else [],
            )
            extra["builder"] = dataclasses.asdict(builder)
            return _Made("savedmodel", (FLOAT,), True, "", extra)
        self.onnx_without_verdict(out)
        if self.precision == "int8":
            self._call("onnx:quantize", folder=out, pictures=self._calibration())
        source, engine = out / onnx.FILES[FLOAT], out / tensorrt.ENGINE
        if builder is None:
            missing = (
                f"No engine was built: {reason}. On the GPU host, `pip install 'ssae-tf[{name}]'` "
                "and this command again"
            )
            if name == "trt":
                flag = "" if self.precision == "fp32" else f" --{self.precision}"
                missing += (
                    f", or `trtexec --onnx={place / source.name} "
                    f"--saveEngine={place / engine.name} {profile.for_trtexec()}{flag}`"
                )
            missing += "."
            return _Made("onnxruntime", (FLOAT, PIXELS), False, missing, extra)
        self._call(
            "tensorrt:build_engine",
            module=builder.module,
            onnx=source,
            out=engine,
            precision=self.precision,
            profile=profile.to_dict(),
        )
        gpu = self._call("tensorrt:gpu_that_runs", module=builder.module, engine=engine)
        extra |= {"builder": dataclasses.asdict(builder), "gpu": gpu}
        if gpu:
            return _Made("tensorrt", (FLOAT,), True, "", extra)
        missing = (
            f"{place / engine.name} was built but not checked, because no GPU here runs it; "
            "the ONNX file it was built from was."
        )
        return _Made("onnxruntime", (FLOAT, PIXELS), False, missing, extra)

    def metadata(self, folder: Path, made: _Made, seconds: float) -> dict[str, Any]:
        """The content of metadata.json, the comparison aside."""
        config, calibration = self.detector.config, self.detector.calibration
        assert calibration is not None
        size, inspected = self.request.image_size, self.detector.inspection_size
        names = [CONFIG_FILE, WEIGHTS_FILE, CALIBRATION_FILE]
        if self.detector.weights is not None:
            names.append(WEIGHTING_FILE)
        if self.detector.statistics is not None:
            names.append(STATISTICS_FILE)
        return {
            "schema_version": SCHEMA_VERSION,
            "format": self.format.name,
            "precision": self.precision,
            "runtime": made.runtime,
            "signatures": list(made.signatures),
            "inputs": {
                "layout": "NHWC",
                "colour_order": "RGB",
                "image_size": None if size is None else list(size),
                "inspection_size": None if inspected is None else list(inspected),
                "white_level": config.data.white_level,
            },
            "outputs": list(self._serving().outputs),
            "threshold": calibration.threshold,
            "min_area": calibration.min_area,
            "category": config.category,
            "run_hash": run_hash(self.run, names),
            "files": file_hashes(folder),
            "versions": _versions(self.format),
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "conversion_seconds": round(seconds, 1),
            **made.extra,
        }

    def compare(self, folder: Path, metadata: dict[str, Any]) -> Parity:
        """Reloads the artefact from its files and compares it with the detector."""
        write_json(folder / METADATA_FILE, metadata)
        tolerance = self.format.tolerance(self.precision, metadata["threshold"])
        arguments = {
            "run": str(self.run.resolve()),
            "folder": str(folder.resolve()),
            "pictures": [str(path.resolve()) for path in self.pictures],
            "image_size": self.request.image_size,
            "seed": self.request.seed,
            "tolerance": tolerance,
        }
        if metadata["runtime"] == "tensorrt" or self._is_tftrt(metadata):
            return Parity(**self._call("build:compare_apart", **arguments))
        compared = cases(
            self.pictures,
            self.detector.config.data.white_level,
            self.request.image_size,
            self.request.seed,
        )
        artefact = Artefact.load(folder)
        return compare(self.detector, artefact, compared, tolerance, self.reporter)

    @staticmethod
    def _is_tftrt(metadata: dict[str, Any]) -> bool:
        return metadata["format"] == "trt" and metadata["runtime"] == "savedmodel"

    def _serving(self) -> Serving:
        serving = Serving.of(self.detector, has_reconstruction=self.request.has_reconstruction)
        return dataclasses.replace(serving, has_verdict=self.format.has_verdict)

    def _saved_model(self, folder: Path, signatures: Sequence[str]) -> None:
        self.reporter.say("Writing the graph …")
        savedmodel.write(
            folder,
            self._serving(),
            self._network(),
            self.request.image_size,
            signatures,
        )

    def _network(self) -> tf.keras.Model:
        network = network_of(self.detector)
        if self.precision in _EIGHT_BITS:
            self.reporter.say("Rounding weights to 8 bits …")
            quantization.prepare(network, *self._seen(), self.request.seed)
        return network

    def _seen(self) -> tuple[list[np.ndarray], np.ndarray]:
        """What the network sees in inspection, half of it corrupted.

        Returns:
            Pictures, whole up to 1024 pixels a side, (h, w, 3) float32 each, and a crop of each,
            (N, 128, 128, 3) float32.
        """
        seed = self.request.seed
        rng = np.random.default_rng(seed)
        config, size = self.detector.config.scoring, self.detector.inspection_size
        scales = config.settled.scales
        is_corrupted = rng.permutation(_SEEN) < _SEEN // 2
        whole, crops = [], []
        for index in range(_SEEN):
            picture = to_unit(self._pixels(self.pictures[index % len(self.pictures)]))
            if size is not None:
                picture = resize(picture, *size)
            seen = shrink(tf.constant(picture[None]), scales[index % len(scales)])
            large = pad_reflect(seen, DOWNSAMPLING, config.margin)[0].numpy()
            crop = _cut(pad_reflect(seen, _CROP)[0].numpy(), _CROP, rng)
            large = _cut(large, _LARGEST, rng)
            if is_corrupted[index]:
                large, crop = (corrupted_copies(x[None], (seed, index))[0] for x in (large, crop))
            whole.append(large)
            crops.append(crop)
        return whole, np.stack(crops)

    def _call(self, function: str, **arguments: Any) -> Any:
        module, name = function.split(":")
        self.reporter.say(f"{module}: {name.replace('_', ' ')} …")
        return child.call(
            f"ssae_tf.export.{module}:{name}",
            time_limit=self.request.time_limit,
            what="The converter",
            **{
                key: str(value.resolve()) if isinstance(value, Path) else value
                for key, value in arguments.items()
            },
        )

    def _pixels(self, path: Path) -> np.ndarray:
        """A picture as uint8, of the artefact's size."""
        unit = to_unit(read_pixels(path), self.detector.config.data.white_level)
        if self.request.image_size is not None:
            unit = resize(unit, *self.request.image_size)
        return np.round(255.0 * unit).astype(np.uint8)

    def _calibration(self) -> list[str]:
        """Files of pictures and of corrupted copies: what defects look like must be in range."""
        folder = self.scratch / "calibration"
        folder.mkdir()
        paths = []
        for index, picture in enumerate(self.pictures[:_CALIBRATION]):
            contents = {f"{index}.npy": self._pixels(picture)}
            if index % _CORRUPTED_OF == 0:
                unit = to_unit(contents[f"{index}.npy"])[None]
                x_hat = corrupted_copies(unit, (self.request.seed, 0))[0]
                contents[f"{index}_corrupted.npy"] = np.round(255.0 * x_hat).astype(np.uint8)
            for name, content in contents.items():
                paths.append(folder / name)
                np.save(paths[-1], content)
        return [str(path.resolve()) for path in paths]

    def _profile(self) -> tensorrt.Profile:
        if self.request.image_size is not None:
            size = self.request.image_size
            return tensorrt.Profile((1, *size), (1, *size), (_LARGEST_BATCH, *size))
        height, width = np.max([read_pixels(path).shape[:2] for path in self.pictures], axis=0)
        side = min(_SMALLEST_SIDE, int(height), int(width))
        return tensorrt.Profile(
            (1, side, side),
            (1, int(height), int(width)),
            (_LARGEST_BATCH, int(height), int(width)),
        )


def _cut(picture: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A part at a random place, of at most so many pixels a side."""
    top, left = (rng.integers(max(length - side, 0) + 1) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def compare_apart(
    run: str,
    folder: str,
    pictures: list[str],
    image_size: list[int] | None,
    seed: int,
    tolerance: float,
) -> dict[str, Any]:
    """What `compare` finds, as the fields of `Parity`; for a process of its own."""
    detector = Detector.load(run)
    size = None if image_size is None else (image_size[0], image_size[1])
    compared = cases(
        [Path(path) for path in pictures], detector.config.data.white_level, size, seed
    )
    parity = compare(detector, Artefact.load(folder), compared, tolerance, Reporter(quiet=True))
    return dataclasses.asdict(parity)


def _refuse(result: Path, place: Path, parity: Parity, keep_failed: bool) -> None:
    """Ends an export whose artefact does not judge as the detector does."""
    first, *others = parity.failures
    more = f" (and {len(others)} more)" if others else ""
    kept = "nothing was written; --keep-failed keeps it."
    if keep_failed:
        failed = place.with_name(f"{place.name}.failed")
        put(result, failed)
        kept = f"it is kept in {failed}, marked as failed."
    raise RunError(
        f"The artefact does not judge as the detector does: {first.rstrip('.')}{more}; {kept}"
    )


def _versions(wanted: Format) -> dict[str, str]:
    """Of what the artefact was made with."""
    names = ["keras", "numpy", *(name.replace("_", "-") for name in wanted.packages)]
    return {
        "ssae_tf": __version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }
