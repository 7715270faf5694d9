"""`ssae-tf export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssae_tf.cli import options
from ssae_tf.cli.main import ExitCode
from ssae_tf.export import tfserving
from ssae_tf.export.formats import FORMATS

if TYPE_CHECKING:
    from ssae_tf.export.build import Exported
    from ssae_tf.progress import Reporter

_PRECISIONS = list(dict.fromkeys(name for one in FORMATS.values() for name in one.precisions))

_SIZE = click.IntRange(min=1)


def _list(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("format", "for", "precisions", "here", box=None)
    for one in FORMATS.values():
        table.add_row(one.name, one.about, " ".join(one.precisions), escape(one.state()))
    options.print_table(table)
    ctx.exit()


@click.command("export", epilog="Example: ssae-tf export runs/tile --format savedmodel")
@click.argument("run", required=False, type=options.PATH)
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), help="What to make.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="Say of each format whether it works here, and stop.",
)
@click.option(
    "--precision", type=click.Choice(_PRECISIONS), help="[default: the format's exact one]"
)
@click.option(
    "--out",
    type=options.PATH,
    help="Folder of the artefact; of its versions for savedmodel. [default: RUN/export/FORMAT]",
)
@click.option(
    "--image-size",
    type=(_SIZE, _SIZE),
    metavar="H W",
    help="Take images of this size only. [default: any size]",
)
@click.option("--no-reconstruction", is_flag=True, help="Leave the reconstruction out.")
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    default=0,
    help="Requests that TF Serving replays on loading (savedmodel).",
)
@click.option("--min-shape", type=(_SIZE,) * 3, metavar="B H W", help="Smallest of an engine.")
@click.option("--opt-shape", type=(_SIZE,) * 3, metavar="B H W", help="What it is tuned for.")
@click.option("--max-shape", type=(_SIZE,) * 3, metavar="B H W", help="Largest of an engine.")
@click.option(
    "--data",
    type=options.PATH,
    help="Good images to compare and calibrate on; or where the run's own data, with the same "
    "files, have moved: then its calibration images there. [default: those where they were]",
)
@click.option("--seed", type=int, default=0, help="Of the corrupted images to compare on.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=1800.0,
    show_default=True,
    help="Seconds that a converter may take.",
)
@click.option(
    "--quick-check",
    is_flag=True,
    help="Compare on 2 good images, their corrupted copies and crops, not on all.",
)
@click.option("--overwrite", is_flag=True, help="Replace an artefact; the newest version.")
@click.option("--keep-failed", is_flag=True, help="Keep what fails its check, as NAME.failed.")
@options.quiet
@click.pass_context
def command(ctx: click.Context, /, run: Path | None, quiet: bool, **values: Any) -> None:
    """Make an artefact that runs without this package.

    RUN is a run folder, by default the newest under runs/. The artefact is reloaded in its own
    runtime and compared with the run's detector; one that judges otherwise is not left behind.
    Where a GPU's builder is missing, the ONNX file is written and the exit code is 3.
    """
    _check(values)
    report = options.reporter(quiet)
    folder = options.resolve_run(run, report)

    from ssae_tf.export.build import export
    from ssae_tf.export.formats.tensorrt import Profile
    from ssae_tf.export.make import Request

    shapes = [values[name] for name in ("min_shape", "opt_shape", "max_shape")]
    request = Request(
        values["format_name"],
        precision=values["precision"],
        image_size=values["image_size"],
        has_reconstruction=not values["no_reconstruction"],
        warmup=values["warmup"],
        profile=Profile(*shapes) if shapes[0] else None,
        seed=values["seed"],
        time_limit=values["time_limit"],
        quick_check=values["quick_check"],
    )
    made = export(
        folder,
        request,
        data=values["data"],
        out=values["out"],
        overwrite=values["overwrite"],
        keep_failed=values["keep_failed"],
        reporter=report,
    )
    report.say(made.parity.sentence())
    if request.format == "savedmodel":
        _tell_how_to_serve(made, report)
    options.print_path(made.folder)
    if made.missing:
        report.warn(made.missing)
        ctx.exit(ExitCode.PARTIAL)


def _check(values: dict[str, Any]) -> None:
    """Refuses options that have no effect together, and formats whose packages are missing."""
    name = values["format_name"]
    if name is None:
        raise click.UsageError(f"Missing option --format: one of {', '.join(FORMATS)}; or --list.")
    if values["warmup"] and name != "savedmodel":
        raise click.UsageError("--warmup is for --format savedmodel.")
    shapes = [values[one] is not None for one in ("min_shape", "opt_shape", "max_shape")]
    if any(shapes) and not (all(shapes) and name in ("trt", "trt-rtx")):
        raise click.UsageError(
            "--min-shape, --opt-shape and --max-shape go together, with --format trt or trt-rtx."
        )
    # Before TensorFlow is imported and a run opened.
    FORMATS[name].check()
    if values["warmup"]:
        tfserving.check()


def _tell_how_to_serve(made: Exported, report: Reporter) -> None:
    from ssae_tf.export.tfserving import HOW_TO_OPEN, docker_command, models_config

    folder = made.folder.parent
    click.echo(models_config(folder.resolve().name), nl=False)
    click.echo(docker_command(folder, folder.resolve().name))
    report.say(HOW_TO_OPEN)
