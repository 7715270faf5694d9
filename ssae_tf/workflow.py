"""What the commands call: the only place that joins training and inspection."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf import __version__
from ssae_tf import config as config_module
from ssae_tf.config import DOWNSAMPLING, RunConfig
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.data.cache import PictureCache
from ssae_tf.data.images import image_size
from ssae_tf.data.mvtec import GOOD, Category, Sample, load_category, read_sample_mask
from ssae_tf.data.pipeline import CropSampler
from ssae_tf.data.split import Split, data_hash, split_names, split_normal
from ssae_tf.detector import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Calibration,
    Detector,
    Result,
    load_network,
)
from ssae_tf.errors import DataError, RunError
from ssae_tf.evaluation.gallery import Gallery
from ssae_tf.evaluation.projection import error_sums, projection_figures
from ssae_tf.evaluation.protocol import Evaluation, PictureResult, Verdict
from ssae_tf.evaluation.report import Measured
from ssae_tf.evaluation.sheets import SheetRow, pick_rows, write_grid, write_sheet
from ssae_tf.files import check_can_be_made, read_json, write_json, write_text
from ssae_tf.machine import machine
from ssae_tf.models.weights import save_weights
from ssae_tf.per_image import apply_to, each, of_images
from ssae_tf.progress import Reporter, duration
from ssae_tf.residual_normalization import location_weights
from ssae_tf.run_folder import ENVIRONMENT_FILE as ENVIRONMENT_FILE
from ssae_tf.run_folder import SPLIT_FILE
from ssae_tf.run_report import gallery_for, write_results
from ssae_tf.threshold import calibrate as threshold_of
from ssae_tf.threshold import default_min_area, image_score
from ssae_tf.training.loop import STATE_FILE, Trainer
from ssae_tf.training.step import corruption_seed

METRICS_FILE = "metrics.json"
SHEETS_FOLDER = "sheets"

# Enough for every place, and no long wait.
_WEIGHTING_PICTURES = 40
_PROJECTION_IMAGES = 40
# Of calibration: how many are named, and from how many on a tenth of them says something.
_HIGHEST_NAMED, _FEWEST_FOR_SHARES = 3, 10


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What `fit` made.

    Attributes:
        folder: the run folder.
        detector: trained and calibrated.
        metrics: the content of metrics.json; None where there is no test set.
    """

    folder: Path
    detector: Detector
    metrics: dict[str, Any] | None


