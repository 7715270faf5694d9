"""Verdicts as a table: a folder of part files, each whole or absent, that a rerun adds to.

A folder and not a file, because neither Parquet nor an object store can be appended to. Readers of
Parquet (pandas, DuckDB, Spark, Ray Data) take such a folder as one table.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as parquet

from ssae_tf.errors import DataError, RunError
from ssae_tf.files import as_json, sweep
from ssae_tf.fleet.inspector import PATH, VERDICT
from ssae_tf.fleet.places import is_remote, names_in, read_bytes, write_bytes
from ssae_tf.fleet.sources import manifest, parts

# What a table is of. Readers of Parquet pass over names that begin so.
_MARK = "_ssae_tf.json"
_COLUMNS = ["schema_version", PATH, *VERDICT.names[1:]]
# A part is written when it has so many rows, or after so many seconds, which is what a driver that
# is killed loses.
_ROWS, _SECONDS = 50_000, 30.0


class Table:
    """A table that verdicts are added to.

    Attributes:
        done: paths that it has rows of.
    """

    def __init__(self, place: str, settings: Mapping[str, object]) -> None:
        """Opens a table, or makes one.

        Args:
            place: a folder, here or in a store, whose name ends in one of `ssae_tf.fleet.FORMATS`.
            settings: what its verdicts depend on; equal for all of a table.

        Raises:
            RunError: its verdicts come from other settings, or it is no such table.
            DataError: it can't be read.
        """
        self._place = place.rstrip("/")
        self._ending = PurePosixPath(self._place).suffix
        self._waiting: list[pa.Table] = []
        self._written = time.monotonic()
        self._claim(settings)
        self.done = set(self._paths())

    def add(self, rows: pa.Table) -> None:
        """Adds verdicts; they are on disk after `flush`, or half a minute."""
        self._waiting.append(rows.select(_COLUMNS))
        waiting = sum(one.num_rows for one in self._waiting)
        if waiting >= _ROWS or time.monotonic() - self._written >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since the last part as another one."""
        if self._waiting:
            rows = pa.concat_tables(self._waiting)
            # No two have the same name, whoever writes them.
            name = f"part-{time.time_ns()}-{uuid.uuid4().hex[:8]}{self._ending}"
            write_bytes(f"{self._place}/{name}", _encoded(rows, self._ending))
        self._waiting, self._written = [], time.monotonic()

    def _claim(self, settings: Mapping[str, object]) -> None:
        names = names_in(self._place)
        mark = f"{self._place}/{_MARK}"
        if _MARK in names:
            if read_bytes(mark) != as_json(settings).encode():
                raise RunError(
                    f"{self._place}: its verdicts come from another detector, or other settings; "
                    "choose another --out-table."
                )
        elif [name for name in names if not name.startswith(".")]:
            raise RunError(f"{self._place}: holds other files; choose another --out-table.")
        else:
            write_bytes(mark, as_json(settings).encode())
        if not is_remote(self._place):
            # What a driver was writing when it was killed.
            sweep(Path(self._place), lambda name: name.startswith(".part-"))

    def _paths(self) -> Iterator[str]:
        if not any(name.endswith(self._ending) for name in names_in(self._place)):
            return
        if self._ending == ".parquet":
            yield from manifest(self._place)
            return
        for part in parts(self._place, self._ending):
            yield from _paths_of_lines(part)


def _paths_of_lines(part: str) -> list[str]:
    try:
        return [json.loads(line)[PATH] for line in read_bytes(part).splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{part}: is no part of a table of verdicts ({error}).") from None


def _encoded(rows: pa.Table, ending: str) -> bytes:
    if ending == ".parquet":
        file = io.BytesIO()
        parquet.write_table(rows, file)
        return file.getvalue()
    # As `ssae-tf predict` prints them.
    lines = ({name: row[name] for name in row if row[name] is not None} for row in rows.to_pylist())
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
