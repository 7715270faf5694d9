"""`ssae-tf evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ssae_tf.cli import options


@click.command("evaluate", epilog="Example: ssae-tf evaluate runs/tile --json > metrics.json")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Root in MVTec AD layout. [default: the data the run was trained on]",
)
@click.option("--category", help="Category under the root. [default: the run's]")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json's content, no table.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for metrics.json and the sheets. [default: the run folder; none for other data]",
)
@options.quiet
def command(
    run: Path | None,
    data: Path | None,
    category: str | None,
    as_json: bool,
    out: Path | None,
    quiet: bool,
) -> None:
    """Measure a run on its test pictures.

    RUN is a run folder, by default the newest under runs/. Prints a table with a row per kind of
    defect, and writes metrics.json and a sheet per kind with the best, median and worst pictures.
    With --data or --category they go to --out: those in the run folder are of the run's own data.
    """
    report = options.reporter(quiet)
    folder = options.resolve_run(run, report)

    from ssae_tf import workflow
    from ssae_tf.files import write_json
    from ssae_tf.training.threads import use_cores

    use_cores()
    if out is None and data is None and category is None:
        out = folder
    sheets = None if out is None else out / workflow.SHEETS_FOLDER
    metrics = workflow.evaluate(
        folder, data=data, category=category, sheets=sheets, reporter=report
    )
    if out is not None:
        write_json(out / workflow.METRICS_FILE, metrics)
    if as_json:
        click.echo(json.dumps(metrics, indent=2))
    else:
        options.print_metrics(metrics)
    if sheets is not None:
        report.say(f"Sheets of the best, median and worst pictures: {sheets}")
