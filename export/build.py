"""From a run folder to an artefact: written aside, compared with the detector, put in place."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssae_tf import __version__
from ssae_tf.config.arguments import checked
from ssae_tf.data.images import decoded_once
from ssae_tf.detector import Detector, run_config
from ssae_tf.errors import DataError, RunError
from ssae_tf.export import tfserving
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.formats import FORMATS, Format
from ssae_tf.export.make import Made, Maker, Request
from ssae_tf.export.manifest import file_hash, file_hashes, write_sums
from ssae_tf.export.metadata import SCHEMA_VERSION
from ssae_tf.export.parity import Parity, cases, compare, what_is_compared
from ssae_tf.export.place import choose_place, put, told_what_is_kept, working_folder
from ssae_tf.files import write_json
from ssae_tf.golden import write_golden
from ssae_tf.progress import Reporter, duration
from ssae_tf.run_data import calibration_images
from ssae_tf.run_folder import ARTEFACT_KIND, METADATA_FILE, PARITY_FILE, read_whole, verdict_files

# Good images that `Request.quick_check` leaves.
_QUICK_IMAGES = 2


@dataclasses.dataclass(frozen=True)
class Exported:
    """What `export` made.

    Attributes:
        folder: of the artefact.
        parity: how it compares with the detector.
        missing: what could not be made or checked here, and how it is; "" where nothing is.
        seconds: that the conversion took.
    """

    folder: Path
    parity: Parity
    missing: str
    seconds: float


@checked
def export(
    run: str | Path,
    request: Request,
    images: Sequence[Path] | None = None,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    keep_failed: bool = False,
    reporter: Reporter | None = None,
) -> Exported:
    """Exports a run and proves that the artefact judges as the run's detector does.

    Args:
        run: a finished run folder. It is read at the start: calibrated anew or replaced meanwhile,
            it is exported as it was.
        request: what to make.
        images: good ones that training has not seen, at least one. The artefact is compared on
            them, and int8 calibrated. None for the run's own calibration images.
        data: where these are now, or a folder of other good images; None for where they were.
        out: the artefact's folder, for SavedModel that of its versions; None for
            RUN/export/FORMAT, and RUN/export/savedmodel/CATEGORY.
        overwrite: replace an artefact, for SavedModel the newest version; without, a SavedModel
            becomes the next version.
        keep_failed: keep what fails the comparison beside `out`, as NAME.failed.
        reporter: where progress goes; None for stderr.

    Raises:
        MissingExtraError: the format needs packages that are not installed.
        RunError: the run is incomplete, `out` exists or can't be written to, the converter fails,
            or the artefact does not judge as the detector does. Nothing is left behind then.
        DataError: an image can't be read.
    """
    reporter = reporter or Reporter()
    run = Path(run)
    wanted = FORMATS[request.format]
    precision = request.precision or wanted.precisions[0]
    if precision not in wanted.shares:
        raise RunError(
            f"--format {wanted.name} has the precisions {', '.join(wanted.precisions)}. "
            f"Received: {precision}."
        )
    wanted.check()
    if request.warmup:
        tfserving.check()
    detector, run_hash, good = read_whole(run, lambda: _read(run, images, data, reporter))
    if not good:
        raise DataError("Expected at least one good image to compare on. Received none.")
    place = choose_place(run, detector, request.format, precision, out, overwrite)
    with working_folder(place) as scratch, told_what_is_kept(place, scratch), decoded_once():
        maker = Maker(detector, request, wanted, precision, good, scratch, reporter)
        result = scratch / "artefact"
        begin = time.monotonic()
        made = maker.make(result, place)
        seconds = time.monotonic() - begin
        reporter.say(f"Converted in {duration(seconds)}.")
        write_golden(result, detector, good, _golden_size(request))
        metadata = _metadata(run_hash, maker, result, made, seconds)
        parity = _compare(maker, result, metadata)
        metadata["parity"] = {
            key: value for key, value in parity.to_dict().items() if key != "schema_version"
        }
        write_json(result / PARITY_FILE, parity.to_dict())
        write_json(result / METADATA_FILE, metadata)
        write_sums(result)
        if not parity.passed:
            _refuse(result, place, parity, keep_failed)
        put(result, place)
    return Exported(place, parity, made.missing, seconds)


def _golden_size(request: Request) -> tuple[int, int] | None:
    """(height, width) that an artefact takes, where it does not take all."""
    if request.profile is not None:
        return request.profile.usual[1], request.profile.usual[2]
    return request.image_size


def _read(
    run: Path, images: Sequence[Path] | None, data: str | Path | None, reporter: Reporter
) -> tuple[Detector, str, tuple[Path, ...]]:
    """The detector, the hash of the files it was read from, and good images to compare on."""
    if images is None:
        good = calibration_images(run, run_config(run), data, reporter)
        images = [sample.path for sample in good.samples]
    detector = Detector.load(run)
    return detector, file_hash(verdict_files(run)), tuple(images)


def _metadata(
    run_hash: str, maker: Maker, folder: Path, made: Made, seconds: float
) -> dict[str, Any]:
    config, calibration = maker.detector.config, maker.detector.calibrated()
    reviewed = calibration.review_false_alarms
    size, inspected = maker.request.image_size, maker.detector.inspection_size
    ignored = maker.detector.ignored
    return {
        "kind": ARTEFACT_KIND,
        "schema_version": SCHEMA_VERSION,
        "format": maker.format.name,
        "precision": maker.precision,
        "runtime": made.runtime,
        "signatures": list(made.signatures),
        "inputs": {
            "layout": "NHWC",
            "colour_order": "RGB",
            "image_size": None if size is None else list(size),
            "inspection_size": None if inspected is None else list(inspected),
            "white_level": config.data.white_level,
        },
        "outputs": list(maker.serving().outputs),
        "threshold": calibration.threshold,
        "review_threshold": calibration.review_threshold,
        "min_area": calibration.min_area,
        "outline": config.scoring.outline,
        "false_alarms": calibration.false_alarms and calibration.false_alarms.to_dict(),
        "review_false_alarms": reviewed and reviewed.to_dict(),
        "good_scores": sorted(calibration.unseen_scores),
        "ignored": ignored and {"mask": ignored.mask is not None, "border": ignored.border},
        "category": config.category,
        "run_hash": run_hash,
        "files": file_hashes(folder),
        "versions": _versions(maker.format),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "conversion_seconds": round(seconds, 1),
        **made.extra,
    }


def _compare(maker: Maker, folder: Path, metadata: dict[str, Any]) -> Parity:
    write_json(folder / METADATA_FILE, metadata)
    write_sums(folder)
    tolerance = maker.format.tolerance(maker.precision, metadata["threshold"])
    images = maker.images
    if maker.request.quick_check:
        images = images[:_QUICK_IMAGES]
    maker.reporter.say(what_is_compared(len(images), maker.request.image_size is None))
    is_tftrt = metadata["format"] == "trt" and metadata["runtime"] == "savedmodel"
    if metadata["runtime"] == "tensorrt" or is_tftrt:
        copy = maker.scratch / "run"
        maker.detector.save(copy)
        fields = maker.call(
            "build:compare_apart",
            run=copy,
            folder=folder,
            images=[str(path.resolve()) for path in images],
            image_size=maker.request.image_size,
            seed=maker.request.seed,
            tolerance=tolerance,
        )
        return Parity(**fields)
    compared = cases(
        images, maker.detector.config.data.white_level, maker.request.image_size, maker.request.seed
    )
    artefact = Artefact.load(folder, even_failed=True)
    return compare(maker.detector, artefact, compared, tolerance, maker.reporter)


def compare_apart(
    run: str,
    folder: str,
    images: list[str],
    image_size: list[int] | None,
    seed: int,
    tolerance: float,
) -> dict[str, Any]:
    """What `compare` finds, as the fields of `Parity`; for a process of its own."""
    detector = Detector.load(run)
    size = None if image_size is None else (image_size[0], image_size[1])
    compared = cases([Path(path) for path in images], detector.config.data.white_level, size, seed)
    artefact = Artefact.load(folder, even_failed=True)
    parity = compare(detector, artefact, compared, tolerance, Reporter(quiet=True))
    return dataclasses.asdict(parity)


def _refuse(result: Path, place: Path, parity: Parity, keep_failed: bool) -> None:
    first, *others = parity.failures
    more = f" (and {len(others)} more)" if others else ""
    kept = "nothing was written; --keep-failed keeps it."
    if keep_failed:
        failed = place.with_name(f"{place.name}.failed")
        put(result, failed)
        kept = f"it is kept in {failed}, marked as failed."
    raise RunError(
        f"The artefact does not judge as the detector does: {first.rstrip('.')}{more}; {kept}"
    )


def _versions(wanted: Format) -> dict[str, str]:
    names = ["keras", "numpy", *(name.replace("_", "-") for name in wanted.packages)]
    return {
        "ssae_tf": __version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }
