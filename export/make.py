"""What each format is made by: the converters and their order, each in a process of its own."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssae_tf.data.images import image_size
from ssae_tf.detector import Detector
from ssae_tf.errors import InputError
from ssae_tf.export import child, tfserving
from ssae_tf.export.calibration_set import read_resized, write_calibration_set
from ssae_tf.export.formats import FORMATS, Format, onnx, savedmodel, tensorrt
from ssae_tf.export.formats.tflite import SIGNATURES as TFLITE_SIGNATURES
from ssae_tf.export.names import FLOAT, PIXELS, SIGNATURES, WITH_THRESHOLD
from ssae_tf.export.serving import Serving
from ssae_tf.progress import Reporter

# Images that int8 is calibrated on, each of them twice: the converter runs all of the graph on
# them, four signatures and without fast kernels.
_CALIBRATION = 16
# Of an engine's default profile.
_SMALLEST_SIDE, _LARGEST_BATCH = 32, 4


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be exported, and how.

    Attributes:
        format: one of `FORMATS`.
        precision: one of the format's; None for its first.
        image_size: (height, width) of all images; None for any.
        has_reconstruction: whether F(X) is an output.
        warmup: requests for TF Serving to replay on loading; SavedModel only.
        profile: of an engine; None for 32² to the images' own size, batches of up to 4.
        seed: of the corrupted images.
        time_limit: seconds that each converter may take.
        quick_check: compare on fewer images.

    Raises:
        InputError: on making one, where a value is none of these.
    """

    format: str
    precision: str | None = None
    image_size: tuple[int, int] | None = None
    has_reconstruction: bool = True
    warmup: int = 0
    profile: tensorrt.Profile | None = None
    seed: int = 0
    time_limit: float = child.TIME_LIMIT
    quick_check: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(
                f"Expected one of the formats {', '.join(FORMATS)}. Received: {self.format!r}."
            )
        if self.image_size is not None and not min(self.image_size) >= 1:
            raise InputError(f"Expected sides of at least 1 pixel. Received: {self.image_size}.")
        if self.warmup < 0 or not self.time_limit > 0:
            raise InputError(
                "Expected warmup of at least 0 and time_limit above 0. Received: "
                f"{self.warmup} and {self.time_limit}."
            )


