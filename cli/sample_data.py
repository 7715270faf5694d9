"""`ssae-tf sample-data`."""

from __future__ import annotations

from pathlib import Path

import click

from ssae_tf.cli import options


@click.command("sample-data", epilog="Example: ssae-tf sample-data --out data")
@click.option("--out", required=True, type=options.PATH, help="Root folder of the data set.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace categories that exist.")
def command(out: Path, seed: int, overwrite: bool) -> None:
    """Write the embedded sample data set.

    Procedural surfaces with defects and masks, in MVTec AD layout, without licence attached; the
    same seed writes the same files.
    """
    from ssae_tf.sample_data.sample import CATEGORIES, write_sample_data

    write_sample_data(out, seed=seed, overwrite=overwrite)
    for name in CATEGORIES:
        options.print_path(out / name)
