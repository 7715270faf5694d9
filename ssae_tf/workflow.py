"""What the commands call: the only place that joins training and inspection."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf import __version__
from ssae_tf import config as config_module
from ssae_tf.config import DOWNSAMPLING, RunConfig
from ssae_tf.conformal import FalseAlarmRate, no_promise, rank_for
from ssae_tf.corruption.corrupt import corrupt
from ssae_tf.data.cache import PictureCache
from ssae_tf.data.images import image_size
from ssae_tf.data.kinds import GOOD
from ssae_tf.data.mvtec import Category, Sample, load_category, read_sample_mask
from ssae_tf.data.pipeline import CropSampler
from ssae_tf.data.split import Split, data_hash, split_names, split_normal
from ssae_tf.detector import Calibration, Detector, load_network, run_config
from ssae_tf.errors import ConfigError, DataError, InputError, RunError, WriteError, one_line
from ssae_tf.evaluation.gallery import Gallery
from ssae_tf.evaluation.projection import error_sums, projection_figures
from ssae_tf.evaluation.protocol import Evaluation, PictureResult, Verdict
from ssae_tf.evaluation.report import Measured
from ssae_tf.evaluation.sheets import SheetRow, pick_rows, write_grid, write_sheet
from ssae_tf.files import not_written, read_json, write_json, write_text
from ssae_tf.machine import machine
from ssae_tf.models.weights import save_weights
from ssae_tf.per_image import apply_to, each, of_images
from ssae_tf.progress import Reporter, duration
from ssae_tf.residual_normalization import location_weights
from ssae_tf.result import Result
from ssae_tf.run_data import (
    calibration_samples,
    category_at,
    is_own,
    own_category,
    own_data,
    tested_category,
    told,
    training_samples,
)
from ssae_tf.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    SHEETS_FOLDER,
    SPLIT_FILE,
    WEIGHTS_FILE,
    beside,
    has_checkpoint,
    is_finished,
    read_mark,
    writing,
)
from ssae_tf.run_making import Begun, begun, finish, taken_up
from ssae_tf.run_report import gallery_for, write_results
from ssae_tf.threshold import calibrate as threshold_of
from ssae_tf.threshold import default_min_area, image_score
from ssae_tf.training.loop import Trainer, TrainingInterrupted
from ssae_tf.training.step import corruption_seed

# Enough for every place, and no long wait.
_WEIGHTING_PICTURES = 40
_PROJECTION_IMAGES = 40
# From how many warnings about a folder on a look at the whole of it helps more.
_MANY_WARNINGS = 4
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
        overwrite: replace an existing run, which stays as it is until the new one is complete.
        reporter: where progress goes; None for stderr.

    Returns:
        The detector, where it is, and its metrics.

    Raises:
        DataError: pictures are missing or unusable.
        RunError: `out` exists, can't be written to or replaced, or another process is in it.
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; `resume` goes on.

    Example:
        >>> import ssae_tf
        >>> config = ssae_tf.preset("quick", "tile")
        >>> fitted = ssae_tf.fit("data", "tile", out="runs/tile", config=config)
        >>> sorted(path.name for path in fitted.folder.glob("*.json"))
        ['calibration.json', 'config.json', 'environment.json', 'metrics.json', 'split.json']
        >>> 0.0 <= fitted.metrics["image_auroc"] <= 1.0
        True
        >>> fitted.detector.predict("data/tile/test/good/000.png").threshold > 0.0
        True
    """
    reporter = reporter or Reporter()
    found = load_category(data, category)
    config = config or config_module.preset(config_module.DEFAULT_PRESET, found.name)
    config = dataclasses.replace(config, category=found.name)
    folder = Path(out) if out is not None else Path("runs") / found.name
    request = {
        "data": str(Path(data).resolve()),
        "category": category,
        "minutes": minutes,
        "config": config_module.to_dict(config),
    }
    if overwrite and has_checkpoint(beside(folder)[0]):
        reporter.warn(f"{beside(folder)[0]} was interrupted, and is begun anew.")
    with begun(folder, request, Path(data), overwrite=overwrite) as one:
        return _train(one, found, config, request, reporter)


