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
from ssae_tf.detector import Detector
from ssae_tf.errors import DataError, RunError
from ssae_tf.export import tfserving
from ssae_tf.export.artefact import Artefact, run_hash
from ssae_tf.export.calibration_set import CalibrationSet
from ssae_tf.export.formats import FORMATS, Format
from ssae_tf.export.make import Made, Maker, Request
from ssae_tf.export.manifest import file_hashes, write_sums
from ssae_tf.export.metadata import SCHEMA_VERSION
from ssae_tf.export.parity import Parity, cases, compare
from ssae_tf.export.place import choose_place, put, working_folder
from ssae_tf.files import write_json
from ssae_tf.golden import write_golden
from ssae_tf.progress import Reporter, duration
from ssae_tf.run_folder import (
    ARTEFACT_KIND,
    CALIBRATION_FILE,
    CONFIG_FILE,
    METADATA_FILE,
    PARITY_FILE,
    WEIGHTING_FILE,
    WEIGHTS_FILE,
)


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


def export(
    run: str | Path,
    request: Request,
    images: Sequence[Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    keep_failed: bool = False,
    reporter: Reporter | None = None,
) -> Exported:
    """Exports a run and proves that the artefact judges as the run's detector does.

    Args:
        run: a finished run folder.
        request: what to make.
        images: good ones that training has not seen, at least one: those of the run's
            validation. The artefact is compared on them, and int8 calibrated.
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
    if not images:
        raise DataError("Expected at least one good image to compare on. Received none.")
    detector = Detector.load(run)
    place = choose_place(run, detector, request.format, precision, out, overwrite)
    with working_folder(place) as scratch:
        material = CalibrationSet(detector, tuple(images), request.image_size, request.seed)
        maker = Maker(detector, request, wanted, precision, material, scratch, reporter)
        result = scratch / "artefact"
        begin = time.monotonic()
        made = maker.make(result, place)
        seconds = time.monotonic() - begin
        reporter.say(f"Converted in {duration(seconds)}.")
        write_golden(result, detector, images, _golden_size(request))
        metadata = _metadata(run, maker, result, made, seconds)
        parity = _compare(run, maker, result, metadata)
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


def _metadata(run: Path, maker: Maker, folder: Path, made: Made, seconds: float) -> dict[str, Any]:
    """The content of metadata.json, the comparison aside."""
    config, calibration = maker.detector.config, maker.detector.calibration
    assert calibration is not None
    size, inspected = maker.request.image_size, maker.detector.inspection_size
    names = [CONFIG_FILE, WEIGHTS_FILE, CALIBRATION_FILE]
    if maker.detector.weights is not None:
        names.append(WEIGHTING_FILE)
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
        "min_area": calibration.min_area,
        "outline": config.scoring.outline,
        "false_alarms": calibration.false_alarms and calibration.false_alarms.to_dict(),
        "scores": list(calibration.scores),
        "category": config.category,
        "run_hash": run_hash(run, names),
        "files": file_hashes(folder),
        "versions": _versions(maker.format),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "conversion_seconds": round(seconds, 1),
        **made.extra,
    }


def _compare(run: Path, maker: Maker, folder: Path, metadata: dict[str, Any]) -> Parity:
    """Reloads the artefact from its files and compares it with the detector."""
    write_json(folder / METADATA_FILE, metadata)
    write_sums(folder)
    tolerance = maker.format.tolerance(maker.precision, metadata["threshold"])
    arguments = {
        "run": str(run.resolve()),
        "folder": str(folder.resolve()),
        "images": [str(path.resolve()) for path in maker.images.paths],
        "image_size": maker.request.image_size,
        "seed": maker.request.seed,
        "tolerance": tolerance,
    }
    is_tftrt = metadata["format"] == "trt" and metadata["runtime"] == "savedmodel"
    if metadata["runtime"] == "tensorrt" or is_tftrt:
        return Parity(**maker.call("build:compare_apart", **arguments))
    compared = cases(
        maker.images.paths,
        maker.detector.config.data.white_level,
        maker.request.image_size,
        maker.request.seed,
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
    """Ends an export whose artefact does not judge as the detector does."""
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
    """Of what the artefact was made with."""
    names = ["keras", "numpy", *(name.replace("_", "-") for name in wanted.packages)]
    return {
        "ssae_tf": __version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }
