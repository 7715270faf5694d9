"""`ssae-tf predict`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ssae_tf.cli import fleet, options
from ssae_tf.cli.main import ExitCode
from ssae_tf.errors import DataError, ImageTooLargeError, RunError

if TYPE_CHECKING:
    from ssae_tf.detector import Detector
    from ssae_tf.evaluation.predictions import Writer
    from ssae_tf.export.artefact import Artefact
    from ssae_tf.result import Result

_T = TypeVar("_T")
_R = TypeVar("_R")

# Bytes of a file's name before its ending: file systems take 255, some that encrypt take 143.
_MAX_NAME = 120
# Images whose files wait for the disk at a time: they share the disk's journal, and take no core.
_FLUSHED_AT_ONCE = 4
# What `_write` writes, until it has its name.
_TEMPORARY = re.compile(r"\..+_(map|mask|overlay)\.\w+\.(png|npy)")


def _check_threshold(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter(f"expected a finite number of at least 0, received {value}.")
    return value


def _check_batch(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise click.BadParameter(f"expected auto or a number of at least 1, received {value!r}.")
    return int(value)


@click.command(
    "predict", epilog="Example: ssae-tf predict runs/tile images/ --out found > found.jsonl"
)
@click.argument("run", type=options.PATH)
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option(
    "--out", type=options.PATH, help="Folder for the map, the mask and an overlay of each image."
)
@click.option(
    "--report",
    "page",
    type=options.NewFile(".html"),
    metavar="FILE.html",
    help="A page of the images, the most anomalous first, that needs nothing from elsewhere.",
)
@click.option(
    "--csv",
    "table",
    type=options.NewFile(".csv"),
    metavar="FILE.csv",
    help="A table, a line per image.",
)
@click.option(
    "--coco",
    type=options.NewFile(".json"),
    metavar="FILE.json",
    help="Defects as polygons, for labelling tools. Images are named relative to IMAGES where "
    "this is one folder, or else as they are given.",
)
@click.option(
    "--threshold",
    type=float,
    callback=_check_threshold,
    help="Score above which an image is anomalous. [default: the run's]",
)
@click.option(
    "--batch",
    default="auto",
    callback=_check_batch,
    metavar="N|auto",
    help="Images that go through the network together, where they come to one size. [default: "
    "auto: 1 on a CPU, whose cores each inspect one; 16 on a GPU]",
)
@click.option(
    "--max-pixels",
    # OpenCV decodes no more.
    type=click.IntRange(min=1, max=1 << 30),
    metavar="NUMBER",
    help="Height times width above which an image is refused, before memory is taken for it. "
    "[default: 178956970]",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: on the machines of a cluster, into --out-table; IMAGES may then also be patterns, "
    "manifests (CSV or Parquet with a column `path`) and places in stores (s3://…).",
)
@click.option(
    "--out-table",
    metavar="FOLDER",
    callback=fleet.check_table,
    help="Of --engine ray: FOLDER.parquet or FOLDER.jsonl, a row for each image. Those that have "
    "one already are passed over.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Of --engine ray. [default: one for each GPU of the cluster, or for each core]",
)
@options.quiet
@click.pass_context
def command(
    ctx: click.Context,
    run: Path,
    images: tuple[str, ...],
    out: Path | None,
    page: Path | None,
    table: Path | None,
    coco: Path | None,
    threshold: float | None,
    batch: int | None,
    max_pixels: int | None,
    engine: str,
    out_table: str | None,
    workers: int | None,
    quiet: bool,
) -> None:
    """Inspect images: one JSON line each.

    RUN is a run folder, or an artefact of `ssae-tf export`. IMAGES are files and folders, in any
    mix; folders are searched through. An image that can't be read, inspected or written gives a
    line with `error`, the others are still inspected, and the exit code is 3.
    """
    report = options.reporter(quiet)

    from ssae_tf.batching import batch_size
    from ssae_tf.data.images import MAX_PIXELS

    if engine == "ray":
        files = {"--out": out, "--report": page, "--csv": table, "--coco": coco, "--batch": batch}
        given = [name for name, value in files.items() if value is not None]
        if out_table is None or given:
            raise click.UsageError(
                f"--engine ray needs --out-table, and takes no {given[0] if given else '--out'}."
            )
        pixels = max_pixels or MAX_PIXELS
        code = fleet.predict(run, images, out_table, report, workers, threshold, pixels)
        ctx.exit(code)
    if out_table is not None or workers is not None:
        raise click.UsageError("--out-table and --workers need --engine ray.")

    from ssae_tf.data.mvtec import find_images
    from ssae_tf.detector import Detector
    from ssae_tf.evaluation.predictions import writers
    from ssae_tf.export.artefact import find, open_detector
    from ssae_tf.files import flushed_at_end
    from ssae_tf.runtime.parallel import ahead
    from ssae_tf.runtime.threads import batches_at_once, use_cores

    outputs = writers(str(run), tuple(map(Path, images)), page, table, coco)
    paths = find_images(images)
    # A single image is seen with all cores, and an artefact's runtime takes one call at a time.
    is_many = len(paths) > 1
    if is_many and find(run) is None:
        use_cores()
    detector = open_detector(run)
    if not paths:
        raise DataError(f"{', '.join(images)}: no images found.")
    if out is not None:
        _make_folder(out)
    inspection = _Inspection(
        detector, max_pixels or MAX_PIXELS, threshold, out, _names(paths), outputs
    )
    size = 1
    if isinstance(detector, Detector):
        size = batch_size() if batch is None else batch
    elif batch is not None and batch > 1:
        raise RunError(f"{run}: an artefact is shown one image at a time; --batch takes a run.")
    batches = [paths[first : first + size] for first in range(0, len(paths), size)]
    if is_many:
        # While the network sees an image, others are decoded, written, and flushed to the disk.
        at_once = batches_at_once(size) if isinstance(detector, Detector) else 1
        inspected = ahead(inspection.inspect, batches, at_once)
        named = ahead(_each(_named), ahead(_each(inspection.write), inspected, 1), _FLUSHED_AT_ONCE)
        lines = ahead(_each(inspection.line), named, 1)
    else:
        # In this thread, so that Ctrl-C ends it at once.
        written = map(_each(inspection.write), map(inspection.inspect, batches))
        lines = map(_each(inspection.line), map(_each(_named), written))
    failed = 0
    names = contextlib.nullcontext() if out is None else flushed_at_end(out)
    with report.task("Inspecting", len(paths)) as task, names:
        for line in itertools.chain.from_iterable(lines):
            failed += "error" in line
            options.print_json(line)
            task.advance()
    for output in outputs:
        output.write()
    if failed:
        ctx.exit(ExitCode.PARTIAL)


@dataclasses.dataclass
class _Inspected:
    """What became of an image."""

    path: Path
    line: dict[str, Any]
    result: Result | None = None
    files: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)


@dataclasses.dataclass
class _Inspection:
    """Images to lines, in four steps that may run in threads of their own.

    Attributes:
        writers: of what is made of all images together.
        has_result: whether an image was inspected by now.
    """

    detector: Detector | Artefact
    max_pixels: int
    threshold: float | None
    out: Path | None
    names: dict[Path, str]
    writers: Sequence[Writer] = ()
    has_result: bool = False

    def inspect(self, paths: list[Path]) -> list[tuple[Path, Result | Exception]]:
        """The verdicts, without reconstructions: these are not written, and several may wait."""
        from ssae_tf.data.images import read_pixels
        from ssae_tf.detector import Detector

        try:
            images = [read_pixels(path, self.max_pixels) for path in paths]
            if len(paths) > 1 and isinstance(self.detector, Detector):
                results = self.detector.predict_batch(
                    images, threshold=self.threshold, size=len(paths)
                )
            else:
                results = [self.detector.predict(one, threshold=self.threshold) for one in images]
        except Exception as error:
            if len(paths) == 1:
                return [(paths[0], error)]
            # Each by itself shows the culprit.
            return [one for path in paths for one in self.inspect([path])]
        return [
            (path, dataclasses.replace(result, path=str(path), reconstruction=None))
            for path, result in zip(paths, results, strict=True)
        ]

    def write(self, inspected: tuple[Path, Result | Exception]) -> _Inspected:
        """Writes an image's files, which have no names yet.

        Raises:
            RunError: the run or artefact fails before it has inspected a single image.
        """
        path, result = inspected
        if isinstance(result, RunError) and not self.has_result:
            raise result
        if isinstance(result, Exception):
            return _failed(path, result)
        self.has_result = True
        try:
            with contextlib.ExitStack() as files:
                if self.out is not None:
                    _write(result, self.out, self.names[path], files)
                kept = result if self.writers else None
                return _Inspected(path, result.to_dict(), kept, files.pop_all())
        except Exception as error:
            return _failed(path, error)

    def line(self, one: _Inspected) -> dict[str, Any]:
        """Tells the writers of an image; gives what is printed of it."""
        try:
            if one.result is not None:
                for writer in self.writers:
                    writer.add(one.result)
                return one.line
        except Exception as error:
            one = _failed(one.path, error)
        for writer in self.writers:
            writer.fail(one.line)
        return one.line


def _named(one: _Inspected) -> _Inspected:
    """Has the disk hold an image's files, and then gives them their names."""
    try:
        one.files.close()
    except Exception as error:
        return _failed(one.path, error)
    return one


