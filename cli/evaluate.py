"""`ssae-tf evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssae_tf.cli import options

if TYPE_CHECKING:
    from ssae_tf.progress import Reporter


@click.command("evaluate", epilog="Example: ssae-tf evaluate runs/tile --json > metrics.json")
@click.argument("run", required=False, type=options.PATH)
@click.option(
    "--data",
    type=options.PATH,
    help="Root in MVTec AD layout, of other images or where the run's own have moved. [default: "
    "the data the run was trained on]",
)
@click.option("--category", help="Category under the root. [default: the run's]")
@click.option(
    "--good",
    type=options.PATH,
    help="Folder of good images to measure on instead, searched through; needs no layout.",
)
@click.option("--bad", type=options.PATH, help="Folder of defective images, likewise.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON file's content, no table.")
@click.option(
    "--out",
    type=options.PATH,
    help="Folder for the files written. [default: the run folder; none for other data]",
)
@click.option(
    "--ablation",
    "is_ablation",
    is_flag=True,
    help="Measure the run without each of its parts instead, into ablation.json.",
)
@options.quiet
def command(
    run: Path | None,
    data: Path | None,
    category: str | None,
    good: Path | None,
    bad: Path | None,
    as_json: bool,
    out: Path | None,
    is_ablation: bool,
    quiet: bool,
) -> None:
    """Measure a run on its test images.

    RUN is a run folder, by default the newest under runs/. Prints a table with a row per kind of
    defect, and writes metrics.json, a sheet per kind with the best, median and worst images,
    report.html, a page about all of it, and verdicts.csv, a line per image.
    With --data, --category, --good or --bad they go to --out, and nowhere without: those in the run
    folder are of the run's own data. Figures of pixels need masks, which --good and --bad have not.

    A line below the table says how well the network repairs synthetic anomalies, and what else it
    moves. --ablation prints a row for the run and for each of its parts left out, the rest fitted
    anew to the run's own good images: what the network and each part are worth.
    """
    has_folders = good is not None or bad is not None
    if has_folders and (data is not None or category is not None or is_ablation):
        raise click.UsageError("--good and --bad go without --data, --category and --ablation.")
    report = options.reporter(quiet)
    folder = options.resolve_run(run, report)

    from ssae_tf import workflow
    from ssae_tf.detector import run_config
    from ssae_tf.run_folder import REPORT_FILE, SHEETS_FOLDER, evaluating
    from ssae_tf.runtime.threads import use_cores

    use_cores()
    is_own = data is None and category is None and not has_folders
    if out is None and is_own:
        out = folder
    if is_ablation:
        run_config(folder)
        click.get_current_context().with_resource(evaluating(folder, out))
        _ablate(folder, data, category, as_json, out, report)
        return
    metrics = workflow.evaluate(
        folder, data=data, category=category, good=good, bad=bad, out=out, reporter=report
    )
    if as_json:
        options.print_json(metrics, indent=2)
    else:
        options.print_metrics(metrics)
    if out is not None:
        sheets = out / SHEETS_FOLDER
        report.say(f"Sheets of the best, median and worst images: {sheets}")
        report.say(f"Report: {sheets.with_name(REPORT_FILE)}")
    else:
        report.say(
            "Nothing was written: --out FOLDER keeps metrics, verdicts, sheets and a report."
        )


def _ablate(
    folder: Path,
    data: Path | None,
    category: str | None,
    as_json: bool,
    out: Path | None,
    report: Reporter,
) -> None:
    from ssae_tf.ablation import ablate
    from ssae_tf.evaluation.tables import ablation_table
    from ssae_tf.files import write_json
    from ssae_tf.run_folder import ABLATION_FILE, REPORT_FILE

    rows = ablate(folder, data=data, category=category, reporter=report)
    if out is not None:
        write_json(out / ABLATION_FILE, {"ablation": rows})
        report.say(
            f"Written: {out / ABLATION_FILE}; the next evaluation into {out} shows it in "
            f"{REPORT_FILE}."
        )
    if as_json:
        options.print_json({"ablation": rows}, indent=2)
    else:
        options.print_table(ablation_table(rows))