def resume(
    folder: str | Path, *, data: str | Path | None = None, reporter: Reporter | None = None
) -> Fitted:
    """Goes on with a training that was interrupted.

    Args:
        folder: the run folder; where the training was to replace a run, the folder of that one.
        data: where the run's images are now, which is recorded; None for where they were.
        reporter: where progress goes; None for stderr.

    Returns:
        As `fit`.

    Raises:
        RunError: nothing to go on from, or the pictures have changed since.
        DataError: pictures are missing or unusable.
    """
    reporter = reporter or Reporter()
    with taken_up(Path(folder)) as one:
        if one.place == one.folder and is_finished(one.place):
            reporter.say(f"{one.folder}: is finished, nothing is left to do.")
            return _finished(one.folder)
        if not has_checkpoint(one.place):
            return _train_anew(one, data, reporter)
        config = config_module.load(one.place / CONFIG_FILE)
        found = category_at(data, one.place, config) if data else own_category(one.place, config)
        if not is_own(found, one.place):
            raise RunError(
                f"{data or own_data(one.place)}: the images are not those that {folder} was "
                "started with; expected files of the same names and sizes."
            )
        usable, split, trainer = _prepare(found, config, reporter)
        if data is not None:
            _record_place(one.place, data, reporter)
        return _finish(trainer, one, usable, split, reporter, go_on=True)


def _train_anew(one: Begun, data: str | Path | None, reporter: Reporter) -> Fitted:
    """Trains what was stopped before its first checkpoint, as it was asked for."""
    mark = read_mark(one.place)
    assert mark is not None
    assert mark.request is not None
    request = dict(mark.request)
    if data is not None:
        request["data"] = str(Path(data).resolve())
    found = load_category(request["data"], request["category"])
    config = config_module.from_dict(request["config"])
    return _train(one, found, config, request, reporter)


def _record_place(folder: Path, data: str | Path, reporter: Reporter) -> None:
    """Has environment.json name the new place of a run's images."""
    environment = read_json(folder / ENVIRONMENT_FILE)
    environment["data"] = str(Path(data).resolve())
    write_json(folder / ENVIRONMENT_FILE, environment)
    reporter.say(f"Data: {environment['data']}, which {ENVIRONMENT_FILE} names from now on.")


def calibrate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    min_area: int | None = None,
    max_false_alarms: float | None = None,
    without: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Detector:
    """Sets a run's threshold anew, without training: config.json and calibration.json, or none.

    A metrics.json of before is left as it is: `evaluate` makes a new one.

    Args:
        run: a finished run folder.
        data: a folder of good images to calibrate on, or where the run's own images are now; None
            for the run's own where they were.
        min_area: pixels that a defect must have; None for the run's own setting.
        max_false_alarms: accepted share of good images rejected, 0 to 1; None for the least that
            so many calibration images allow.
        without: file names of pictures to leave out, because they turned out not to be good ones.
        reporter: where progress goes; None for stderr.

    Returns:
        The detector with its new threshold.

    Raises:
        RunError, DataError, ConfigError: the run or the pictures can't be used.
    """
    reporter = reporter or Reporter()
    folder = Path(run)
    # Says what is wrong with a folder before a lock is put into it.
    run_config(folder)
    with writing(folder, "ssae-tf calibrate"):
        detector = Detector.load(folder)
        if min_area is not None:
            changed = config_module.override(detector.config, {"min_area": min_area})
            detector = detector.replace(config=changed)
        samples = _left_out(calibration_samples(folder, detector.config, data, reporter), without)
        detector = calibrated(
            detector,
            samples,
            reporter,
            seen=training_samples(folder, detector.config, data),
            max_false_alarms=max_false_alarms,
        )
        detector.save_calibration(folder)
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
    out: str | Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measures a detector on the test pictures of its category (section 4.2).

    Args:
        run: a finished run folder, or a detector (then `data` is needed).
        data: a root in MVTec AD layout; None for the one the run was trained on.
        category: None for the run's own.
        out: folder for metrics.json, verdicts.csv, report.html, and sheets of the best, median and
            worst images of each kind; None for none.
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
            raise InputError("Expected `data` beside a detector. Received: data=None.")
        found = load_category(data, category or detector.config.category or None)
    else:
        detector = Detector.load(run)
        found = tested_category(Path(run), detector.config, data, category)
    check_test_set(found, reporter)
    folder = None if isinstance(run, Detector) else Path(run)
    return _evaluate(detector, found, None if out is None else Path(out), reporter, folder)


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
    samples = told(load_category(data, category), reporter).train[:rows]
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
    told(found, reporter)
    settings = config.data
    split = split_normal(
        found,
        config.training.seed,
        settings.select_fraction,
        settings.calibrate_fraction,
        settings.group,
    )
    for note in split.notes:
        reporter.warn(note)
    if len(found.warnings) >= _MANY_WARNINGS:
        reporter.say(f"`ssae-tf check {shlex.quote(str(found.root))}` says what to do about them.")

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


