"""Settings of a run as frozen, validated dataclasses. TensorFlow is not imported here.

Unknown keys and values out of range are refused with `ConfigError` by `ssae_tf.config.io`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.dataclasses import dataclass

from ssae_tf.config.sentences import one_sentence
from ssae_tf.errors import ConfigError

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
# What `resolve` goes by (docs/training.md): a share of the shorter side.
_SMOOTHING_SHARE = 0.008
# Up to this many training images relief and batch statistics do harm (docs/training.md).
_FEW_IMAGES = 10
# Table 1 halves height and width three times, the discriminative sub-network five times.
DOWNSAMPLING, GATED_DOWNSAMPLING = 8, 32
Size = Annotated[int, Field(ge=16, multiple_of=DOWNSAMPLING)]


def _one_sentence(value: Any, accept: ValidatorFunctionWrapHandler) -> Any:
    # Pydantic would answer with one complaint for each type of the union.
    try:
        # What has been through here is Python's, where a strict reader takes no list for a pair.
        return accept(tuple(value) if isinstance(value, list) else value)
    except ValidationError:
        raise ValueError(
            'expected "native" or [height, width], multiples of 8 that are at least 16; '
            f"received {value!r}"
        ) from None


InspectionSize = Annotated[
    Literal["native"] | tuple[Size, Size] | None, WrapValidator(_one_sentence)
]


def is_table(group: str) -> bool:
    """Whether `DataConfig.group` is a file with the part of each image, and no expression."""
    return group.lower().endswith(".csv")


def _with_one_group(value: str | None) -> str | None:
    try:
        groups = 1 if value is None or is_table(value) else re.compile(value).groups
    except re.error as error:
        raise ValueError(f"is no regular expression ({error}); received {value!r}") from None
    if groups != 1:
        raise ValueError(
            f"expected a regular expression with one capture group, such as part(\\d+); "
            f"received {value!r}"
        )
    return value


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class DataConfig:
    """How images are read, split and augmented (section 4.1).

    Attributes:
        white_level: the value of a 16-bit file that becomes 1.0.
        rotate: rotate by random multiples of 90° in training.
        flip_horizontal: mirror left-right at random in training.
        flip_vertical: mirror top-bottom at random in training.
        select_fraction: share of the normal images kept for choosing the checkpoint.
        calibrate_fraction: share of the normal images kept for the threshold.
        group: regular expression; what its first capture group matches in a file name names the
            part, and all images of one part stay on one side of the split. Or a file, NAME.csv,
            with columns `name` (of an image, or its path in the category's folder) and `group`.
        skip_unreadable: leave out files that can't be decoded instead of stopping.
        cache: where decoded images are kept; "auto" takes memory where they fit.
    """

    white_level: Annotated[int, Field(ge=1, le=65535)] = 65535
    rotate: bool = True
    flip_horizontal: bool = True
    flip_vertical: bool = True
    select_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    calibrate_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    group: Annotated[str | None, AfterValidator(_with_one_group)] = None
    skip_unreadable: bool = False
    cache: Literal["auto", "memory", "disk"] = "auto"


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class CorruptionConfig:
    """X -> (X̂, M), section 3.2.

    The four transformation weights and the three shape weights are relative, in any unit.

    Attributes:
        where: "step" runs inside the compiled training step, "data" in the tf.data pipeline;
            both make the same images from the same seed.
        share: of the images that are corrupted at all; 0 trains a plain autoencoder.
        elastic, cut_out, patch_swap, texture: weight of each transformation of the patch: deformed,
            set to zero, taken from elsewhere in the image, replaced by random texture.
        relief: share of the corrupted images whose patches are shaded like dents, bumps or
            roughness in place of all other changes.
        blob, polygon, stroke: weight of each family of shape masks.
        noise: share of the images whose region is peaks of smooth noise in place of patches.
        patches: up to this many patches an image (1 … patches, uniformly).
        size: smallest and largest side of a patch, as a share of the image's side.
        sigma: smallest and largest width of the Gaussian that smooths the displacement, pixels.
        alpha: smallest and largest factor of the smoothed displacement, pixels.
        brightness: largest change of a patch's brightness, in grey levels of [0, 1]; 0 is none.
        tint: largest further change, drawn for each colour channel by itself, in the same unit;
            the same for all channels of a grey image.
        contrast: largest change of a patch's contrast: the deviations from its surroundings' mean
            are multiplied by a factor from 1 − contrast to 1 + contrast; 0 is none.
        opacity: smallest and largest share of the transformed patch in X̂; the rest is X.
    """

    where: Literal["step", "data"] = "step"
    share: Probability = 1.0
    elastic: Annotated[float, Field(ge=0.0)] = 1.0
    cut_out: Annotated[float, Field(ge=0.0)] = 0.0
    patch_swap: Annotated[float, Field(ge=0.0)] = 0.0
    texture: Annotated[float, Field(ge=0.0)] = 0.0
    relief: Probability = 0.0
    blob: Annotated[float, Field(ge=0.0)] = 1.0
    polygon: Annotated[float, Field(ge=0.0)] = 1.0
    stroke: Annotated[float, Field(ge=0.0)] = 1.0
    noise: Probability = 0.0
    patches: Count = 1
    size: tuple[Positive, Share] = (0.1, 0.5)
    sigma: tuple[Positive, Positive] = (3.0, 6.0)
    alpha: tuple[Positive, Positive] = (50.0, 200.0)
    brightness: Probability = 0.0
    tint: Probability = 0.0
    contrast: Probability = 0.0
    opacity: tuple[Positive, Share] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.elastic + self.cut_out + self.patch_swap + self.texture <= 0:
            raise ValueError(
                "one of elastic, cut_out, patch_swap and texture must be above 0, all are 0"
            )
        if self.blob + self.polygon + self.stroke <= 0:
            raise ValueError("one of blob, polygon and stroke must be above 0, all are 0")
        for name in ("size", "sigma", "alpha", "opacity"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (smallest, largest), received ({low}, {high})")


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class ModelConfig:
    """Table 1.

    Attributes:
        width: scales every filter count; 1.0 is the paper.
        answer: "plain" takes the image that Table 1 makes for F(X); "gated" blends it with X,
            F(X) = (1 − A) ⊙ X + A ⊙ G(X), where a discriminative sub-network finds A
            (`ssae_tf.models.gated`).
        context: Table 1 sees the image this many times smaller, of a gated answer.
        standardize: the discriminative sub-network sees each image with mean 0 and deviation 1:
            its exposure and contrast, which differ between good ones, tell it nothing.
        normalization: of the discriminative sub-network: "batch" as in Table 1, or "group", each
            image by itself. None is "group" where training images are 10 or fewer, whose batch
            statistics tell little of others; `fit` writes it.
    """

    width: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    answer: Literal["plain", "gated"] = "plain"
    context: Literal[1, 2, 4] = 1
    standardize: bool = False
    normalization: Literal["batch", "group"] | None = None

    def __post_init__(self) -> None:
        if self.answer == "plain" and self.context > 1:
            raise ValueError(f"context needs a gated answer, received context={self.context}")
        if self.answer == "plain" and self.standardize:
            raise ValueError("standardize needs a gated answer, received answer='plain'")
        if self.answer == "plain" and self.normalization == "group":
            raise ValueError("normalization 'group' needs a gated answer, received answer='plain'")

    @property
    def downsampling(self) -> int:
        """What height and width of the network's input are multiples of."""
        return DOWNSAMPLING if self.answer == "plain" else GATED_DOWNSAMPLING


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class ObjectiveConfig:
    """Equations (1), (2) and (3).

    Attributes:
        equation: 1, 2 or 3.
        weight: λ, the weight of the uncorrupted region; None is the equation's default.
        norm: "l2" as printed, "l2_squared" for squared norms, "l1" for absolute errors, "ssim"
            for the structural dissimilarity in their place.
    """

    equation: Literal[1, 2, 3] = 1
    weight: Probability | None = None
    norm: Literal["l2", "l2_squared", "l1", "ssim"] = "l2"


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class Stage:
    """One size of the progressive training scheme (section 3.2).

    Attributes:
        size: side of the training images, pixels; a multiple of 8.
        batch_size: images a step.
        steps: optimiser steps.
    """

    size: Size
    batch_size: Count
    steps: Count


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class TrainingConfig:
    """The optimiser and the stages.

    Attributes:
        stages: run in order.
        learning_rate: of Adam, after warm-up; it falls to 1 % at the end.
        jit: compile the step with XLA.
        evaluations: how often, over the whole training, the model is validated on *select*.
        seed: of everything random in the run.
    """

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (
        Stage(size=128, batch_size=8, steps=1000),
    )
    learning_rate: Positive = 1e-3
    jit: bool = False
    evaluations: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages together."""
        return sum(stage.steps for stage in self.stages)


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class ScoringConfig:
    """The anomaly map (sections 3.1, 4.2).

    Attributes:
        inspection_size: (height, width) that images are resized to, or "native" for their own
            size; None is the last stage's.
        evidence: "residual" for |F(X) − X|; "gate" for A, of a gated answer: the share of each
            pixel that the network repaints, however faint the difference is.
        reading: the channel reduction: "absolute" takes the mean of |F(X) − X|, "euclidean" the
            root mean square.
        smoothing_sigma: standard deviation of the Gaussian over the map, pixels; 0 is none. None is
            0.8 % of the training images' shorter side (of the inspection size, where there is
            one); `fit` writes the number.
        test_time_augmentation: the evidence is the mean over what the network says of the image
            itself and of what else training has drawn of it: the other three turns by 90° (of
            square inspection sizes), or its mirror images. The network takes as many times the
            time and memory, at most four.
        outline: of a gate: the share of its peak at which a defect ends; and the lowest threshold
            where calibration images are fewer than 20, or training has seen some of them. At ½ the
            network takes a pixel for normal and for corrupted alike, on average over its views.
            None for neither: defects end at the threshold.
        ignore: file of a mask for all images, white where they never count: neither in training's
            corruption nor in scoring. `fit` keeps a copy in the run, which is the one that is used.
        border: pixels of the image that never count likewise, on every side.
    """

    inspection_size: InspectionSize = None
    evidence: Literal["residual", "gate"] = "residual"
    reading: Literal["absolute", "euclidean"] = "absolute"
    smoothing_sigma: Annotated[float, Field(ge=0.0, le=1000.0)] | None = 4.0
    test_time_augmentation: bool = False
    outline: Share | None = None
    ignore: Annotated[str, Field(min_length=1)] | None = None
    border: Annotated[int, Field(ge=0, lt=2**30)] = 0

    def __post_init__(self) -> None:
        if self.outline is not None and self.evidence != "gate":
            raise ValueError(f'outline needs evidence "gate", received outline={self.outline}')

    @property
    def ignores(self) -> bool:
        """Whether something of each image never counts."""
        return self.ignore is not None or self.border > 0

    @property
    def sigma(self) -> float:
        """`smoothing_sigma` as a number.

        Raises:
            ConfigError: it still waits for the size of the images.
        """
        if self.smoothing_sigma is None:
            raise ConfigError(
                "`scoring.smoothing_sigma` depends on the size of the images: expected a number, "
                "as `resolve` gives it, received null."
            )
        return self.smoothing_sigma


@one_sentence
@dataclass(frozen=True, config=_STRICT)
class RunConfig:
    """Everything that decides the outcome of `fit`, saved beside the weights as config.json.

    Attributes:
        category: name of the category, for reports and recipes.
        preset: name of the preset the settings started from.
        min_area: pixels a defect must have; None is 0.02 % of an image's area, but at least the
            area that the smoothing spreads a single pixel over.
        weights_from: folder of the finished run whose weights training starts from; None for
            random ones.
    """

    category: str = ""
    preset: str = ""
    min_area: Count | None = None
    weights_from: Annotated[str, Field(min_length=1)] | None = None
    data: DataConfig = Field(default_factory=DataConfig)
    corruption: CorruptionConfig = Field(default_factory=CorruptionConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)

    def __post_init__(self) -> None:
        if self.scoring.evidence == "gate" and self.model.answer != "gated":
            raise ValueError('scoring.evidence "gate" needs model.answer "gated"')
        multiple = self.model.downsampling
        sides = [stage.size for stage in self.training.stages]
        wrong = [side for side in (*sides, *(self.inspection_size or ())) if side % multiple]
        if wrong:
            raise ValueError(
                f"a {self.model.answer} answer needs sides that are multiples of {multiple}, "
                f"received {wrong[0]}"
            )

    @property
    def inspection_size(self) -> tuple[int, int] | None:
        """(height, width) that images are resized to; None for their own size."""
        size = self.scoring.inspection_size
        if size is None:
            side = self.training.stages[-1].size
            return side, side
        return size if isinstance(size, tuple) else None


def for_few(config: RunConfig, images: int) -> RunConfig:
    """A copy for training on a few images: without relief, and with group normalisation.

    Relief would be learnt with the light of these images, and so would their statistics.

    Args:
        config: settings; of images enough they stay as they are.
    """
    if images > _FEW_IMAGES:
        return config
    model = config.model
    # That of weights which are there already is as it was.
    if config.weights_from is None and model.answer == "gated" and model.normalization is None:
        model = dataclasses.replace(model, normalization="group")
    corruption = dataclasses.replace(config.corruption, relief=0.0)
    return dataclasses.replace(config, corruption=corruption, model=model)


def resolve(config: RunConfig, side: float) -> RunConfig:
    """A copy in which the smoothing is a number.

    Args:
        config: settings; a number in them stays.
        side: shorter side of the images as the network sees them, pixels.
    """
    return resolve_as(config, ScoringConfig(smoothing_sigma=round(_SMOOTHING_SHARE * side, 1)))


def resolve_as(config: RunConfig, other: ScoringConfig) -> RunConfig:
    """A copy in which what waits for the size of the images is as in other settings."""
    if config.scoring.smoothing_sigma is not None:
        return config
    scoring = dataclasses.replace(config.scoring, smoothing_sigma=other.smoothing_sigma)
    return dataclasses.replace(config, scoring=scoring)
