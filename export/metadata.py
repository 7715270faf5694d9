"""What the metadata.json of an artefact must hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from ssae_tf.export.formats import FORMATS
from ssae_tf.export.names import SIGNATURES
from ssae_tf.export.tensorrt import MODULES
from ssae_tf.schemas import STRICT, Area, Count, FalseAlarms, Level, Sha256

SCHEMA_VERSION = 2

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
    """`ssae_tf.export.tensorrt.Profile`."""

    model_config = STRICT

    smallest: _Shape
    usual: _Shape
    largest: _Shape


class Builder(BaseModel):
    """`ssae_tf.export.tensorrt.Builder`."""

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


class Metadata(BaseModel):
    """The content of metadata.json; docs/serving.md."""

    model_config = STRICT

    schema_version: Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    kind: Literal["ssae_tf artefact"] = "ssae_tf artefact"
    format: str
    precision: str
    runtime: str
    signatures: list[str]
    inputs: Inputs
    outputs: list[str]
    threshold: Level
    min_area: Area
    outline: Level | None
    false_alarms: FalseAlarms | None = None
    # Of the calibration images, for what is compared with them in service.
    scores: list[Level] = Field(default_factory=list)
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
        # It is imported.
        if self.runtime == "tensorrt" and (
            self.builder is None or self.builder.module not in MODULES[self.format]
        ):
            raise ValueError(f"expected a builder of {', '.join(MODULES[self.format])}")
        return self