def _train(
    one: Begun, found: Category, config: RunConfig, request: dict[str, Any], reporter: Reporter
) -> Fitted:
    """Trains from the first step, into a folder that has its mark."""
    usable, split, trainer = _prepare(found, config, reporter)
    minutes = request["minutes"]
    seconds = trainer.fit_to_time(None if minutes is None else 60.0 * minutes)
    _announce(trainer.config, seconds, minutes, reporter)
    write_text(one.place / CONFIG_FILE, config_module.to_json(trainer.config))
    write_json(one.place / SPLIT_FILE, split_names(split))
    write_json(one.place / ENVIRONMENT_FILE, _environment(found, Path(request["data"])))
    return _finish(trainer, one, usable, split, reporter, go_on=False)


def _finish(
    trainer: Trainer,
    one: Begun,
    found: Category,
    split: Split,
    reporter: Reporter,
    *,
    go_on: bool,
) -> Fitted:
    """Trains, calibrates and evaluates into an existing run folder, and gives it its name."""
    one.kept = True
    with _told_how_to_go_on(one, reporter):
        save_weights(trainer.train(one.place, resume=go_on), one.place / WEIGHTS_FILE)
        # The network as it will be loaded: without dead taps.
        model = load_network(trainer.config, one.place / WEIGHTS_FILE)
        detector = build_detector(model, trainer.config, split, reporter)
        detector.save(one.place)
        metrics = None
        if found.test:
            metrics = _evaluate(detector, found, one.place, reporter, one.place)
        else:
            write_results(one.place, detector, found, reporter, run=one.place)
        finish(one)
    return Fitted(one.folder, detector, metrics)


@contextlib.contextmanager
def _told_how_to_go_on(one: Begun, reporter: Reporter) -> Iterator[None]:
    """Says what is kept, and the name to go on with, however training ends before its end."""
    go_on = f"ssae-tf fit --resume {one.folder}"
    try:
        yield
    except TrainingInterrupted as error:
        # A run that replaces another is not known by the name of the folder it is made in.
        text = str(error).replace(f"ssae-tf fit --resume {one.place}", go_on)
        if one.place != one.folder:
            text = text.replace(f"{one.place}.", f"{one.place}, and {one.folder} is as it was.")
        raise TrainingInterrupted(text, error.number) from None
    except KeyboardInterrupt:
        reporter.warn(f"Stopped before the end; {one.place} is kept. Go on with: {go_on}")
        raise
    except (WriteError, OSError) as error:
        if isinstance(error, OSError):
            error = not_written(Path(error.filename or one.place), error)
        text = str(error).rstrip(".")
        raise WriteError(f"{text}; {one.place} is kept as it is, and `{go_on}` goes on.") from None


def _finished(folder: Path) -> Fitted:
    """What `fit` returned of a run when it was finished."""
    path = folder / METRICS_FILE
    return Fitted(folder, Detector.load(folder), read_json(path) if path.is_file() else None)


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
    return calibrated(detector, split.calibrate, reporter, seen=split.train)


def calibrated(
    detector: Detector,
    samples: Sequence[Sample],
    reporter: Reporter,
    *,
    seen: Sequence[Sample] = (),
    max_false_alarms: float | None = None,
) -> Detector:
    """The same detector with the threshold of some normal images.

    Args:
        detector: any; its calibration is not looked at.
        samples: the images.
        reporter: where progress goes, and what the threshold promises.
        seen: images of training. If some of these are among the others, which score lower for it,
            the threshold is no lower than `ScoringConfig.outline`, and nothing is promised.
        max_false_alarms: accepted share of good images rejected, on average; None for the least
            that so many images allow: the threshold is their maximum.

    Raises:
        DataError: none of the images can be read.
        ConfigError: so few images, or images of training, can't promise `max_false_alarms`.
    """
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
    places = {sample.path.resolve() for sample in seen}
    known = sum(sample.path.resolve() in places for sample in usable)
    if known and max_false_alarms is not None:
        raise ConfigError(
            f"Training has seen {known} of the {len(usable)} calibration images, so that they can "
            "promise no rate of false alarms: calibrate with --data on good images it has not."
        )
    rank = 1 if max_false_alarms is None else rank_for(len(scores), max_false_alarms)
    lowest = detector.config.scoring.outline if known else None
    threshold = threshold_of(scores, lowest or 0.0, rank)
    promised = None if known else FalseAlarmRate(len(scores), rank)
    source = f"from {len(scores)} normal images"
    if threshold > max(scores):
        source = f"the lowest where training has seen some of the {len(scores)} normal images"
    reporter.say(f"Threshold {threshold:.4g}, {source}; min_area {min_area} pixels.")
    reporter.say(_highest(scores, _names(usable)))
    reporter.say(promised.sentence() if promised else no_promise(len(scores), known))
    return detector.replace(calibration=Calibration(threshold, min_area, scores, promised))


