"""What the metadata.json of an artefact must hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from ssae_tf.export.formats import FORMATS
from ssae_tf.export.formats.tensorrt import MODULES
from ssae_tf.export.names import SIGNATURES
from ssae_tf.schemas import STRICT, Area, Count, FalseAlarms, Level, Levels, Outline, Sha256

SCHEMA_VERSION = 3
# Without a level of review and what p-values come from.
_OLDEST_VERSION = 2

_Size = Annotated[list[Area], Field(min_length=2, max_length=2)]
_Shape = Annotated[list[Area], Field(min_length=3, max_length=3)]
# Format -> what may run it, by how far it could be made where it was exported.
_RUNTIMES = {
    "savedmodel": ("savedmodel",),
    "tflite": ("litert",),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "trt": ("savedmodel", "onnxruntime", "tensorrt"),
    "trt-rtx": ("onnxruntime", "tensorrt"),
}


class Inputs(BaseModel):
    """What the graph takes."""

    model_config = STRICT

    layout: Literal["NHWC"]
    colour_order: Literal["RGB"]
    image_size: _Size | None
    inspection_size: _Size | None
    white_level: Annotated[int, Field(ge=1, le=65535)]


class Profile(BaseModel):
    """`ssae_tf.export.formats.tensorrt.Profile`."""

    model_config = STRICT

    smallest: _Shape
    usual: _Shape
    largest: _Shape


class Builder(BaseModel):
    """`ssae_tf.export.formats.tensorrt.Builder`."""

    model_config = STRICT

    kind: Literal["tf-trt", "engine"]
    module: str
    version: str


class Comparison(BaseModel):
    """`ssae_tf.export.parity.Parity`."""

    model_config = STRICT

    passed: bool
    tolerance: Level
    n: Count
    sizes: list[_Size]
    map_largest: Level
    map_mean: Level
    map_deciding: Level
    score_largest: Level
    score_mean: Level
    n_flipped: Count
    flipped: list[str]
    failures: list[str]


class Ignored(BaseModel):
    """What of every image never counts: `ssae_tf.scoring.ignored.Ignored`."""

    model_config = STRICT

    mask: bool
    border: Annotated[int, Field(ge=0)]


class Metadata(Levels):
    """The content of metadata.json; docs/serving.md."""

    schema_version: Annotated[int, Field(ge=_OLDEST_VERSION, le=SCHEMA_VERSION)]
    kind: Literal["ssae_tf artefact"] = "ssae_tf artefact"
    format: str
    precision: str
    runtime: str
    signatures: list[str]
    inputs: Inputs
    outputs: list[str]
    outline: Outline | None
    false_alarms: FalseAlarms | None = None
    review_false_alarms: FalseAlarms | None = None
    good_scores: list[Level] = Field(default_factory=list)
    ignored: Ignored | None = None
    category: str
    run_hash: Sha256
    files: dict[str, Sha256]
    versions: dict[str, str]
    created: str
    conversion_seconds: Level
    profile: Profile | None = None
    builder: Builder | None = None
    gpu: str = ""
    parity: Comparison | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Metadata:
        if self.format not in FORMATS:
            raise ValueError(f"expected one of the formats {', '.join(FORMATS)}")
        if self.precision not in FORMATS[self.format].precisions:
            raise ValueError(f"expected a precision of the format {self.format}")
        if self.runtime not in _RUNTIMES[self.format]:
            raise ValueError(f"expected a runtime of the format {self.format}")
        if not set(self.signatures) <= set(SIGNATURES):
            raise ValueError(f"expected signatures of {', '.join(SIGNATURES)}")
        promised = 0 if self.false_alarms is None else self.false_alarms.images
        if len(self.good_scores) not in (0, promised):
            raise ValueError(
                f"expected as many `good_scores` as images of the promise, {promised}, or none. "
                f"Received: {len(self.good_scores)}"
            )
        # It is imported.
        if self.runtime == "tensorrt" and (
            self.builder is None or self.builder.module not in MODULES[self.format]
        ):
            raise ValueError(f"expected a builder of {', '.join(MODULES[self.format])}")
        return self
