"""One compiled training step: corruption, forward pass, objective, backward pass, update."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ssae_tf.config import ObjectiveConfig, RunConfig
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.models.answer import answer
from ssae_tf.training.objective import gate_error, objective, region_errors

Figures = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def corruption_seed(config: RunConfig, step: tf.Tensor) -> tf.Tensor:
    """The seed of one step's corruption, (2,) int32: the same wherever the corruption runs."""
    return tf.stack([tf.constant(config.training.seed, tf.int32), tf.cast(step, tf.int32)])


def loss_and_errors(
    output: tf.Tensor, x: tf.Tensor, x_hat: tf.Tensor, mask: tf.Tensor, settings: ObjectiveConfig
) -> Figures:
    """Loss and errors of a batch.

    Args:
        output: what the network makes of X̂; `ssae_tf.answer.answer` takes it apart.
        x, x_hat, mask: X, X̂ and M, as in `ssae_tf.objective.objective`.

    Returns:
        Scalars: the objective of F(X̂), averaged over the batch, and the mean absolute errors of
        F(X̂) outside and inside M. To the objective of a gated network those of G(X̂) and A are
        added: by itself F(X̂) teaches G only where the gate is open, and the gate only where G is
        right already.
    """
    repaired = answer(output, x.shape[-1])

    def error(reconstruction: tf.Tensor) -> tf.Tensor:
        return objective(
            reconstruction,
            x,
            x_hat,
            mask,
            equation=settings.equation,
            weight=settings.weight,
            norm=settings.norm,
        )

    losses = error(repaired.reconstruction)
    if repaired.gate is not None:
        losses += error(repaired.repaint) + gate_error(repaired.gate, mask)
    return tf.reduce_mean(losses), *region_errors(repaired.reconstruction, x, mask)


def corrupt_in_pipeline(batches: tf.data.Dataset, config: RunConfig) -> tf.data.Dataset:
    """Adds X̂ and M to batches of (step, X), or of (step, X, what counts of it), in tf.data.

    Returns:
        A data set of (step, X, X̂, M).
    """

    # Else TensorFlow spends seconds on the corruption's source, in search of control flow.
    @tf.autograph.experimental.do_not_convert
    def add(step: tf.Tensor, x: tf.Tensor, *counted: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (step, x, *corrupt(x, corruption_seed(config, step), config.corruption, *counted))

    corrupted = batches.map(add, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return corrupted.prefetch(tf.data.AUTOTUNE)


def make_step(
    model: tf.keras.Model,
    optimizer: tf.keras.optimizers.Optimizer,
    config: RunConfig,
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[..., Figures]:
    """Compiles the step for one stage.

    Args:
        model: F.
        optimizer: built for the model's trainable variables.
        config: where and how images are corrupted, the objective, XLA.
        strategy: the devices, which share the images of the whole batch; None for one. Each part
            has batch statistics of its own.

    Returns:
        A function of (step, X), which what counts of X may follow, or of (step, X, X̂, M) when the
        corruption runs in the pipeline, that updates the model and returns the loss and the mean
        absolute errors outside and inside M, all of F(X̂) before the update.
    """
    variables = model.trainable_variables

    strategy = strategy or tf.distribute.get_strategy()
    parts = strategy.num_replicas_in_sync

    def update(x: tf.Tensor, x_hat: tf.Tensor, mask: tf.Tensor) -> Figures:
        count = x.shape[0]
        bounds = [count * k // parts for k in range(parts + 1)]
        areas = _areas(mask)

        def of_device() -> list[tf.Tensor]:
            """Gradients, loss and errors of its images, summed up to those of the batch."""
            context = tf.distribute.get_replica_context()
            replica = int(tf.get_static_value(context.replica_id_in_sync_group))
            first, last = bounds[replica : replica + 2]
            clean, corrupted, region = (p[first:last] for p in (x, x_hat, mask))
            with tf.GradientTape() as tape:
                output = model(corrupted, training=True)
                loss, *errors = loss_and_errors(output, clean, corrupted, region, config.objective)
                # So that the parts add up to the mean over the batch.
                loss *= (last - first) / count
            shares = map(tf.math.divide_no_nan, _areas(region), areas)
            weighed = [e * share for e, share in zip(errors, shares, strict=True)]
            figures = [*tape.gradient(loss, variables), loss, *weighed]
            return context.all_reduce(tf.distribute.ReduceOp.SUM, figures)

        sums = [strategy.experimental_local_results(one)[0] for one in strategy.run(of_device)]
        # All or nothing: a worker that is lost within a step leaves no half of an update.
        with tf.control_dependencies(sums):
            *gradients, loss, outside, inside = [tf.identity(one) for one in sums]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, outside, inside

    def step(index: tf.Tensor, x: tf.Tensor, *counted: tf.Tensor) -> Figures:
        seed = corruption_seed(config, index)
        return update(x, *corrupt(x, seed, config.corruption, *counted))

    def step_of_pipeline(
        index: tf.Tensor,  # noqa: ARG001 - the pipeline has used it
        x: tf.Tensor,
        x_hat: tf.Tensor,
        mask: tf.Tensor,
    ) -> Figures:
        return update(x, x_hat, mask)

    function = step if config.corruption.where == "step" else step_of_pipeline
    # Autograph would only slow the tracing: there is no Python control flow on tensors.
    return tf.function(function, autograph=False, jit_compile=config.training.jit or None)


def _areas(mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reduce_sum(1.0 - mask), tf.reduce_sum(mask)
