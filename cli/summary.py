"""`ssae-tf summary`."""

from __future__ import annotations

import click

from ssae_tf.cli import options


@click.command("summary", epilog="Example: ssae-tf summary --width 0.25 --size 256")
@click.option("--width", type=float, default=1.0, show_default=True, help="1.0 is the paper's.")
@click.option("--size", type=int, default=512, show_default=True, help="Side of the image, pixels.")
def command(width: float, size: int) -> None:
    """Print the network layer by layer.

    The rows are those of the paper's Table 1, with the number of parameters, and for one image of
    the given size the output size, the multiply-adds in billions (with every tap of the dilated
    kernels) and the memory of the output in float32.
    """
    from ssae_tf.config import from_dict
    from ssae_tf.models.summary import summary_table

    stage = {"size": size, "batch_size": 1, "steps": 1}
    config = from_dict({"model": {"width": width}, "training": {"stages": [stage]}})
    options.print_table(summary_table(config.model, size))
