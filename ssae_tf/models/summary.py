"""Table 1 for any width and image size: the rows of `ssae-tf summary`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
from rich.table import Table

from ssae_tf.config import ModelConfig
from ssae_tf.models.autoencoder import DILATION_RATES, autoencoder
from ssae_tf.models.blocks import DilatedConv2D

# A multiply-add is two floating-point operations; the memory is that of the output.
_COUNTS = ("Parameters", "GMACs", "MiB")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of Table 1.

    Attributes:
        layer: "Conv.", "MaxPool.", "SDC 1,2,4,8,16" or "Transp. Conv.".
        filters: as the table writes them, such as "64×5"; "" for pooling.
        kernel: such as "3×3/2".
        output: (height, width, channels).
        parameters: of the layer and its batch normalisation, moving statistics left out.
        multiply_adds: of the layer's kernels for one image, with every tap.
        activation_bytes: of the output for one image in float32.
    """

    layer: str
    filters: str
    kernel: str
    output: tuple[int, int, int]
    parameters: int
    multiply_adds: int
    activation_bytes: int


def rows(config: ModelConfig, size: int) -> list[Row]:
    """The rows of Table 1 in order, read off a model.

    Args:
        size: side of the image, pixels, a multiple of 8.
    """
    model = autoencoder(config, training_size=size)
    by_name = {layer.name: layer for layer in model.layers}
    outputs = [layer.output for layer in model.layers]
    shapes = _shapes(tf.keras.Model(model.input, outputs), model, size)

    result = []
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, DilatedConv2D) and layer.rate == DILATION_RATES[0]:
            block = name.split("_")[0]
            parts = [by_name[f"{block}_rate{rate}"] for rate in DILATION_RATES]
            rates = ",".join(map(str, DILATION_RATES))
            kind, filters = f"SDC {rates}", f"{layer.filters}×{len(parts)}"
            kernel, output = f"{layer.kernel_size}×{layer.kernel_size}", f"{block}_concat"
            parts.append(by_name[f"{block}_norm"])
        elif isinstance(layer, tf.keras.layers.MaxPooling2D):
            kind, filters, kernel, output, parts = "MaxPool.", "", "2×2/2", name, []
        # A transposed convolution is a convolution for Keras 2 only.
        elif isinstance(layer, (tf.keras.layers.Conv2D, tf.keras.layers.Conv2DTranspose)):
            transposed = isinstance(layer, tf.keras.layers.Conv2DTranspose)
            kind = "Transp. Conv." if transposed else "Conv."
            filters = str(layer.filters)
            kernel = "×".join(map(str, layer.kernel_size)) + ("/2" if transposed else "")
            output = name
            parts = [layer, *([by_name[f"{name}_norm"]] if f"{name}_norm" in by_name else [])]
        else:
            continue
        height, width, channels = shapes[output]
        # A transposed convolution multiplies each pixel of its input, of half the size each way.
        pixels = height * width // (4 if kind == "Transp. Conv." else 1)
        weights = [int(tf.size(v)) for part in parts for v in part.trainable_weights]
        products = sum(int(tf.size(v)) for part in parts for v in part.weights if len(v.shape) == 4)
        memory = height * width * channels * tf.float32.size
        result.append(
            Row(kind, filters, kernel, shapes[output], sum(weights), pixels * products, memory)
        )
    return result


def summary_table(config: ModelConfig, size: int) -> Table:
    """The rows as a table for the terminal, with totals."""
    # As narrow as that, it fits a terminal of 80 columns.
    table = Table(title=f"Table 1, width {config.width:g}, images of {size}×{size}", pad_edge=False)
    table.add_column("Layer")
    for heading in ("Filters", "Kernel", "Output size", *_COUNTS):
        table.add_column(heading, justify="right")
    table_rows = rows(config, size)
    for row in table_rows:
        output = "×".join(map(str, row.output))
        table.add_row(row.layer, row.filters, row.kernel, output, *_counts([row]))
    table.add_section()
    table.add_row("Total", "", "", "", *_counts(table_rows))
    return table


def _counts(table_rows: Sequence[Row]) -> tuple[str, str, str]:
    parameters = sum(row.parameters for row in table_rows)
    multiply_adds = sum(row.multiply_adds for row in table_rows)
    activations = sum(row.activation_bytes for row in table_rows)
    return f"{parameters:,}", f"{multiply_adds / 1e9:.3f}", f"{activations / 2**20:,.1f}"


def _shapes(
    probe: tf.keras.Model, model: tf.keras.Model, size: int
) -> dict[str, tuple[int, int, int]]:
    """Output shapes by layer name, from a trace that computes nothing."""
    image = tf.TensorSpec((1, size, size, model.inputs[0].shape[-1]), tf.float32)
    traced = tf.function(lambda x: probe(x, training=False), autograph=False)
    outputs = traced.get_concrete_function(image).structured_outputs
    return {
        layer.name: (int(output.shape[1]), int(output.shape[2]), int(output.shape[3]))
        for layer, output in zip(model.layers, outputs, strict=True)
    }
