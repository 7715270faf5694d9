"""`ssae-tf benchmark`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ssae_tf.cli import options
from ssae_tf.cli.main import ExitCode
from ssae_tf.errors import RunError


@click.command(
    "benchmark",
    epilog="Example: ssae-tf benchmark --data mvtec --methods ssae,ae-l2,ae-ssim --minutes 20 "
    "--out bench",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help=f"Root in MVTec AD layout. [default: ${options.DATA_VARIABLE}, then the embedded sample "
    "data]",
)
@click.option(
    "--categories",
    default="all",
    metavar="all|textures|objects|NAME,…",
    help="Categories of the root, or MVTec AD's textures or objects there. [default: all]",
)
@click.option(
    "--methods",
    metavar="ssae|ae-l2|ae-ssim,…",
    help="The self-supervised autoencoder, and plain ones without corruption. [default: ssae]",
)
@click.option(
    "--study",
    type=click.Choice(["corruption"]),
    help="Compare 16 variants of the corruption in place of methods.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Time for a training, turned into steps at the first method of each category.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for runs and tables."
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Train runs made with other settings again; each stays until the new one is complete.",
)
@options.settings
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    /,
    data: Path | None,
    categories: str,
    methods: str | None,
    study: str | None,
    minutes: float | None,
    out: Path,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Many categories and methods: the paper's tables.

    Fits and evaluates every method on every category, and writes the paper's Tables 2 to 4 with
    measured columns beside the published ones: tables.md, table2.csv, table3.csv, table4.csv,
    more.csv, index.html with images, and benchmark.json. --study corruption writes study.md and
    study.csv in place of the tables.

    All runs of a category take the same number of steps. With --minutes it is found once, at the
    pace of the first method, so that a machine that gets busy later favours no method.

    The same command again goes on: what is finished is not trained again. A category that fails is
    named in the tables, the others are still measured, and the exit code is 3.
    """
    report = options.reporter(quiet)
    options.check_budget(minutes, settings)
    if study is not None and methods is not None:
        raise click.UsageError("--study compares variants in place of --methods; give one.")

    from ssae_tf.paper_tables.methods import STUDIES, choose_methods, without_effect

    chosen = choose_methods(methods or "ssae") if study is None else STUDIES[study]()
    overruled = without_effect(list(options.given(settings)), chosen)
    if overruled:
        raise click.UsageError(
            f"{', '.join(overruled)}: set by what is compared here, and would have no effect."
        )

    from ssae_tf.paper_tables.page import PAGE_FILE
    from ssae_tf.paper_tables.plan import Plan, choose_categories
    from ssae_tf.paper_tables.run import run
    from ssae_tf.paper_tables.writing import markdown
    from ssae_tf.runtime.signals import exit_code
    from ssae_tf.training.loop import TrainingInterrupted

    root = options.resolve_data(data, report)
    names = choose_categories(root, categories)
    # Here, so that it is said once and not for each category.
    settings["preset"] = options.choose_preset(settings, report)
    plan = Plan(
        root,
        names,
        chosen,
        {name: options.build_config(settings, name, report) for name in names},
        minutes,
        study,
        ("ssae-tf", *sys.argv[1:]),
    )
    try:
        results = run(plan, out, overwrite=overwrite, reporter=report)
    except (TrainingInterrupted, KeyboardInterrupt) as error:
        click.echo(f"Interrupted; all is kept in {out}. The same command again goes on.", err=True)
        ctx.exit(exit_code(error))
    if not results.measured:
        reason = next(iter(results.failed.values()))
        raise RunError(f"None of the runs could be measured, the first because: {reason}")
    text = markdown(results, with_sources=False)
    click.echo(text, nl=False)
    report.say(f"Page with images: {out / PAGE_FILE}")
    if results.failed:
        ctx.exit(ExitCode.PARTIAL)