def _left_out(samples: Sequence[Sample], without: Sequence[str]) -> Sequence[Sample]:
    """Calibration pictures without some of them.

    Raises:
        DataError: a name is none of theirs or that of several, or no picture is left.
    """
    named = set()
    for name in without:
        parts = Path(name).parts
        matches = [sample for sample in samples if sample.path.parts[-len(parts) :] == parts]
        if not matches:
            raise DataError(f"{name}: no calibration picture has this file name.")
        if len(matches) > 1:
            both = ", ".join(f"{sample.path.parent.name}/{name}" for sample in matches[:2])
            raise DataError(f"{name}: expected the name of one calibration image, found {both}.")
        named.update(matches)
    kept = [sample for sample in samples if sample not in named]
    if not kept:
        raise DataError("All calibration pictures are left out: a threshold needs one at least.")
    return kept


def _names(samples: Sequence[Sample]) -> list[str]:
    """Names that tell images apart: of their files, or with the folders in which they differ."""
    names = [sample.path.name for sample in samples]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([sample.path.parent for sample in samples])
    return [sample.path.relative_to(root).as_posix() for sample in samples]


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
    out: Path | None,
    reporter: Reporter,
    run: Path | None,
) -> dict[str, Any]:
    """metrics.json's content for the test images; written to a folder, with sheets, if given."""
    gallery = gallery_for(detector)
    metrics, evaluation = measure_test_set(detector, found, reporter, gallery)
    metrics["projection"] = _projection(detector, found, reporter)
    if out is not None:
        write_json(out / METRICS_FILE, metrics)
        verdicts = evaluation.verdicts
        _write_sheets(detector, found, verdicts, out / SHEETS_FOLDER, reporter, gallery)
        tested = Measured(verdicts, metrics, evaluation.overlap_curve, str(found.root))
        write_results(out, detector, found, reporter, run=run, tested=tested, gallery=gallery)
    return metrics


def check_test_set(found: Category, reporter: Reporter) -> None:
    """Passes on the warnings of a category that a detector is measured on.

    Raises:
        DataError: it has no test images.
    """
    if not found.test:
        raise DataError(f"{found.root}: has no test pictures (test/<kind>/*).")
    told(found, reporter)


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
    """One sheet for each kind: the best, median and worst judged images; a warning if it fails.

    The median one of each kind is added to the gallery.
    """
    assert detector.calibration is not None
    kinds = sorted({verdict.kind for verdict in verdicts})
    picked = {kind: pick_rows([v for v in verdicts if v.kind == kind]) for kind in kinds}
    samples = {str(sample.path.relative_to(found.root)): sample for sample in found.test}
    with reporter.task("Drawing sheets", sum(map(len, picked.values()))) as task:
        for kind, choices in picked.items():
            path = folder / f"{kind}.png"
            # The figures are there already, and no sheet is worth losing what comes after it.
            try:
                rows, median = [], choices[len(choices) // 2]
                for label, verdict in choices:
                    # Images and maps of the whole test set would not fit in memory.
                    sample = samples[verdict.path]
                    again = detector.predict(sample.path)
                    assert again.reconstruction is not None
                    result = _measured(again, sample, found.root)
                    rows.append(SheetRow(label, result, again.picture, again.reconstruction))
                    if verdict is median[1]:
                        gallery.add("typical", result, again.picture, again.reconstruction)
                    task.advance()
                threshold = detector.calibration.threshold
                write_sheet(path, rows, f"{found.name}: {kind}", threshold=threshold)
            except Exception as error:
                reporter.warn(f"{path}: the sheet can't be drawn ({one_line(error)}).")


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