@dataclasses.dataclass(frozen=True)
class Made:
    """What a converter left.

    Attributes:
        runtime: what runs it, a key of `artefact._RUNTIMES`.
        signatures: that it has.
        missing: what could not be made or checked here, and how it is; "" where nothing is.
        extra: for metadata.json.
    """

    runtime: str
    signatures: Sequence[str]
    missing: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes an artefact's own files.

    Attributes:
        precision: the request's, or the format's first.
        scratch: an existing folder to work in.
    """

    detector: Detector
    request: Request
    format: Format
    precision: str
    images: Sequence[Path]
    scratch: Path
    reporter: Reporter

    def make(self, out: Path, place: Path) -> Made:
        """Writes the artefact's own files into `out`."""
        if self.format.name == "savedmodel":
            self._saved_model(out, SIGNATURES)
            if self.request.warmup:
                count = min(self.request.warmup, tfserving.MOST_WARMUP)
                tfserving.write_warmup(out, place.parent.name, self._pixels(count))
            return Made("savedmodel", SIGNATURES)
        out.mkdir()
        saved = self.scratch / "saved_model"
        if self.format.name == "tflite":
            self._saved_model(saved, TFLITE_SIGNATURES)
            written: list[str] = []
            if self.precision == "int8":
                pixels = self._pixels(min(_CALIBRATION, len(self.images)))
                examples = self.scratch / "calibration"
                written = write_calibration_set(examples, pixels, self.request.seed)
            self.call(
                "tflite:convert",
                saved_model=saved,
                out=out,
                precision=self.precision,
                images=written,
            )
            return Made("litert", TFLITE_SIGNATURES)
        if self.format.name == "onnx":
            self._saved_model(saved, (FLOAT + WITH_THRESHOLD,))
            threshold = self.detector.calibrated().threshold
            self.call("onnx:convert", saved_model=saved, out=out, threshold=threshold)
            return Made("onnxruntime", (FLOAT, PIXELS))
        if self.format.name == "openvino":
            self.onnx_without_verdict(out)
            self.call("openvino:convert", folder=out)
            return Made("openvino", (FLOAT, PIXELS))
        return self._tensorrt(out, place)

    def onnx_without_verdict(self, out: Path) -> None:
        """Writes the ONNX files that other formats are made of, whose readers refuse loops."""
        saved = self.scratch / "saved_model"
        self._saved_model(saved, (FLOAT,))
        self.call("onnx:convert", saved_model=saved, out=out)

    def _tensorrt(self, out: Path, place: Path) -> Made:
        name = self.format.name
        builder, reason = tensorrt.find_builder(name)
        profile = self.request.profile or self._profile()
        extra: dict[str, Any] = {"profile": profile.to_dict()}
        if builder is not None and builder.kind == "tf-trt":
            saved = self.scratch / "saved_model"
            self._saved_model(saved, (FLOAT,))
            out.rmdir()
            self.call(
                "tensorrt:convert_with_tftrt",
                saved_model=saved,
                out=out,
                precision=self.precision,
                profile=profile.to_dict(),
            )
            extra["builder"] = dataclasses.asdict(builder)
            return Made("savedmodel", (FLOAT,), extra=extra)
        self.onnx_without_verdict(out)
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
                    f"--saveEngine={place / engine.name} {profile.for_trtexec()} --noTF32{flag}`"
                )
            missing += "."
            return Made("onnxruntime", (FLOAT, PIXELS), missing, extra)
        self.call(
            "tensorrt:build_engine",
            module=builder.module,
            onnx=source,
            out=engine,
            precision=self.precision,
            profile=profile.to_dict(),
        )
        gpu = self.call("tensorrt:gpu_that_runs", module=builder.module, engine=engine)
        extra |= {"builder": dataclasses.asdict(builder), "gpu": gpu}
        if gpu:
            return Made("tensorrt", (FLOAT,), extra=extra)
        missing = (
            f"{place / engine.name} was built but not checked, because no GPU here runs it; "
            "the ONNX file it was built from was."
        )
        return Made("onnxruntime", (FLOAT, PIXELS), missing, extra)

    def serving(self) -> Serving:
        """What the graph computes."""
        return Serving.of(
            self.detector,
            has_reconstruction=self.request.has_reconstruction,
            has_verdict=self.format.has_verdict,
            is_served=self.format.name == "savedmodel",
        )

    def _saved_model(self, folder: Path, signatures: Sequence[str]) -> None:
        self.reporter.say("Writing the graph …")
        savedmodel.write(
            folder, self.serving(), self.detector.folded, self.request.image_size, signatures
        )

    def call(self, function: str, **arguments: Any) -> Any:
        """Calls a function of `formats`, "module:name", in a process of its own."""
        module, name = function.split(":")
        self.reporter.say(f"{module}: {name.replace('_', ' ')} …")
        return child.call(
            f"ssae_tf.export.formats.{module}:{name}",
            time_limit=self.request.time_limit,
            what="The converter",
            scratch=self.scratch,
            **{
                key: str(value.resolve()) if isinstance(value, Path) else value
                for key, value in arguments.items()
            },
        )

    def _pixels(self, count: int) -> list[np.ndarray]:
        """Images of the artefact's size, (H, W, 3) uint8; after the last comes the first."""
        white_level, size = self.detector.config.data.white_level, self.request.image_size
        paths = itertools.islice(itertools.cycle(self.images), count)
        images = (read_resized(path, white_level, size) for path in paths)
        return [np.round(255.0 * image).astype(np.uint8) for image in images]

    def _profile(self) -> tensorrt.Profile:
        if self.request.image_size is not None:
            size = self.request.image_size
            return tensorrt.Profile((1, *size), (1, *size), (_LARGEST_BATCH, *size))
        sizes = [image_size(path) for path in self.images]
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        side = min(_SMALLEST_SIDE, height, width)
        return tensorrt.Profile(
            (1, side, side), (1, height, width), (_LARGEST_BATCH, height, width)
        )