def fit(
    data: str | Path,
    category: str | None = None,
    *,
    out: str | Path | None = None,
    config: RunConfig | None = None,
    minutes: float | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Fitted:
    """Trains a detector on good pictures, sets its threshold, measures it if there is a test set.

    Args:
        data: a root in MVTec AD layout, a category folder, or a plain folder of good pictures.
        category: name of the category; None where there is only one.
        out: the run folder to make; None for `runs/CATEGORY`.
        config: all settings; None for the default preset.
        minutes: that training should take, turned into a number of steps at the start; None for
            the number in `config`.
        overwrite: replace an existing run folder.
        reporter: where progress goes; None for stderr.

    Returns:
        The detector, where it is, and its metrics.

    Raises:
        DataError: pictures are missing or unusable.
        RunError: `out` exists, or can't be written to.
        TrainingInterrupted: Ctrl-C; `resume` goes on.
    """
    reporter = reporter or Reporter()
    found = load_category(data, category)
    config = config or config_module.preset(config_module.DEFAULT_PRESET, found.name)
    config = dataclasses.replace(config, category=found.name)
    folder = Path(out) if out is not None else Path("runs") / found.name
    _check_free(folder, overwrite)
    usable, split, trainer = _prepare(found, config, reporter)
    seconds = trainer.fit_to_time(None if minutes is None else 60.0 * minutes)
    _announce(trainer.config, seconds, minutes, reporter)

    _clear(folder)
    write_text(folder / CONFIG_FILE, config_module.to_json(trainer.config))
    write_json(folder / SPLIT_FILE, split_names(split))
    write_json(folder / ENVIRONMENT_FILE, _environment(found, Path(data)))
    return _finish(trainer, folder, usable, split, reporter, go_on=False)


def resume(folder: str | Path, *, reporter: Reporter | None = None) -> Fitted:
    """Goes on with a training that was interrupted.

    Args:
        folder: the run folder.
        reporter: where progress goes; None for stderr.

    Returns:
        As `fit`.

    Raises:
        RunError: nothing to go on from, or the pictures have changed since.
        DataError: pictures are missing or unusable.
    """
    reporter = reporter or Reporter()
    folder = Path(folder)
    if not (folder / "checkpoints" / STATE_FILE).is_file():
        raise RunError(f"{folder}: has no checkpoints/{STATE_FILE} to go on from.")
    config = config_module.load(folder / CONFIG_FILE)
    data = recorded(folder / ENVIRONMENT_FILE, "data")
    found = load_category(data, config.category)
    if data_hash(found) != recorded(folder / ENVIRONMENT_FILE, "data_hash"):
        raise RunError(f"{data}: the pictures are not those that {folder} was started with.")
    usable, split, trainer = _prepare(found, config, reporter)
    return _finish(trainer, folder, usable, split, reporter, go_on=True)


def calibrate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    min_area: int | None = None,
    without: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Detector:
    """Sets a run's threshold anew and writes calibration.json, without training.

    A metrics.json of before is left as it is: `evaluate` makes a new one.

    Args:
        run: a finished run folder.
        data: a plain folder of good pictures to calibrate on; None for the run's own.
        min_area: pixels that a defect must have; None for the run's own setting.
        without: file names of pictures to leave out, because they turned out not to be good ones.
        reporter: where progress goes; None for stderr.

    Returns:
        The detector with its new threshold.

    Raises:
        RunError, DataError, ConfigError: the run or the pictures can't be used.
    """
    reporter = reporter or Reporter()
    folder = Path(run)
    detector = Detector.load(folder)
    if min_area is not None:
        changed = config_module.override(detector.config, {"min_area": min_area})
        detector = detector.replace(config=changed)
    if data is not None:
        samples: Sequence[Sample] = load_category(data, None).train
    else:
        samples = run_split(folder, detector.config)[1].calibrate
    samples = _left_out(samples, without)
    detector = calibrated(detector, samples, reporter)
    detector.save(folder)
    if (folder / METRICS_FILE).is_file():
        reporter.say(
            f"{folder / METRICS_FILE} is still that of the threshold before: "
            f"`ssae-tf evaluate {folder}` measures anew."
        )
    return detector


def evaluate(
    run: str | Path | Detector,
    *,
    data: str | Path | None = None,
    category: str | None = None,
    sheets: str | Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measures a detector on the test pictures of its category (section 4.2).

    Args:
        run: a finished run folder, or a detector (then `data` is needed).
        data: a root in MVTec AD layout; None for the one the run was trained on.
        category: None for the run's own.
        sheets: folder for a sheet of the best, median and worst pictures of each kind, beside
            which report.html and verdicts.csv are put; None for none.
        reporter: where progress goes; None for stderr.

    Returns:
        The content of metrics.json.

    Raises:
        RunError, DataError: the run or the pictures can't be used, or there are no test pictures.
    """
    reporter = reporter or Reporter()
    if isinstance(run, Detector):
        detector = run
        if data is None:
            raise ValueError("Expected `data` beside a detector. Received: data=None.")
    else:
        detector = Detector.load(run)
        data = data or recorded(Path(run) / ENVIRONMENT_FILE, "data")
    found = category_to_test(data, category or detector.config.category or None, reporter)
    folder = None if isinstance(run, Detector) else Path(run)
    return _evaluate(detector, found, None if sheets is None else Path(sheets), reporter, folder)


def preview(
    data: str | Path,
    category: str | None,
    config: RunConfig,
    out: str | Path,
    rows: int = 8,
    *,
    reporter: Reporter | None = None,
) -> Path:
    """Writes a sheet of corrupted training pictures: X, X̂, M and |X̂ − X|.

    All of them are corrupted, also where training leaves some whole (`corruption.share`), unless it
    leaves all.

    Args:
        data, category: as in `fit`.
        config: the sampling and corruption to show.
        out: folder of the sheet.
        rows: pictures on it.
        reporter: where progress goes; None for stderr.

    Returns:
        The file, `preview.png`.

    Raises:
        DataError: pictures are missing or unusable.
    """
    reporter = reporter or Reporter()
    # As many pictures as rows are enough, and large data sets take long to decode.
    samples = load_category(data, category).train[:rows]
    cache = decoded(samples, config, "training", reporter)
    stage = config.training.stages[-1]
    pictures: Sequence[np.ndarray] = cache.pictures
    if config.data.sampling == "resize":
        pictures = cache.resized(stage.size, stage.size)
    sampler = CropSampler(pictures, stage.size, rows, config.data, (config.training.seed,))
    x = tf.constant(sampler.batch(0))
    shown = dataclasses.replace(config.corruption, share=float(config.corruption.share > 0))
    x_hat, mask = corrupt(x, corruption_seed(config, tf.constant(0)), shown)
    path = Path(out) / "preview.png"
    write_grid(
        path,
        {
            "$X$": x.numpy(),
            r"$\hat{X}$": x_hat.numpy(),
            "$M$": mask.numpy()[..., 0] > 0,
            r"$|\hat{X} - X|$": np.abs(x_hat - x).mean(axis=-1),
        },
    )
    return path


def _prepare(
    found: Category, config: RunConfig, reporter: Reporter
) -> tuple[Category, Split, Trainer]:
    """Splits and decodes the pictures, and builds the network.

    Returns:
        The category and its parts without the pictures that are left out, and the network.

    Raises:
        DataError: one of the pictures or masks can't be used, and is not to be left out.
    """
    for warning in found.warnings:
        reporter.warn(warning)
    settings = config.data
    split = split_normal(
        found, config.training.seed, settings.select_fraction, settings.calibrate_fraction
    )
    for note in split.notes:
        reporter.warn(note)

    caches = {
        name: decoded(getattr(split, name), config, name, reporter) for name in ("train", "select")
    }
    # What only the end needs is looked at as well: hours of training should not end in an error.
    late = {"calibration": split.calibrate, "test": found.test}
    checked = {name: _checked(late[name], config, name, reporter) for name in late}
    _warn_of_skipped(
        [message for cache in caches.values() for message in cache.skipped]
        + [message for _, messages in checked.values() for message in messages],
        reporter,
    )
    found = dataclasses.replace(found, test=checked["test"][0])
    split = dataclasses.replace(
        split,
        train=tuple(caches["train"].samples),
        select=tuple(caches["select"].samples),
        calibrate=checked["calibration"][0],
    )
    if not split.calibrate:
        raise DataError(f"{found.root}: none of the calibration pictures can be used.")
    pictures = caches["train"].pictures
    place = "in memory" if caches["train"].location == "memory" else "on disk"
    good = len({*split.train, *split.select, *split.calibrate})
    reporter.say(
        f"{found.name}: {good} good pictures ({len(split.train)} train, "
        f"{len(split.select)} select, {len(split.calibrate)} calibrate), {len(found.test)} test; "
        f"decoded pictures are kept {place}."
    )
    largest = max(stage.size for stage in config.training.stages)
    small = sum(min(picture.shape[:2]) < largest for picture in pictures)
    if small and settings.sampling == "crop":
        reporter.say(
            f"{small} of {len(pictures)} training pictures are smaller than crops of {largest}²: "
            "they are continued by reflection."
        )
    config = config_module.resolve(config, _side(config, pictures))
    return found, split, Trainer(caches["train"], caches["select"], config, reporter)


def _side(config: RunConfig, pictures: Sequence[np.ndarray]) -> float:
    """Shorter side of a typical picture as the network will see it, pixels."""
    size = config.inspection_size
    return float(np.median([min(size or picture.shape[:2]) for picture in pictures]))


def _checked(
    samples: Sequence[Sample], config: RunConfig, name: str, reporter: Reporter
) -> tuple[tuple[Sample, ...], list[str]]:
    """The samples whose picture and mask can be used, and sentences about the others."""

    def check(sample: Sample) -> Sample:
        read_sample_mask(sample, image_size(sample.path))
        return sample

    with reporter.task(f"Checking {name} pictures", len(samples)) as task:
        usable, messages = each(check, samples, task, config.data.skip_unreadable)
    return tuple(usable), messages


def _warn_of_skipped(messages: Sequence[str], reporter: Reporter) -> None:
    # With few pictures the parts share them, and a file would count more than once.
    different = list(dict.fromkeys(messages))
    if different:
        count = "1 picture" if len(different) == 1 else f"{len(different)} pictures"
        reporter.warn(f"{count} left out, the first: {different[0]}")


def decoded(
    samples: Sequence[Sample], config: RunConfig, name: str, reporter: Reporter
) -> PictureCache:
    """The images of one part of a split, decoded; `name` is the part's, for progress."""
    settings = config.data
    with reporter.task(f"Reading {name} pictures", len(samples)) as task:
        return PictureCache(
            samples,
            white_level=settings.white_level,
            location=settings.cache,
            skip_unreadable=settings.skip_unreadable,
            smallest_side=DOWNSAMPLING,
            on_picture=task.advance,
        )


def _finish(
    trainer: Trainer,
    folder: Path,
    found: Category,
    split: Split,
    reporter: Reporter,
    *,
    go_on: bool,
) -> Fitted:
    """Trains, calibrates and evaluates into an existing run folder."""
    save_weights(trainer.train(folder, resume=go_on), folder / WEIGHTS_FILE)
    # The network as it will be loaded: without dead taps.
    model = load_network(trainer.config, folder / WEIGHTS_FILE)
    detector = build_detector(model, trainer.config, split, reporter)
    detector.save(folder)
    metrics = None
    if found.test:
        metrics = _evaluate(detector, found, folder / SHEETS_FOLDER, reporter, folder)
        write_json(folder / METRICS_FILE, metrics)
    else:
        write_results(folder, detector, found, reporter, run=folder)
    return Fitted(folder, detector, metrics)


def build_detector(
    model: tf.keras.Model,
    config: RunConfig,
    split: Split,
    reporter: Reporter,
) -> Detector:
    """A detector around a network, with all that is estimated from normal images.

    Args:
        model: F.
        config: which parts the detector has.
        split: the images of the run.
        reporter: where progress goes.

    Returns:
        The detector with its weights, if it has any, and its threshold.
    """
    detector = Detector(model, config)
    if config.scoring.normalize == "location":
        detector = normalized(detector, split, reporter)
    return calibrated(detector, split.calibrate, reporter)


def calibrated(detector: Detector, samples: Sequence[Sample], reporter: Reporter) -> Detector:
    """The same detector with the threshold of some normal pictures."""
    usable, maps, skipped = of_images(
        lambda picture: detector.inspect(picture)[1],
        samples,
        detector.config.data,
        "Calibrating",
        reporter,
    )
    if not maps:
        raise DataError(f"None of the {len(samples)} calibration pictures can be read.")
    _warn_of_skipped(skipped, reporter)
    height, width = (round(side) for side in np.median([map_.shape for map_ in maps], axis=0))
    # The map is smoothed at the inspection size, and min_area counts pixels of the picture.
    inspected = detector.inspection_size or (height, width)
    sigma = detector.config.scoring.sigma
    sigma *= max(height / inspected[0], width / inspected[1])
    min_area = detector.config.min_area or default_min_area(height, width, sigma)
    scores = tuple(image_score(map_, min(min_area, map_.size)) for map_ in maps)
    threshold = threshold_of(scores, detector.config.scoring.outline or 0.0)
    calibration = Calibration(threshold, min_area, scores)
    source = f" from {len(scores)} normal pictures"
    if threshold > max(scores):
        source = f", the lowest for a gate: all {len(scores)} normal pictures are below"
    reporter.say(f"Threshold {threshold:.4g}{source}, min_area {min_area} pixels.")
    reporter.say(_highest(scores, [sample.path.name for sample in usable]))
    return detector.replace(calibration=calibration)


def _left_out(samples: Sequence[Sample], without: Sequence[str]) -> Sequence[Sample]:
    """Calibration pictures without some of them.

    Raises:
        DataError: a name is none of theirs, or no picture is left.
    """
    names = {sample.path.name for sample in samples}
    for name in without:
        if name not in names:
            raise DataError(f"{name}: no calibration picture has this file name.")
    kept = [sample for sample in samples if sample.path.name not in without]
    if not kept:
        raise DataError("All calibration pictures are left out: a threshold needs one at least.")
    return kept


def _highest(scores: Sequence[float], names: Sequence[str]) -> str:
    """Which pictures a threshold comes from, and how far they are above the others."""
    ranked = sorted(zip(scores, names, strict=True), reverse=True)
    shown = ", ".join(f"{name} {score:.4g}" for score, name in ranked[:_HIGHEST_NAMED])
    line = f"Highest: {shown}"
    if len(scores) >= _FEWEST_FOR_SHARES:
        line += f"; nine in ten have at most {np.quantile(scores, 0.9, method='higher'):.4g}"
    return f"{line}."


def normalized(detector: Detector, split: Split, reporter: Reporter) -> Detector:
    """The same detector with weights by location, from pictures that set no threshold.

    Those that training has seen will do: locations are compared with each other.

    Args:
        detector: any; its weights are not looked at.
        split: the pictures of the run.
        reporter: where progress goes.
    """
    settings = detector.config.data
    plain = detector.replace(weights=None)
    _, maps, _ = of_images(
        lambda picture: plain.inspect(picture)[1],
        _not_calibrated_with(split)[:_WEIGHTING_PICTURES],
        settings,
        "Looking at normal pictures",
        reporter,
    )
    weights = location_weights(
        maps,
        left_right=settings.flip_horizontal,
        top_bottom=settings.flip_vertical,
        turned=settings.rotate,
    )
    return detector.replace(weights=weights)


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most so many samples, evenly spread over all."""
    count = min(len(samples), count)
    return [samples[len(samples) * index // count] for index in range(count)]


def _not_calibrated_with(split: Split) -> list[Sample]:
    """Normal pictures whose scores may get used to, those unseen by training first.

    Where there are too few for parts of their own, those are left out that training left out too:
    the highest score makes the threshold, which is then that of a picture nothing was fitted to.
    """
    kept = set(split.select) & set(split.calibrate) - set(split.train)
    return [one for one in dict.fromkeys((*split.select, *split.train)) if one not in kept]


def _evaluate(
    detector: Detector,
    found: Category,
    sheets: Path | None,
    reporter: Reporter,
    run: Path | None,
) -> dict[str, Any]:
    """metrics.json's content for the test pictures; sheets and a report as well if asked for."""
    gallery = gallery_for(detector)
    metrics, evaluation = measure_test_set(detector, found, reporter, gallery)
    metrics["projection"] = _projection(detector, found, reporter)
    if sheets is not None:
        _write_sheets(detector, found, evaluation.verdicts, sheets, reporter, gallery)
        tested = Measured(evaluation.verdicts, metrics, evaluation.overlap_curve, str(found.root))
        out = sheets.parent
        write_results(out, detector, found, reporter, run=run, tested=tested, gallery=gallery)
    return metrics


def category_to_test(data: str | Path, category: str | None, reporter: Reporter) -> Category:
    """A category to measure a detector on; its warnings are passed on.

    Raises:
        DataError: no such category, or it has no test images.
    """
    found = load_category(data, category)
    if not found.test:
        raise DataError(f"{found.root}: has no test pictures (test/<kind>/*).")
    for warning in found.warnings:
        reporter.warn(warning)
    return found


def measure_test_set(
    detector: Detector, found: Category, reporter: Reporter, gallery: Gallery | None = None
) -> tuple[dict[str, Any], Evaluation]:
    """`Evaluation.metrics` of a calibrated detector for the test images, and the evaluation.

    Images with a wrong verdict are added to a gallery, if there is one.

    Raises:
        DataError: an image can't be used and is not to be left out, or none can.
    """
    calibration = detector.calibration
    assert calibration is not None
    evaluation = Evaluation()

    def measured(sample: Sample) -> PictureResult:
        inspected = detector.predict(sample.path)
        result = _measured(inspected, sample, found.root)
        if gallery is not None:
            gallery.add_if_wrong(result, inspected.picture, inspected.reconstruction)
        return result

    with reporter.task("Evaluating", len(found.test)) as task:
        skipped = apply_to(
            measured,
            found.test,
            task,
            detector.config.data.skip_unreadable,
            evaluation.add,
        )
    if not evaluation.verdicts:
        raise DataError(f"{found.root}: none of its {len(found.test)} test pictures can be used.")
    _warn_of_skipped(skipped, reporter)
    metrics = evaluation.metrics(calibration.threshold, calibration.min_area)
    return metrics, evaluation


def _projection(detector: Detector, found: Category, reporter: Reporter) -> dict[str, Any]:
    """`projection_figures` of the normal test images, as they are inspected."""
    good = [sample for sample in found.test if sample.kind == GOOD]
    _, sums, _ = of_images(
        lambda picture: error_sums(detector.reconstruct, detector.as_inspected(picture)),
        _spread(good, _PROJECTION_IMAGES),
        detector.config.data,
        "Repairing synthetic anomalies",
        reporter,
    )
    return projection_figures(sums)


def _measured(inspected: Result, sample: Sample, root: Path) -> PictureResult:
    height, width = inspected.mask.shape
    return PictureResult(
        path=str(sample.path.relative_to(root)),
        kind=sample.kind,
        score=inspected.score,
        is_anomalous=inspected.is_anomalous,
        anomaly_map=inspected.anomaly_map,
        predicted_mask=inspected.mask,
        true_mask=read_sample_mask(sample, (height, width)),
        defects=len(inspected.defects),
        area=sum(defect.area for defect in inspected.defects),
    )


def _write_sheets(
    detector: Detector,
    found: Category,
    verdicts: Sequence[Verdict],
    folder: Path,
    reporter: Reporter,
    gallery: Gallery,
) -> None:
    """One sheet for each kind: the best, median and worst judged pictures.

    The median one of each kind is added to the gallery.
    """
    assert detector.calibration is not None
    kinds = sorted({verdict.kind for verdict in verdicts})
    picked = {kind: pick_rows([v for v in verdicts if v.kind == kind]) for kind in kinds}
    samples = {str(sample.path.relative_to(found.root)): sample for sample in found.test}
    with reporter.task("Drawing sheets", sum(map(len, picked.values()))) as task:
        for kind, choices in picked.items():
            rows = []
            median = choices[len(choices) // 2]
            for label, verdict in choices:
                # Pictures and maps of the whole test set would not fit in memory.
                sample = samples[verdict.path]
                again = detector.predict(sample.path)
                assert again.reconstruction is not None
                result = _measured(again, sample, found.root)
                rows.append(SheetRow(label, result, again.picture, again.reconstruction))
                if verdict is median[1]:
                    gallery.add("typical", result, again.picture, again.reconstruction)
                task.advance()
            write_sheet(
                folder / f"{kind}.png",
                rows,
                f"{found.name}: {kind}",
                threshold=detector.calibration.threshold,
            )


def run_split(folder: Path, config: RunConfig) -> tuple[Category, Split]:
    """The pictures of a run, split as split.json has it, whatever was added since.

    Raises:
        RunError: the run's records can't be read.
        DataError: the pictures are not there any more.
    """
    found = load_category(recorded(folder / ENVIRONMENT_FILE, "data"), config.category)

    def part(name: str) -> tuple[Sample, ...]:
        names = recorded(folder / SPLIT_FILE, name)
        return tuple(Sample(found.root / name, GOOD) for name in names)

    return found, Split(part("train"), part("select"), part("calibrate"), root=found.root)


def recorded(path: Path, key: str) -> Any:
    """One value of a run's environment.json or split.json."""
    values = read_json(path)
    if not isinstance(values, dict) or key not in values:
        raise RunError(f"{path}: has no {key!r}.")
    return values[key]


def _check_free(folder: Path, overwrite: bool) -> None:
    """Refuses a run folder that can't be made, or that holds something to keep."""
    if folder.exists():
        is_run = (folder / CONFIG_FILE).is_file()
        if not folder.is_dir() or (any(folder.iterdir()) and not is_run):
            raise RunError(f"{folder}: exists and is no run folder; choose another with --out.")
        if is_run and not overwrite:
            unfinished = not (folder / CALIBRATION_FILE).is_file()
            can_go_on = unfinished and (folder / "checkpoints" / STATE_FILE).is_file()
            hint = f", `ssae-tf fit --resume {folder}` goes on with it" if can_go_on else ""
            raise RunError(
                f"{folder}: exists; --overwrite replaces it, --out chooses another{hint}."
            )
    check_can_be_made(folder)


def _clear(folder: Path) -> None:
    """Empties a folder if there is one; the folder itself may be a mount point or a link."""
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise RunError(f"{folder}: can't be emptied ({error.strerror}).") from None


def _announce(config: RunConfig, seconds: float, minutes: float | None, reporter: Reporter) -> None:
    """One line before a long wait: how long, and what would shorten it."""
    shorter = []
    if minutes is None:
        shorter.append("--minutes N")
    if config.preset != "quick":
        shorter.append("--preset quick")
    if config.model.width > 0.125:
        shorter.append("a smaller --width")
    if not tf.config.list_physical_devices("GPU"):
        shorter.append("a GPU")
    sizes = " → ".join(f"{stage.size}²" for stage in config.training.stages)
    reporter.say(
        f"Training takes about {duration(seconds)}: {config.training.steps} steps at {sizes}, "
        f"width {config.model.width:g}. Shorter with {', '.join(shorter)}."
    )


def _environment(found: Category, data: Path) -> dict[str, Any]:
    """What a result depends on beside the settings."""
    return {
        "schema_version": 1,
        "ssae_tf": __version__,
        **machine(),
        # tf.keras.__version__ is missing in Keras 2.15.
        "keras": importlib.metadata.version("keras"),
        "numpy": np.__version__,
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "data": str(data.resolve()),
        "data_hash": data_hash(found),
    }
