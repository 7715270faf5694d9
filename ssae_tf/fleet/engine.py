"""Many images on a cluster of Ray: workers with a detector each, and one driver with the table.

Workers that die are started anew by Ray, and the block of images that they were at is inspected
once more. The driver gets each block once, and it alone writes: the table has no image twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssae_tf.errors import MissingExtraError, RunError, one_line
from ssae_tf.export.artefact import find
from ssae_tf.export.manifest import file_hash
from ssae_tf.files import check_can_be_made
from ssae_tf.fleet.places import RAY_PIP, absolute, is_remote
from ssae_tf.progress import Reporter
from ssae_tf.run_folder import SUMS_FILE, verdict_files
from ssae_tf.runtime.lock import locked
from ssae_tf.runtime.streams import stderr_held_back

if TYPE_CHECKING:
    import pyarrow as pa

# A block is what a worker that dies has to begin again. A driver copes with ten thousand or so.
_MIN_BLOCK, _MAX_BLOCK, _BLOCKS = 16, 1000, 10_000
# How often a block is tried again whose worker died: an image may be what kills it.
_RETRIES = 3


@dataclasses.dataclass
class Counts:
    """What became of the images.

    Attributes:
        before: had rows in the table before.
        anomalous, good: inspected now.
        failed: have a row with an error.
        lost: have no row, because the worker died each time their block was tried.
    """

    before: int = 0
    anomalous: int = 0
    good: int = 0
    failed: int = 0
    lost: int = 0

    def add(self, rows: pa.Table) -> None:
        """Counts rows of verdicts."""
        verdicts = rows.column("is_anomalous").to_pylist()
        self.anomalous += verdicts.count(True)
        self.good += verdicts.count(False)
        self.failed += verdicts.count(None)


def check_ray() -> None:
    """Makes sure that Ray Data is installed.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        importlib.import_module("ray.data")
    except ImportError as error:
        raise MissingExtraError(f"--engine ray needs Ray Data ({error}): {RAY_PIP}") from None


def score(
    run: Path,
    paths: Sequence[str],
    place: str,
    report: Reporter,
    *,
    workers: int | None = None,
    threshold: float | None = None,
    max_pixels: int,
) -> Counts:
    """Inspects images on Ray, and writes their verdicts to a table.

    Images that have a row in the table already are passed over, those whose row is an error too.
    `ray.init` finds the cluster: that of `RAY_ADDRESS`, one on this machine, or a new one of all
    its cores.

    Args:
        run: a run folder or an artefact, at the same place on all machines.
        paths: of images, as `ssae_tf.fleet.sources.find` gives them.
        place: of the table, as `ssae_tf.fleet.table.Table` takes it.
        report: for progress.
        workers: how many; None is one for each GPU of the cluster, or for each core without any.
        threshold: None for the run's own.
        max_pixels: that an image may have.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: no such run, no cluster, fewer cores than workers, a worker that can't start, or
            a table that another process writes to or that is of other settings.
        DataError: the table can't be read or written to.
    """
    check_ray()
    from ssae_tf.fleet.table import Table

    run, place = run.resolve(), absolute(place)
    settings = {"detector": _hash(run), "threshold": threshold, "max_pixels": max_pixels}
    with _alone(place):
        table = Table(place, settings)
        left = [path for path in paths if path not in table.done]
        counts = Counts(before=len(paths) - len(left))
        if not left:
            return counts
        with _cluster() as resources, report.task("Inspecting", len(left)) as task:
            arguments = (str(run), threshold, max_pixels)
            try:
                for rows in _verdicts(left, _workers(workers, resources), arguments):
                    table.add(rows)
                    counts.add(rows)
                    for _ in range(rows.num_rows):
                        task.advance()
            finally:
                table.flush()
    counts.lost = len(left) - counts.anomalous - counts.good - counts.failed
    return counts


def _verdicts(
    paths: Sequence[str], workers: dict[str, Any], arguments: tuple[Any, ...]
) -> Iterator[pa.Table]:
    """Blocks with their verdicts, in the order in which they are done."""
    import pyarrow as pa
    import ray

    from ssae_tf.fleet.inspector import PATH, Inspector

    size = max(_MIN_BLOCK, min(len(paths) // _BLOCKS, _MAX_BLOCK))
    blocks = [pa.table({PATH: paths[first : first + size]}) for first in range(0, len(paths), size)]
    with warnings.catch_warnings():
        # Ray to 2.63 has no other way to say how often; by default it is without end.
        warnings.simplefilter("ignore", DeprecationWarning)
        verdicts = ray.data.from_arrow(blocks).map_batches(
            Inspector,
            fn_constructor_args=arguments,
            batch_format="pyarrow",
            batch_size=size,
            max_task_retries=_RETRIES,
            **workers,
        )
    try:
        yield from verdicts.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        # The worker's traceback, with what was raised at its end.
        cause = str(error).strip().splitlines()[-1]
        raise RunError(f"Ray: a worker fails ({cause}).") from None


def _workers(number: int | None, resources: dict[str, float]) -> dict[str, Any]:
    """What `map_batches` is told of the workers."""
    import ray

    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    number = number or gpus or cpus
    if not 0 < number <= max(cpus, gpus):
        raise RunError(
            f"Expected workers up to the cluster's {cpus} cores and {gpus} GPUs, at least 1. "
            f"Received: {number}."
        )
    use = {"num_gpus": 1} if number <= gpus else {"num_cpus": 1}
    return {"compute": ray.data.ActorPoolStrategy(size=number), **use}


@contextlib.contextmanager
def _cluster() -> Iterator[dict[str, float]]:
    """Connects to Ray, which is quiet meanwhile; gives the cluster's resources."""
    _check_address()
    # Its native code writes to stderr past Python.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    # Ray prints failures of workers on stdout, where results belong.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            with stderr_held_back():
                ray.init(log_to_driver=False, logging_level="critical", include_dashboard=False)
        except Exception as error:
            raise RunError(f"Ray: no connection to a cluster ({_reason(error)}).") from None
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # What is lost is counted, and the rest goes on.
        context.max_errored_blocks = -1
        try:
            yield ray.cluster_resources()
        finally:
            ray.shutdown()


def _reason(error: Exception) -> str:
    """Why Ray does not connect, in one line; versions that differ have lines of their own."""
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if len(versions) != 2:
        return one_line(error)
    (ray, python), (own_ray, own_python) = versions
    return (
        f"it runs Ray {ray} on Python {python}, this process Ray {own_ray} on Python {own_python}"
    )


def _check_address() -> None:
    """Refuses an address where nothing answers: Ray itself would try for many minutes."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise RunError(
                f"Ray: no cluster answers at {address}, which RAY_ADDRESS names ({error})."
            ) from None


@contextlib.contextmanager
def _alone(place: str) -> Iterator[None]:
    """Keeps other drivers out of a table on this machine; stores have no locks."""
    if is_remote(place):
        yield
        return
    check_can_be_made(Path(place))
    Path(place).mkdir(parents=True, exist_ok=True)
    with locked(Path(place), "ssae-tf predict --engine ray"):
        yield


def _hash(run: Path) -> str:
    """Of what verdicts depend on in a run folder or artefact.

    Raises:
        RunError: it is neither.
    """
    folder = find(run)
    if folder is not None:
        return file_hash([folder / SUMS_FILE])
    from ssae_tf.detector import run_config

    run_config(run)
    return file_hash(verdict_files(run))
