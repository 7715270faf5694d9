"""`ssae-tf preview`."""

from __future__ import annotations

from pathlib import Path

import click

from ssae_tf.cli import options


@click.command("preview", epilog="Example: ssae-tf preview --category tile --out preview")
@options.category
@options.data
@click.option("--out", required=True, type=options.PATH, help="Folder for the sheet.")
@click.option("--rows", type=click.IntRange(1, 32), default=8, show_default=True)
@options.settings
@options.quiet
def command(
    category: str | None, data: Path | None, out: Path, rows: int, quiet: bool, **settings: object
) -> None:
    """Show corrupted training images.

    Writes a sheet of X, its corrupted copy X̂, the mask M and |X̂ − X|, made as training makes
    them, to look at before training.
    """
    report = options.reporter(quiet)
    root = options.resolve_data(data, report)

    from ssae_tf.data.mvtec import category_name
    from ssae_tf.preview import preview

    category = options.choose_category(category, settings)
    name = category_name(root, category)
    config = options.build_config(settings, name, report)
    path = preview(root, category, config, out, rows, reporter=report)
    options.print_path(path)
