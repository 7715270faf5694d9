"""What the commands call: the only place that joins training and inspection."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssae_tf import config as config_module
from ssae_tf.calibration import build_detector, calibrated
from ssae_tf.config import RunConfig
from ssae_tf.config.arguments import checked
from ssae_tf.data.images import decoded_once
from ssae_tf.data.mvtec import Category, load_category
from ssae_tf.data.split import split_names
from ssae_tf.data.two_folders import two_folders
from ssae_tf.detector import Detector, run_config
from ssae_tf.errors import InputError, RunError, WriteError, count_of
from ssae_tf.evaluation.run import check_test_set, evaluate_detector
from ssae_tf.files import not_written, read_json, write_json, write_text
from ssae_tf.golden import write_golden
from ssae_tf.ignore_mask import own_ignore_mask
from ssae_tf.preparation import Prepared, announce, environment, prepare
from ssae_tf.progress import Reporter, duration
from ssae_tf.recalibration import chosen, tell_left_out
from ssae_tf.run_data import (
    calibration_images,
    category_at,
    check_split,
    is_own,
    own_category,
    own_data,
    tested_category,
)
from ssae_tf.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    SPLIT_FILE,
    beside,
    evaluating,
    has_checkpoint,
    is_finished,
    read_mark,
    read_whole,
    writing,
)
from ssae_tf.run_making import Begun, begun, finish, taken_up
from ssae_tf.run_report import write_results
from ssae_tf.training.loop import Trainer, TrainingInterrupted
from ssae_tf.training.replicas import WorkerLost
from ssae_tf.warm_start import check_channels, initial_weights, wanted


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


@checked
def fit(
    data: str | Path,
    category: str | None = None,
    *,
    out: str | Path | None = None,
    config: RunConfig | None = None,
    minutes: float | None = None,
    overwrite: bool = False,
    weights_from: str | Path | None = None,
    reporter: Reporter | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> Fitted:
    """Trains a detector on good images, sets its threshold, measures it if there is a test set.

    Args:
        data: a root in MVTec AD layout, a category folder, or a plain folder of good images.
        category: name of the category; None where there is only one.
        out: the run folder to make; None for `runs/CATEGORY`.
        config: all settings; None for the default preset, or those of `weights_from`.
        minutes: that training should take, turned into a number of steps at the start; None for
            the number in `config`.
        overwrite: replace an existing run, which stays as it is until the new one is complete.
        weights_from: a finished run whose weights training starts from; None for what `config` has.
        reporter: where progress goes; None for stderr.
        strategy: the devices that train, such as a `tf.distribute.MirroredStrategy`; None for one.

    Returns:
        The detector, where it is, and its metrics.

    Raises:
        InputError: `minutes` is no time, an argument has another type than declared, or a step
            can't be split over so many devices.
        ConfigError: `config` has another network than `weights_from`.
        DataError: images are missing or unusable.
        RunError: `out` exists, can't be written to or replaced, or another process is in it.
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; `resume` goes on.

    Example:
        >>> import ssae_tf
        >>> config = ssae_tf.preset("quick", "tile")
        >>> fitted = ssae_tf.fit("data", "tile", out="runs/tile", config=config)
        >>> sorted(path.name for path in fitted.folder.glob("*r*.json"))
        ['calibration.json', 'environment.json', 'metrics.json']
        >>> 0.0 <= fitted.metrics["image_auroc"] <= 1.0
        True
        >>> fitted.detector.predict("data/tile/test/good/000.png").threshold > 0.0
        True
    """
    reporter = reporter or Reporter()
    if minutes is not None and not 0.0 < minutes < math.inf:
        raise InputError(f"Expected minutes above 0, and finite. Received: {minutes!r}.")
    loaded = load_category(data, category)
    # A run is gone on with from anywhere.
    config = config_module.absolute(wanted(config, loaded.name, weights_from))
    folder = Path(out) if out is not None else Path("runs") / loaded.name
    if str(folder.resolve()) == config.weights_from:
        raise RunError(f"{folder}: is the run to start from; --out chooses another folder.")
    request = {
        "data": str(Path(data).resolve()),
        "category": category,
        "minutes": minutes,
        "config": config_module.to_dict(config),
    }
    if overwrite and has_checkpoint(beside(folder)[0]):
        reporter.warn(f"{beside(folder)[0]} was interrupted, and is begun anew.")
    with begun(folder, request, Path(data), overwrite=overwrite) as one, decoded_once():
        return _train(one, loaded, config, request, reporter, strategy)


@checked
def resume(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    reporter: Reporter | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> Fitted:
    """Goes on with a training that was interrupted.

    Args:
        folder: the run folder; where the training was to replace a run, the folder of that one.
        data: where the run's images are now, which is recorded; None for where they were.
        reporter: where progress goes; None for stderr.
        strategy: as in `fit`, and not bound to what training began on.

    Returns:
        As `fit`.

    Raises:
        RunError: nothing to go on from, or the images have changed since.
        DataError: images are missing or unusable.
    """
    reporter = reporter or Reporter()
    with taken_up(Path(folder)) as one, decoded_once():
        if one.place == one.folder and is_finished(one.place):
            reporter.say(f"{one.folder}: is finished, nothing is left to do.")
            return _finished(one.folder)
        if not has_checkpoint(one.place):
            return _train_anew(one, data, reporter, strategy)
        config = config_module.load(one.place / CONFIG_FILE)
        category = category_at(data, one.place, config) if data else own_category(one.place, config)
        if not is_own(category, one.place):
            raise RunError(
                f"{data or own_data(one.place)}: the images are not those that {folder} was "
                "started with; expected files of the same names and sizes."
            )
        mask = own_ignore_mask(one.place, config.scoring)
        prepared = prepare(category, config, reporter, mask)
        check_split(one.place, prepared.split)
        trainer = Trainer(prepared.train, prepared.select, prepared.config, reporter, strategy)
        if data is not None:
            _record_place(one.place, data, reporter)
        return _finish(trainer, one, prepared, reporter, go_on=True)


def _train_anew(
    one: Begun, data: str | Path | None, reporter: Reporter, strategy: tf.distribute.Strategy | None
) -> Fitted:
    """Trains what was stopped before its first checkpoint, as it was asked for."""
    mark = read_mark(one.place)
    assert mark is not None
    assert mark.request is not None
    request = dict(mark.request)
    if data is not None:
        request["data"] = str(Path(data).resolve())
    category = load_category(request["data"], request["category"])
    config = config_module.from_dict(request["config"])
    return _train(one, category, config, request, reporter, strategy)


def _record_place(folder: Path, data: str | Path, reporter: Reporter) -> None:
    environment = read_json(folder / ENVIRONMENT_FILE)
    environment["data"] = str(Path(data).resolve())
    write_json(folder / ENVIRONMENT_FILE, environment)
    reporter.say(f"Data: {environment['data']}, which {ENVIRONMENT_FILE} names from now on.")


@checked
def calibrate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    min_area: int | None = None,
    max_false_alarms: float | None = None,
    review: float | None = None,
    without: Sequence[str] = (),
    take_back: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Detector:
    """Sets a run's threshold anew, without training: config.json and calibration.json, or none.

    A metrics.json of before is left as it is: `evaluate` makes a new one. Without one report.html
    and card.md are made anew here.

    Args:
        run: a finished run folder.
        data: a folder of good images to calibrate on, or where the run's own images are now; None
            for the run's own where they were.
        min_area: pixels that a defect must have; None for the run's own setting.
        max_false_alarms: accepted share of good images rejected, 0 to 1; None for the least that
            so many calibration images allow.
        review: the same of good images reviewed or rejected, which sets a second, lower level;
            None for no such level.
        without: file names of images to leave out, because they turned out not to be good ones; a
            later calibration leaves them out as well.
        take_back: those of images to leave out no longer.
        reporter: where progress goes; None for stderr.

    Returns:
        The detector with its new threshold.

    Raises:
        RunError, DataError, ConfigError: the run or the images can't be used.
    """
    reporter = reporter or Reporter()
    folder = Path(run)
    # Says what is wrong with a folder before a lock is put into it.
    run_config(folder)
    with writing(folder, "ssae-tf calibrate"), decoded_once():
        detector = Detector.load(folder)
        if min_area is not None:
            changed = config_module.override(detector.config, {"min_area": min_area})
            detector = detector.replace(config=changed)
        images = calibration_images(folder, detector.config, data, reporter)
        before = detector.calibration.left_out if detector.calibration else ()
        samples, left_out = chosen(images, before, without=without, take_back=take_back)
        detector = calibrated(
            detector,
            samples,
            reporter,
            seen=images.seen,
            root=images.root,
            max_false_alarms=max_false_alarms,
            review=review,
        )
        place = None if images.is_own else str(images.root.resolve())
        calibration = dataclasses.replace(detector.calibrated(), left_out=left_out, data=place)
        detector = detector.replace(calibration=calibration)
        tell_left_out(images, left_out, reporter)
        detector.save_calibration(folder)
        if (folder / METRICS_FILE).is_file():
            reporter.say(
                f"{folder / METRICS_FILE} is still that of the threshold before: "
                f"`ssae-tf evaluate {folder}` measures anew."
            )
        else:
            # `evaluate` can't, without test images.
            shown = Category(images.root, detector.config.category, tuple(samples))
            write_results(folder, detector, shown, reporter, run=folder)
    return detector


@checked
def evaluate(
    run: str | Path | Detector,
    *,
    data: str | Path | None = None,
    category: str | None = None,
    good: str | Path | None = None,
    bad: str | Path | None = None,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measures a detector on the test images of its category (section 4.2).

    Args:
        run: a finished run folder, or a detector (then `data` is needed).
        data: a root in MVTec AD layout; None for the one the run was trained on.
        category: None for the run's own.
        good, bad: plain folders of good and of defective images to measure on instead of `data`;
            without masks, so that pixel figures are None. One of them will do.
        out: folder for metrics.json, verdicts.csv, report.html, card.md, and sheets of the best,
            median and worst images of each kind; None for none.
        reporter: where progress goes; None for stderr.

    Returns:
        The content of metrics.json.

    Raises:
        RunError, DataError: the run or the images can't be used, or there are no test images.
    """
    reporter = reporter or Reporter()
    out = None if out is None else Path(out)
    has_folders = good is not None or bad is not None
    if has_folders and (data is not None or category is not None):
        raise InputError("Expected `good` and `bad`, or `data` and `category`. Received both.")
    if isinstance(run, Detector) and data is None and not has_folders:
        raise InputError("Expected `data` beside a detector. Received: data=None.")

    def images(config: RunConfig) -> Category:
        if has_folders:
            reporter.say("Figures of pixels need masks, which two plain folders don't have.")
            return two_folders(good, bad, config.category)
        if isinstance(run, Detector):
            assert data is not None
            return load_category(data, category or config.category or None)
        return tested_category(Path(run), config, data, category)

    if isinstance(run, Detector):
        run.calibrated()
        return _measure(run, images(run.config), out, reporter, None)
    folder = Path(run)

    def read() -> tuple[Detector, Category]:
        detector = Detector.load(folder)
        return detector, images(detector.config)

    # Says what is wrong with a folder before a lock is put into it.
    run_config(folder)
    with evaluating(folder, out):
        detector, loaded = read_whole(folder, read)
        return _measure(detector, loaded, out, reporter, folder)


