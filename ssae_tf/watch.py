"""Inspects what arrives in a folder; results.jsonl is its record, and all that a restart needs.

Each line is on the disk before the next image is looked at. A line is one of four: a result or an
error of an image, `drift` where it was noticed, and `watch` where the drift test begins, with what
it compares with.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ssae_tf.data.listing import images_below
from ssae_tf.errors import DataError, RunError, SsaeError, one_line
from ssae_tf.files import not_written
from ssae_tf.progress import Reporter
from ssae_tf.result import SCHEMA_VERSION, Inspector
from ssae_tf.runtime.lock import locked
from ssae_tf.scoring.drift import Alarm, Drift

RESULTS_FILE = "results.jsonl"
# A signal is noticed within so many seconds.
_NAP = 0.1
Line = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """An image file in one of its states; another size or time makes it another.

    Attributes:
        name: relative to the folder, with forward slashes.
        size: bytes.
        mtime: when it was written, seconds since 1970.
    """

    name: str
    size: int
    mtime: float


@dataclasses.dataclass(frozen=True)
class Reference:
    """What drift is measured from.

    Attributes:
        scores: of the calibration images.
        threshold: the score above which an image is anomalous.
        alarms_per_year: false alarms that are accepted.
        seed: of the draws that break ties.
    """

    scores: tuple[float, ...]
    threshold: float
    alarms_per_year: float = 0.1
    seed: int = 0

    def drift(self) -> Drift:
        """A test that begins."""
        rate, seed = self.alarms_per_year, self.seed
        return Drift(self.scores, self.threshold, alarms_per_year=rate, seed=seed)

    def to_dict(self) -> Line:
        """The content of a `watch` line."""
        scores = json.dumps(self.scores).encode()
        return {
            "threshold": self.threshold,
            "n_calibration": len(self.scores),
            "scores_sha256": hashlib.sha256(scores).hexdigest(),
            "alarms_per_year": self.alarms_per_year,
            "seed": self.seed,
        }


class Record:
    """results.jsonl, which only grows.

    Attributes:
        path: of the file.
        done: the images in it.
        has_result: whether one of them was inspected.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file; a last line that is torn, by a power cut for instance, is cut off.

        It is made if there is none, in a folder whose lock this process holds.

        Raises:
            RunError: it can't be read or written, or holds something else.
        """
        self.path = path
        self.done: set[Arrival] = set()
        self.has_result = False
        # Since the last `watch` line: score and time of each result, and how many alarms.
        self._begin: Line | None = None
        self._results: list[tuple[float, float]] = []
        self._alarms = 0
        try:
            if path.exists():
                self._read()
            # Whoever reads along sees it grow: it is never written anew.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise not_written(path, error) from None

    def _read(self) -> None:
        if not self.path.is_file():
            raise RunError(f"{self.path}: is no file.")
        whole = 0
        with self.path.open("rb+") as file:
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):
                    break
                try:
                    self._take(json.loads(text))
                except (ValueError, KeyError, TypeError):
                    raise RunError(
                        f"{self.path}: line {number} is none that this ssae_tf writes; move the "
                        "file away."
                    ) from None
                whole += len(text)
            file.truncate(whole)

    def _take(self, line: Line) -> None:
        if line["schema_version"] > SCHEMA_VERSION:
            raise ValueError
        if "watch" in line:
            self._begin, self._results, self._alarms = line["watch"], [], 0
        if "score" in line:
            self._results.append((float(line["score"]), _seconds(line["inspected"])))
        self._alarms += "drift" in line
        self._remember(line)

    def _remember(self, line: Line) -> None:
        self.has_result |= "score" in line
        if "name" in line:
            self.done.add(Arrival(line["name"], line["size"], line["mtime"]))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def add(self, line: Line) -> Line:
        """Has the disk hold one more line, and returns it.

        Raises:
            RunError: it can't be written.
        """
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise not_written(self.path, error) from None
        self._remember(line)
        return line

    def resumed(self, reference: Reference) -> tuple[Drift, list[Line]]:
        """The drift test as the lines so far leave it.

        Returns:
            The test, and lines that are still to be written: a `watch` line where it begins, with
            another threshold for instance; alarms that a process had no time to write.
        """
        drift = reference.drift()
        if self._begin != reference.to_dict():
            return drift, [{"schema_version": SCHEMA_VERSION, "watch": reference.to_dict()}]
        alarms = (drift.add(score, time) for score, time in self._results)
        raised = [alarm for alarm in alarms if alarm is not None]
        self._results.clear()
        return drift, [drift_line(alarm, drift) for alarm in raised[self._alarms :]]


def watch(
    inspector: Inspector,
    reference: Reference,
    folder: Path,
    out: Path,
    reporter: Reporter,
    *,
    interval: float = 1.0,
    once: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    drifting: Callable[[Drift], None] = lambda _: None,
) -> Iterator[Line]:
    """Inspects the images of a folder as they arrive, each once, whatever was interrupted.

    An image has arrived when its size and time stayed the same over two looks. Nothing is moved.

    Args:
        inspector: what inspects them.
        reference: what drift is measured from.
        folder: looked through to any depth.
        out: where results.jsonl is, made if need be; one process at a time.
        reporter: where warnings go.
        interval: seconds between two looks.
        once: end when what is there is inspected.
        stopped: asked between images whether to end.
        drifting: told the state of the drift test after each image.

    Yields:
        Each line that is on the disk.

    Raises:
        DataError: the folder can't be listed at the start.
        RunError: `out` can't be written to, or another process is in it; the inspector fails before
            a single image was inspected.
    """
    before = set(_arrivals(folder))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(out, error) from None
    with locked(out, "ssae-tf watch"):
        record = Record(out / RESULTS_FILE)
        try:
            drift, missing = record.resumed(reference)
            yield from map(record.add, missing)
            drifting(drift)
            while not stopped():
                _wait(interval, stopped)
                now = _look(folder, reporter)
                ready = [one for one in now if one in before and one not in record.done]
                # As they were taken, as far as their times can say.
                for arrival in sorted(ready, key=lambda one: (one.mtime, one.name)):
                    if stopped():
                        return
                    line = record.add(_inspected(inspector, folder, arrival, record.has_result))
                    yield line
                    if "score" in line:
                        alarm = drift.add(line["score"], _seconds(line["inspected"]))
                        drifting(drift)
                        if alarm is not None:
                            yield record.add(drift_line(alarm, drift))
                if once:
                    _tell_of_growing(set(now) - before, reporter)
                    return
                before = set(now)
        finally:
            record.close()


def _inspected(inspector: Inspector, folder: Path, arrival: Arrival, has_result: bool) -> Line:
    """What is written of an image.

    Args:
        inspector: what inspects it.
        folder: that it is in.
        arrival: the image.
        has_result: whether one was inspected by now, by an earlier process at least.

    Raises:
        RunError: the inspector fails before a single image was inspected.
    """
    path = folder / arrival.name
    begin = time.monotonic()
    try:
        line = inspector.predict(path).to_dict()
    except Exception as error:
        if isinstance(error, RunError) and not has_result:
            raise
        text = str(error) if isinstance(error, SsaeError) else f"{path}: {one_line(error)}."
        line = {"schema_version": SCHEMA_VERSION, "path": str(path), "error": text}
    seconds = round(time.monotonic() - begin, 4)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return {**line, **dataclasses.asdict(arrival), "inspected": now, "seconds": seconds}


def drift_line(alarm: Alarm, drift: Drift) -> Line:
    """What results.jsonl says of drift."""
    content = dataclasses.asdict(alarm)
    content["since"] = _iso(alarm.since)
    content["alarms_per_year"] = drift.alarms_per_year
    content["message"] = sentence(alarm, drift.alarms_per_year)
    return {"schema_version": SCHEMA_VERSION, "drift": content}


def sentence(alarm: Alarm, alarms_per_year: float) -> str:
    """Drift in plain words, and what to do."""
    more = {
        "scores": ("Good images score higher", "Good images score lower"),
        "rejections": ("More images are rejected", "Fewer images are rejected"),
    }[alarm.of][not alarm.rose]
    since = _iso(alarm.since)[:16].replace("T", " ")
    years = 1.0 / alarms_per_year
    often = f"once in {years:g} years" if years > 1.0 else f"{alarms_per_year:g} times a year"
    return (
        f"Drift: {more} than before, since {since} UTC ({alarm.images} images, mean p-value "
        f"{alarm.mean_p_value:.2f} where 0.5 is usual; chance says so {often} at most). Compare "
        "images of before and after: lamp, focus, lens and place of the camera. If the surface "
        "itself is another now, collect good images and `ssae-tf calibrate RUN --data FOLDER`, or "
        "`ssae-tf fit` anew; `watch`, started again, begins its test anew."
    )


def _look(folder: Path, reporter: Reporter) -> list[Arrival]:
    """What is in the folder; nothing, and a warning, while it can't be listed."""
    try:
        return list(_arrivals(folder))
    except DataError as error:
        reporter.warn(str(error))
        return []


def _arrivals(folder: Path) -> Iterator[Arrival]:
    for path in images_below(folder):
        try:
            status = path.stat()
        except OSError:
            # Moved away since it was listed.
            continue
        name = path.relative_to(folder).as_posix()
        yield Arrival(name, status.st_size, status.st_mtime)


def _tell_of_growing(arrivals: Iterable[Arrival], reporter: Reporter) -> None:
    names = sorted(one.name for one in arrivals)
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        reporter.warn(f"{names[0]}{more}: changed meanwhile, left for the next time.")


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not stopped() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _NAP))


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")
