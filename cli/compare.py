"""`ssae-tf compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssae_tf.cli import options

if TYPE_CHECKING:
    from ssae_tf.evaluation.comparison import Run


@click.command("compare", epilog="Example: ssae-tf compare runs/tile runs/best --out both.html")
@click.argument("runs", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write the same to. [default: none]",
)
@options.quiet
def command(runs: tuple[Path, ...], out: Path | None, quiet: bool) -> None:
    """Show runs side by side.

    Prints the figures of metrics.json, and the settings in which the RUNS differ. Nothing is
    measured anew: `evaluate` does that.
    """
    report = options.reporter(quiet)

    from ssae_tf.evaluation.comparison import compare, tables, write_comparison

    comparison = compare([_read(run) for run in runs])
    for table in tables(comparison):
        options.print_table(table)
    for note in comparison.notes:
        report.warn(note)
    if out is not None:
        write_comparison(out, comparison)
        report.say(f"Page: {out}")


def _read(folder: Path) -> Run:
    from ssae_tf.errors import RunError
    from ssae_tf.evaluation.comparison import Run
    from ssae_tf.files import read_json
    from ssae_tf.run_folder import CALIBRATION_FILE, CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE

    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder.")
    optional = [name for name in (METRICS_FILE, ENVIRONMENT_FILE) if (folder / name).is_file()]
    records = {
        name: read_json(folder / name) for name in (CONFIG_FILE, CALIBRATION_FILE, *optional)
    }
    for name, value in records.items():
        if not isinstance(value, dict):
            raise RunError(f"{folder / name}: expected a JSON object.")
    return Run(
        str(folder),
        records[CONFIG_FILE],
        records.get(METRICS_FILE),
        records[CALIBRATION_FILE],
        records.get(ENVIRONMENT_FILE, {}).get("data_hash", ""),
    )
