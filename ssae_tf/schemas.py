"""What files of a run must hold, and the one sentence that says what is wrong with them.

Whatever a verdict comes from is declared here once, as `Level` and `Area`: an image with a score of
at most NaN, or at most infinity, would be a good one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssae_tf.errors import InputError, RunError
from ssae_tf.files import read_json

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

# Of an anomaly map, which has no negative ones.
Level = Annotated[float, Field(ge=0.0)]
# Pixels; graphs count them in int32.
Area = Annotated[int, Field(ge=1, le=2**31 - 1)]
# Of something that is counted.
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Outline = Annotated[float, Field(gt=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def is_inside(name: str) -> bool:
    """Whether a path with forward slashes, relative to a folder, leads to something in it."""
    path = PurePosixPath(name)
    is_path = bool(path.parts) and "\0" not in name
    return is_path and not path.is_absolute() and ".." not in path.parts


def _inside(name: str) -> str:
    if not is_inside(name):
        raise ValueError("it should be a path inside the folder")
    return name


# With forward slashes, relative to the folder that it is recorded in or for.
Inside = Annotated[str, AfterValidator(_inside)]


class Levels(BaseModel):
    """What a score is judged by.

    Attributes:
        threshold: the score above which an image is anomalous.
        review_threshold: the score above which an image is to be reviewed; None for no such level.
        min_area: pixels that a defect must have.
    """

    model_config = STRICT

    threshold: Level
    review_threshold: Level | None = None
    min_area: Area

    @model_validator(mode="after")
    def _in_order(self) -> Levels:
        if self.review_threshold is not None and self.review_threshold > self.threshold:
            raise ValueError(
                f"`review_threshold` should be no higher than `threshold`, {self.threshold:g}. "
                f"Received: {self.review_threshold:g}"
            )
        return self


class AreaRule(Levels):
    """What a map is judged by (section 4.2).

    Attributes:
        outline: the share of its peak at which a defect ends; None ends it at the threshold.
    """

    outline: Outline | None = None


class FalseAlarms(BaseModel):
    """`ssae_tf.scoring.conformal.FalseAlarmRate`."""

    model_config = STRICT

    images: Annotated[int, Field(ge=1)]
    rank: Annotated[int, Field(ge=1)]
    expected: Share
    bound: Share
    confidence: Share

    @model_validator(mode="after")
    def _has_the_rank(self) -> FalseAlarms:
        if self.rank > self.images:
            raise ValueError("expected a rank among the images")
        return self


class CalibrationFile(Levels):
    """calibration.json; files of version 1 have no levels, no names, and maybe no promise."""

    schema_version: Annotated[int, Field(ge=1, le=2)]
    n_calibration: Count
    scores: list[Level]
    names: list[Inside] = []
    seen: list[Inside] = []
    left_out: list[Inside] = []
    # Without constraints, for which pydantic would refuse names that are no UTF-8.
    data: str | None = None
    false_alarms: FalseAlarms | None = None
    review_false_alarms: FalseAlarms | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> CalibrationFile:
        count = len(self.scores)
        if self.n_calibration != count:
            raise ValueError(
                f"expected as many `scores` as `n_calibration` says, {self.n_calibration}. "
                f"Received: {count}"
            )
        if self.names and len(self.names) != count:
            raise ValueError(f"expected {count} `names` or none. Received: {len(self.names)}")
        if not set(self.seen) <= set(self.names):
            raise ValueError("expected what training has `seen` among the `names`")
        for promised in (self.false_alarms, self.review_false_alarms):
            if promised is not None and promised.images != count:
                raise ValueError(
                    f"expected a promise from as many images as there are scores, {count}. "
                    f"Received: {promised.images}"
                )
        if (self.review_threshold is None) != (self.review_false_alarms is None):
            raise ValueError("expected `review_threshold` beside `review_false_alarms`")
        return self


class GoldenImage(BaseModel):
    """What was said of a golden image."""

    model_config = STRICT

    score: Level
    is_anomalous: bool


class GoldenFile(BaseModel):
    """golden.json: the rule, and by file name what it says of the images beside it."""

    model_config = STRICT

    schema_version: Annotated[int, Field(ge=1, le=1)]
    threshold: Level
    min_area: Area
    images: Annotated[dict[Inside, GoldenImage], Field(min_length=1)]


def _each_once(names: list[str]) -> list[str]:
    if not names:
        raise ValueError("it should name images")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"it should name {twice} once")
    return names


Names = Annotated[list[Inside], AfterValidator(_each_once)]


class SplitFile(BaseModel):
    """split.json: the images of each part, relative to the category."""

    model_config = STRICT

    train: Names
    select: Names
    calibrate: Names


class EnvironmentFile(BaseModel):
    """environment.json: what later commands need of it; the rest is for people."""

    model_config = ConfigDict(**{**STRICT, "extra": "ignore"})

    schema_version: Annotated[int, Field(ge=1, le=1)]
    data: Annotated[str, Field(min_length=1)]
    data_hash: Sha256


_Schema = TypeVar("_Schema", bound=BaseModel)


def read(path: Path, schema: type[_Schema]) -> _Schema:
    """Reads a JSON file of this package.

    Raises:
        RunError: no such file, not JSON, of a newer version, or without what it must hold.
    """
    return check(read_json(path), schema, path)


def check(values: Any, schema: type[_Schema], path: Path) -> _Schema:
    """Checks the content of a JSON file of this package.

    Raises:
        RunError: of a newer version, or without what the file must hold.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise RunError(f"{path}: {sentence(error)}") from None


def check_rule(
    threshold: float,
    min_area: int,
    outline: float | None = None,
    review_threshold: float | None = None,
) -> None:
    """Refuses what no map can be judged by.

    Raises:
        InputError: not a finite level of at least 0, or not an area of at least one pixel; or a
            level of review above the threshold.
    """
    try:
        AreaRule(
            threshold=threshold,
            min_area=min_area,
            outline=outline,
            review_threshold=review_threshold,
        )
    except ValidationError as error:
        raise InputError(f"Argument {sentence(error)}") from None


def sentence(error: ValidationError) -> str:
    """The first complaint, that about the version before others."""
    complaints = error.errors(include_url=False)
    for one in complaints:
        if one["loc"] == ("schema_version",) and one["type"] == "less_than_equal":
            return (
                f"was made by a newer version of ssae_tf (schema version {one['input']}, this one "
                f"reads {one['ctx']['le']})."
            )
        if one["loc"] == ("schema_version",) and one["type"] == "greater_than_equal":
            return (
                f"was made by an older version of ssae_tf (schema version {one['input']}, this one "
                f"reads {one['ctx']['ge']}): make it anew."
            )
    first = complaints[0]
    if first["type"] == "json_invalid":
        return f"{first['msg']}."
    where = _where(first["loc"])
    if first["type"] == "value_error" and not first["loc"]:
        return f"{first['msg'].removeprefix('Value error, ')}."
    if first["type"] == "missing":
        return f"has no {where}."
    if first["type"] == "extra_forbidden":
        return f"has an unknown {where}."
    expected = "be an object" if first["type"] == "model_type" else first["msg"]
    return f"{where} should {expected.split(' should ')[-1]}, received {_shown(first['input'])}."


def _where(parts: Iterable[int | str]) -> str:
    if not parts:
        return "the content"
    # Keys are whatever the file says.
    name = "".join(one if one.isprintable() else "�" for one in ".".join(map(str, parts)))
    return f"`{name[:60]}`"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=repr)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:59]}…"
