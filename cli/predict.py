"""`ssae-tf predict`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssae_tf.cli import options
from ssae_tf.cli.main import ExitCode
from ssae_tf.errors import DataError, RunError

if TYPE_CHECKING:
    from ssae_tf.detector import Result


@click.command(
    "predict", epilog="Example: ssae-tf predict runs/tile pictures/ --out found > found.jsonl"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the map, the mask and an overlay of each picture.",
)
@click.option(
    "--threshold",
    type=float,
    help="Score above which a picture is anomalous. [default: the run's]",
)
@click.option(
    "--tile",
    type=click.IntRange(min=64),
    metavar="PIXELS",
    help="Show large pictures to the network in tiles of this side, which takes less memory; not "
    "of runs that standardize whole pictures, as presets quick and best do.",
)
@click.option(
    "--halo",
    type=click.IntRange(min=0),
    metavar="PIXELS",
    help="What tiles overlap by. [default: the receptive field's reach, so that nothing is lost]",
)
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    pictures: tuple[Path, ...],
    out: Path | None,
    threshold: float | None,
    tile: int | None,
    halo: int | None,
    quiet: bool,
) -> None:
    """Inspect pictures: one JSON line each.

    RUN is a run folder, or an artefact of `ssae-tf export`. PICTURES are files and folders, in any
    mix; folders are searched through. A picture that can't be read gives a line with `error`, the
    others are still inspected, and the exit code is 3.
    """
    if halo is not None and tile is None:
        raise click.UsageError("--halo needs --tile.")
    report = options.reporter(quiet)

    from ssae_tf.data.mvtec import find_pictures
    from ssae_tf.detector import SCHEMA_VERSION, Detector
    from ssae_tf.export.artefact import find, open_detector
    from ssae_tf.overlap import ahead
    from ssae_tf.training.threads import side_by_side, use_cores

    paths = find_pictures(pictures)
    # A single picture, or tiles of one, are seen with all cores, and an artefact's runtime takes
    # one call at a time.
    is_many = len(paths) > 1 and tile is None
    if is_many and find(run) is None:
        use_cores()
    detector = open_detector(run)
    more: dict[str, Any] = {"threshold": threshold}
    if tile is not None:
        if not isinstance(detector, Detector):
            raise RunError(f"{run}: an artefact sees pictures whole; --tile takes a run folder.")
        tiles = more["tiles"] = detector.tiles(tile, halo)
        lost = "" if tiles.halo >= tiles.reach else "; the map differs from that of the whole"
        report.say(
            f"Tiles of {tiles.side} pixels, halo {tiles.halo}, receptive field {tiles.reach} to "
            f"either side{lost}."
        )
    if not paths:
        raise DataError(f"{', '.join(map(str, pictures))}: no pictures found.")
    if out is not None:
        _make_folder(out)
    names = _names(paths)

    def inspect(path: Path) -> tuple[Path, Result | DataError]:
        try:
            result = detector.predict(path, **more)
            # Not written, and several of them may wait.
            return path, dataclasses.replace(result, reconstruction=None)
        except DataError as error:
            return path, error

    def write(inspected: tuple[Path, Result | DataError]) -> dict[str, Any]:
        path, result = inspected
        if isinstance(result, DataError):
            return {"schema_version": SCHEMA_VERSION, "path": str(path), "error": str(result)}
        if out is not None:
            _write(result, out, names[path])
        return result.to_dict()

    if is_many:
        # While the network sees a picture, others are decoded and written.
        at_once = side_by_side() if isinstance(detector, Detector) else 1
        lines = ahead(write, ahead(inspect, paths, at_once), 1)
    else:
        # In this thread, so that Ctrl-C ends it at once.
        lines = map(write, map(inspect, paths))
    failed = 0
    with report.task("Inspecting", len(paths)) as task:
        for line in lines:
            failed += "error" in line
            options.print_json(line)
            task.advance()
    if failed:
        ctx.exit(ExitCode.PARTIAL)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: can't be made ({error.strerror}).") from None


def _names(paths: list[Path]) -> dict[Path, str]:
    """A name for each picture's files: its stem, with the folders that tell equal stems apart."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        # Not resolved: a link is known by its own name.
        parts = Path(os.path.abspath(path.with_suffix(""))).parts[1:]
        depth = 1
        while (name := "_".join(parts[-depth:])) in taken and depth < len(parts):
            depth += 1
        number = 2
        while name in taken:
            name, number = f"{'_'.join(parts)}_{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


def _write(result: Result, folder: Path, name: str) -> None:
    """NAME_map.png, NAME_mask.png and NAME_overlay.png, and the raw map as NAME_map.npy."""
    import numpy as np

    from ssae_tf.data.images import write_png
    from ssae_tf.evaluation.sheets import heatmap, overlay
    from ssae_tf.files import atomic

    # Twice the threshold is the brightest colour, so that pictures can be compared by eye.
    write_png(folder / f"{name}_map.png", heatmap(result.anomaly_map, 0.0, 2.0 * result.threshold))
    write_png(folder / f"{name}_mask.png", result.mask)
    write_png(folder / f"{name}_overlay.png", overlay(result.picture, result.mask))
    with atomic(folder / f"{name}_map.npy") as temporary, temporary.open("wb") as file:
        np.save(file, result.anomaly_map)
