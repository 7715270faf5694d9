"""`ssae-tf predict --engine ray`: many images, on the machines of a cluster, into a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ssae_tf.cli.main import ExitCode
from ssae_tf.errors import DataError, printable
from ssae_tf.progress import Reporter


def check_table(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuses a table whose name does not say its format."""
    from ssae_tf.fleet import FORMATS

    if value is not None and not value.rstrip("/").endswith(FORMATS):
        raise click.BadParameter(f"expected a name ending in {' or '.join(FORMATS)}: {value}.")
    return value


def predict(
    run: Path,
    sources: Sequence[str],
    table: str,
    report: Reporter,
    workers: int | None,
    threshold: float | None,
    max_pixels: int,
) -> ExitCode:
    """Inspects what sources name; the table's path is the result on stdout.

    Raises:
        SsaeError: it can't begin, or a worker can't.
    """
    from ssae_tf.fleet import sources as sources_module
    from ssae_tf.fleet.engine import check_ray, score

    check_ray()
    paths = sources_module.find(sources)
    if not paths:
        raise DataError(f"{', '.join(sources)}: no images found.")
    counts = score(
        run, paths, table, report, workers=workers, threshold=threshold, max_pixels=max_pixels
    )
    report.say(
        f"{len(paths)} images: {counts.before} had rows before, {counts.good} are good, "
        f"{counts.anomalous} anomalous, {counts.failed} have an error."
    )
    if counts.lost:
        report.warn(
            f"{counts.lost} images have no row: their worker died each time. The same command "
            "tries them again."
        )
    click.echo(printable(table))
    return ExitCode.PARTIAL if counts.failed or counts.lost else ExitCode.SUCCESS