def _each(function: Callable[[_T], _R]) -> Callable[[list[_T]], list[_R]]:
    """The function, for the images of a batch."""
    return lambda batch: [function(one) for one in batch]


def _failed(path: Path, error: Exception) -> _Inspected:
    from ssae_tf.result import failed

    line = failed(path, error)
    if isinstance(error, ImageTooLargeError):
        line["error"] += " --max-pixels raises it."
    return _Inspected(path, line)


def _make_folder(folder: Path) -> None:
    from ssae_tf.files import sweep

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: can't be made ({error.strerror}).") from None
    sweep(folder, _TEMPORARY.fullmatch)


def _names(paths: list[Path]) -> dict[Path, str]:
    """A name for each image's files: its stem, with the folders that tell equal stems apart.

    Longer ones than file systems take lose their beginning.
    """
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        # Not resolved: a link is known by its own name.
        parts = Path(os.path.abspath(path.with_suffix(""))).parts[1:]
        depth = 1
        while (name := _shortened("_".join(parts[-depth:]))) in taken and depth < len(parts):
            depth += 1
        number = 2
        while name in taken:
            name, number = f"{_shortened('_'.join(parts))}_{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


def _shortened(name: str) -> str:
    """The last letters of a name that take no more than `_MAX_NAME` bytes."""
    name = name[-_MAX_NAME:]
    while len(os.fsencode(name)) > _MAX_NAME:
        name = name[1:]
    return name


def _write(result: Result, folder: Path, name: str, files: contextlib.ExitStack) -> None:
    """NAME_map.png, NAME_mask.png and NAME_overlay.png, and the raw map as NAME_map.npy.

    They have these names once `files` is closed.
    """
    import numpy as np

    from ssae_tf.data.images import encode_png
    from ssae_tf.evaluation.sheets import heatmap, overlay
    from ssae_tf.files import atomic

    def temporary(name: str) -> Path:
        return files.enter_context(atomic(folder / name, folder_flushed=False))

    # Twice the threshold is the brightest colour, so that images can be compared by eye.
    images = {
        "map": heatmap(result.anomaly_map, 0.0, 2.0 * result.threshold),
        "mask": result.mask,
        "overlay": overlay(result.image, result.mask),
    }
    for kind, image in images.items():
        temporary(f"{name}_{kind}.png").write_bytes(encode_png(image))
    with temporary(f"{name}_map.npy").open("wb") as file:
        np.save(file, result.anomaly_map)
