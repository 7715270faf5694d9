"""Choosing the checkpoint from normal images alone (section 4.4).

For objective (1) "the reconstruction error is a good approximation for our target loss": its value
on corrupted images of the *select* split decides. Models of objectives (2) and (3) may learn to
localise the training corruption and miss real defects: they are validated by how well their
residual finds corruptions of families that training never uses. A gated network of objective (1) is
taken as it is at the end, when the learning rate has fallen: on few images its loss, in which the
gate's is summed up, chose one that finds less (docs/decisions.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ssae_tf.config import RunConfig, ScoringConfig
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.corruption.held_out import held_out
from ssae_tf.evaluation.metrics import auroc
from ssae_tf.models.answer import answer
from ssae_tf.scoring.anomaly_map import anomaly_map
from ssae_tf.training import normalization
from ssae_tf.training.objective import region_errors
from ssae_tf.training.step import loss_and_errors

# Of the smoothing of a map, as a share of its side.
_LARGEST_SIGMA = 1 / 16


@dataclasses.dataclass(frozen=True)
class ValidationMetrics:
    """How a model does on the *select* split.

    Attributes:
        criterion: what is minimised over the training.
        loss: the objective, in inference mode.
        outside, inside: mean absolute errors outside and inside M, in inference mode.
        outside_training, inside_training: the same errors with batch normalisation in training
            mode: the gap to the former two is what inference loses.
        held_out_auroc: pixel AUROC of the anomaly map for corruptions that training never uses.
    """

    criterion: float
    loss: float
    outside: float
    inside: float
    outside_training: float
    inside_training: float
    held_out_auroc: float


class Validator:
    """Judges a model on fixed corrupted images of the *select* split.

    Attributes:
        scoring: of the images' maps.
    """

    def __init__(
        self,
        model: tf.keras.Model,
        batches: Sequence[np.ndarray],
        config: RunConfig,
        counted: Sequence[np.ndarray] = (),
    ) -> None:
        """Corrupts the images, once.

        Args:
            model: what will be validated, as it is at each call of `validate`.
            batches: clean images, each (B, H, W, 3) float32 in [0, 1].
            counted: what counts of each batch, (B, H, W, 1) float32; none for all.
        """
        self._model = model
        self._config = config
        self._batches = []
        for index, batch in enumerate(batches):
            x = tf.constant(batch)
            # Seeds apart from those of training steps, which are (seed, step).
            seed = tf.constant([-1 - index, config.training.seed], tf.int32)
            where = [tf.constant(one) for one in counted[index : index + 1]]
            corrupted = corrupt(x, seed, config.corruption, *where)
            self._batches.append((x, corrupted, held_out(x, seed, *where), where))
        self.scoring = _of_side(config.scoring, batches[0].shape[1])
        self._compiled = tf.function(self._measure, autograph=False)

    @property
    def examples(self) -> tf.Tensor:
        """X̂ of the first batch, to look at."""
        return self._batches[0][1][0]

    def validate(self) -> ValidationMetrics:
        """Judges the model; its moving statistics are as before afterwards."""
        figures, maps, masks = [], [], []
        for x, (x_hat, mask), (unseen, unseen_mask), where in self._batches:
            with normalization.statistics_kept(self._model):
                *numbers, map_ = self._compiled(x, x_hat, mask, unseen, *where)
            figures.append([float(number) for number in numbers])
            chosen = where[0].numpy()[..., 0] > 0 if where else np.ones(map_.shape, np.bool_)
            maps.append(map_.numpy()[chosen])
            masks.append(unseen_mask.numpy()[..., 0][chosen] > 0)
        loss, outside, inside, outside_training, inside_training = np.mean(figures, axis=0).tolist()
        # The maps of a model that has diverged have no order.
        is_sound = np.isfinite(figures).all()
        measured = auroc(np.concatenate(masks), np.concatenate(maps)) if is_sound else None
        held_out_auroc = 0.5 if measured is None else measured
        criterion = loss if self._config.objective.equation == 1 else 1.0 - held_out_auroc
        return ValidationMetrics(
            criterion, loss, outside, inside, outside_training, inside_training, held_out_auroc
        )

    def _measure(
        self,
        x: tf.Tensor,
        x_hat: tf.Tensor,
        mask: tf.Tensor,
        unseen: tf.Tensor,
        counted: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, ...]:
        """Loss, errors in inference mode and in training mode, and the maps of unseen defects."""
        output = self._model(x_hat, training=False)
        figures = loss_and_errors(output, x, x_hat, mask, self._config.objective)
        repaired = answer(self._model(unseen, training=False))
        maps = anomaly_map(repaired, unseen, self.scoring, counted=counted)
        in_training = region_errors(answer(self._model(x_hat, training=True))[0], x, mask)
        return *figures, *in_training, maps


def _of_side(scoring: ScoringConfig, side: int) -> ScoringConfig:
    """Smoothing for large images would leave nothing to see of a small one."""
    return dataclasses.replace(scoring, smoothing_sigma=min(scoring.sigma, _LARGEST_SIGMA * side))