@decoded_once()
def _measure(
    detector: Detector, category: Category, out: Path | None, reporter: Reporter, run: Path | None
) -> dict[str, Any]:
    check_test_set(category, reporter)
    try:
        return evaluate_detector(detector, category, out, reporter, run)
    except WriteError as error:
        raise WriteError(f"{str(error).rstrip('.')}; the other files of {out} are whole.") from None


def _train(
    one: Begun,
    category: Category,
    config: RunConfig,
    request: dict[str, Any],
    reporter: Reporter,
    strategy: tf.distribute.Strategy | None,
) -> Fitted:
    mask = own_ignore_mask(one.place, config.scoring)
    prepared = prepare(category, config, reporter, mask)
    if config.weights_from is not None:
        check_channels(Path(config.weights_from), prepared.train.images, category.root)
        reporter.say(f"Training starts from the weights of {config.weights_from}.")
    start = initial_weights(config)
    trainer = Trainer(prepared.train, prepared.select, prepared.config, reporter, strategy, start)
    minutes = request["minutes"]
    config, seconds = trainer.fit_to_time(None if minutes is None else 60.0 * minutes)
    announce(config, seconds, minutes, reporter)
    write_text(one.place / CONFIG_FILE, config_module.to_json(config))
    write_json(one.place / SPLIT_FILE, split_names(prepared.split))
    write_json(one.place / ENVIRONMENT_FILE, environment(category, Path(request["data"])))
    prepared = dataclasses.replace(prepared, config=config)
    return _finish(trainer, one, prepared, reporter, go_on=False)


