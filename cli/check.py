"""`ssae-tf check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssae_tf.cli import options
from ssae_tf.cli.main import ExitCode
from ssae_tf.errors import count_of, printable

if TYPE_CHECKING:
    from ssae_tf.data.check import Check
    from ssae_tf.data.faults import Finding

_SCHEMA_VERSION = 1
# Of a finding; --json names all.
_NAMED = 3


@click.command("check", epilog="Example: ssae-tf check data --category tile --out check")
@click.argument("data", required=False, type=options.PATH)
@options.category
@click.option("--out", type=options.PATH, help="Folder for a sheet of unusual images.")
@click.option("--json", "as_json", is_flag=True, help="All findings with all names, as JSON.")
@options.settings
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data: Path | None,
    category: str | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **settings: object,
) -> None:
    """Look for what is wrong with a folder, before training.

    Reads all images and masks: sizes, depth, exposure, unusual images, copies, parts that were
    photographed more than once, masks that don't fit, files left out. Takes the settings that fit
    would get. DATA is as fit's --data. Exit code 3: something is to be mended.
    """
    report = options.reporter(quiet)
    root = options.resolve_data(data, report)

    from ssae_tf.data.check import check
    from ssae_tf.data.mvtec import load_category

    loaded = load_category(root, options.choose_category(category, settings))
    config = options.build_config(settings, loaded.name, report)
    samples = len(loaded.train) + len(loaded.validation) + len(loaded.test)
    with report.task("Looking at images", samples) as task:
        checked = check(loaded, config, task.advance)
    if as_json:
        click.echo(json.dumps(_to_dict(checked), indent=2))
    else:
        _print(checked)
    if out is not None:
        path = _draw(checked, out)
        report.say(f"The most unusual good images: {path}")
    if not checked.is_clean:
        ctx.exit(ExitCode.PARTIAL)


def _to_dict(checked: Check) -> dict[str, Any]:
    import dataclasses

    return {
        "schema_version": _SCHEMA_VERSION,
        "category": checked.category.name,
        "images": _counts(checked),
        "promise": checked.promise and checked.promise.to_dict(),
        "findings": [dataclasses.asdict(finding) for finding in checked.findings],
        "unusual": checked.unusual(),
        "twins": checked.twins,
    }


def _counts(checked: Check) -> dict[str, int]:
    split = checked.split
    return {
        "train": len(split.train),
        "select": len(split.select),
        "calibrate": len(split.calibrate),
        "test": len(checked.category.test),
    }


def _print(checked: Check) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in _counts(checked).items())
    images = count_of(len(checked.good), "good image")
    click.echo(printable(f"{checked.category.name}: {images} ({counts})."))
    for finding in checked.findings:
        click.echo()
        for line in _lines(finding):
            click.echo(printable(line))
    click.echo()
    if checked.is_clean:
        click.echo("Nothing stands in the way of fit.")
    if checked.promise is not None:
        click.echo(checked.promise.sentence())


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.level.capitalize()}: {finding.title}", f"  {finding.detail}"]
    lines += [f"  - {name}" for name in finding.names[:_NAMED]]
    if len(finding.names) > _NAMED:
        lines.append(f"  - and {len(finding.names) - _NAMED} more")
    return [*lines, f"  What to do: {finding.remedy}"]


def _draw(checked: Check, folder: Path) -> Path:
    from ssae_tf.data.images import write_png
    from ssae_tf.data.unusual import contact_sheet
    from ssae_tf.errors import DataError

    path = folder / "unusual.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: can't be made ({error.strerror}).") from error
    write_png(path, contact_sheet(checked.good, checked.scores))
    return path
