"""Batches of paths or encoded images to verdicts: what a worker of Ray Data runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ssae_tf.data.images import MAX_PIXELS, decode_pixels, read_pixels
from ssae_tf.errors import DataError
from ssae_tf.fleet.places import is_remote, read_bytes
from ssae_tf.result import failed
from ssae_tf.runtime.parallel import ahead

PATH, CONTENT = "path", "bytes"
_REAL = pa.float64()
_DEFECT = {"box": pa.list_(pa.int32()), "area": pa.int64(), "peak": _REAL, "mean": _REAL}
# What a batch gains, in the order of a line of `ssae-tf predict`.
VERDICT = pa.schema(
    {
        "schema_version": pa.int32(),
        "score": _REAL,
        "threshold": _REAL,
        "p_value": _REAL,
        "is_anomalous": pa.bool_(),
        # Where the run has a level of review.
        "review_threshold": _REAL,
        "verdict": pa.string(),
        "defects": pa.list_(pa.struct(_DEFECT)),
        "error": pa.string(),
    }
)
_GAINED = frozenset(VERDICT.names)
# Images that are read while the network sees another one; a store answers late.
_READ_AHEAD = 4


class Inspector:
    """Inspects batches of a Ray Data set; the detector is loaded once, with the worker.

    A batch is an Arrow table with a column `path`, or `bytes` (encoded images, as
    `ray.data.read_binary_files(…, include_paths=True)` has them) with or without one. It gains the
    columns of `VERDICT`; where an image can't be inspected, `error` says why and the verdict is
    null.

    Args:
        run: a run folder or an artefact, at this place on every machine.
        threshold: None for the run's own.
        max_pixels: that an image may have.

    Example:
        >>> import ray  # doctest: +SKIP
        >>> from ssae_tf.fleet.inspector import Inspector
        >>> images = ray.data.read_parquet("s3://bucket/manifest.parquet")  # doctest: +SKIP
        >>> images.map_batches(  # doctest: +SKIP
        ...     Inspector, fn_constructor_args=("/models/tile",), batch_format="pyarrow",
        ...     batch_size=16, concurrency=8, num_cpus=1,
        ... ).write_parquet("s3://bucket/found")
    """

    def __init__(
        self, run: str, threshold: float | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        from ssae_tf.export.artefact import find, open_detector
        from ssae_tf.runtime.threads import use_cores

        # Ray counts one core for a worker, and gives it no GPU that it has not asked for.
        if find(Path(run)) is None:
            use_cores()
        self._detector = open_detector(run)
        self._threshold = threshold
        self._max_pixels = max_pixels

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Inspects the images of a batch.

        Raises:
            DataError: it is no Arrow table, or has neither of the two columns.
        """
        rows = list(ahead(self._row, ahead(self._pixels, _items(batch), _READ_AHEAD), 1))
        kept = batch.select([name for name in batch.column_names if name not in _GAINED])
        verdicts = pa.Table.from_pylist(rows, schema=VERDICT)
        for field in VERDICT:
            kept = kept.append_column(field, verdicts.column(field.name))
        return kept

    def _pixels(self, item: tuple[str, bytes | None]) -> tuple[str, np.ndarray | Exception]:
        path, content = item
        try:
            if content is None and not is_remote(path):
                return path, read_pixels(path, self._max_pixels)
            content = read_bytes(path) if content is None else content
            return path, decode_pixels(content, path, self._max_pixels)
        except Exception as error:
            return path, error

    def _row(self, read: tuple[str, np.ndarray | Exception]) -> dict[str, Any]:
        path, pixels = read
        try:
            if isinstance(pixels, Exception):
                raise pixels
            return self._detector.predict(pixels, threshold=self._threshold).to_dict()
        except Exception as error:
            return failed(path, error)


def _items(batch: pa.Table) -> list[tuple[str, bytes | None]]:
    """The path of each image, "image" where there is none, and its content if that is known."""
    if not isinstance(batch, pa.Table):
        raise DataError(
            "Expected batches as Arrow tables (`batch_format='pyarrow'`). Received: "
            f"{type(batch).__name__}."
        )
    names = batch.column_names
    if PATH not in names and CONTENT not in names:
        raise DataError(
            f"Expected a column `{PATH}` or `{CONTENT}`. Received: {', '.join(names) or 'none'}."
        )
    paths = batch.column(PATH).to_pylist() if PATH in names else ["image"] * batch.num_rows
    contents = batch.column(CONTENT).to_pylist() if CONTENT in names else [None] * batch.num_rows
    return list(zip(map(str, paths), contents, strict=True))