def _finish(
    trainer: Trainer, one: Begun, prepared: Prepared, reporter: Reporter, *, go_on: bool
) -> Fitted:
    """Trains, calibrates and evaluates into an existing run folder, and gives it its name."""
    one.kept = True
    with _told_how_to_go_on(one, reporter):
        model = trainer.train(one.place, resume=go_on)
        begin = time.monotonic()
        detector = build_detector(
            model, prepared.config, prepared.split, reporter, prepared.ignore_mask
        )
        write_golden(one.place, detector, [s.path for s in prepared.split.calibrate])
        detector.save(one.place)
        category, metrics = prepared.category, None
        if category.test:
            metrics = evaluate_detector(detector, category, one.place, reporter, one.place)
        else:
            write_results(one.place, detector, category, reporter, run=one.place)
        finish(one)
        took = duration(time.monotonic() - begin)
        tested = f", {count_of(len(category.test), 'test image')}" if category.test else ""
        reporter.say(f"After training: {took} for the threshold{tested} and the report.")
    return Fitted(one.folder, detector, metrics)


@contextlib.contextmanager
def _told_how_to_go_on(one: Begun, reporter: Reporter) -> Iterator[None]:
    """Says what is kept, and the name to go on with, however training ends before its end."""
    go_on = f"ssae-tf fit --resume {one.folder}"
    try:
        yield
    except TrainingInterrupted as error:
        # A run that replaces another is not known by the name of the folder it is made in.
        raise TrainingInterrupted(
            error.step, error.of, error.place, error.number, str(one.folder)
        ) from None
    except WorkerLost as error:
        raise WorkerLost(f"{error} {one.place} is kept. Go on with: {go_on}") from None
    except KeyboardInterrupt:
        reporter.warn(f"Stopped before the end; {one.place} is kept. Go on with: {go_on}")
        raise
    except (WriteError, OSError) as error:
        if isinstance(error, OSError):
            error = not_written(Path(error.filename or one.place), error)
        text = str(error).rstrip(".")
        raise WriteError(f"{text}; {one.place} is kept as it is, and `{go_on}` goes on.") from None


def _finished(folder: Path) -> Fitted:
    path = folder / METRICS_FILE
    return Fitted(folder, Detector.load(folder), read_json(path) if path.is_file() else None)
