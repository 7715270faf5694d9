"""Sources to the images they name: files, folders, patterns and manifests, here and in stores."""

from __future__ import annotations

import csv
import glob
import io
from collections.abc import Iterable
from pathlib import Path

from ssae_tf.data.images import is_image_name
from ssae_tf.data.listing import natural
from ssae_tf.data.mvtec import find_images
from ssae_tf.errors import DataError, MissingExtraError
from ssae_tf.fleet.places import (
    RAY_PIP,
    absolute,
    beside,
    files_in_store,
    is_pattern,
    is_remote,
    names_in,
    read_bytes,
)

COLUMN = "path"
_MANIFESTS = (".csv", ".parquet")


def find(sources: Iterable[str]) -> list[str]:
    """The images that sources name, each once, in the order of the sources.

    Args:
        sources: any of

            - a file, whatever its name and even if it is missing: reading it gives the error,
            - a folder, which is searched to any depth,
            - a pattern with `*`, `?` or `[…]`, where `**` stands for any folders,
            - a manifest: CSV with a header, or Parquet, one file or a folder of them, with a column
              `path`. Paths in it that are relative start from the manifest's folder.

            Each may have a scheme that fsspec knows, as in `s3://bucket/images`.

    Returns:
        Absolute paths, or those with their scheme.

    Raises:
        DataError: a source can't be listed or read, or a manifest has no such column.
        MissingExtraError: fsspec or pyarrow is needed and not installed.
    """
    places = (absolute(place) for source in sources for place in _images_of(source))
    # A table can't hold undecodable bytes of a name: escaped, it is a file that does not exist.
    texts = (place.encode("utf-8", "backslashreplace").decode() for place in places)
    return list(dict.fromkeys(texts))


def _images_of(source: str) -> list[str]:
    if source.lower().rstrip("/").endswith(_MANIFESTS) and not is_pattern(source):
        return manifest(source)
    if is_remote(source):
        places = files_in_store(source)
        # A file that is named by itself is taken whatever its name.
        return places if places == [source] else _images(places)
    if is_pattern(source):
        return _images(glob.glob(source, recursive=True))
    return [str(path) for path in find_images([source])]


def _images(places: list[str]) -> list[str]:
    return sorted((one for one in places if is_image_name(Path(one))), key=natural)


def manifest(place: str) -> list[str]:
    """The images that a manifest names, as `find` describes it.

    Raises:
        DataError: it can't be read, or has no column `path`.
        MissingExtraError: it is Parquet, and pyarrow is not installed.
    """
    place = absolute(place)
    is_csv = place.lower().endswith(".csv")
    names = _csv_column(place) if is_csv else _parquet_column(place)
    if not all(names):
        raise DataError(f"{place}: row {names.index('') + 1} has no {COLUMN}.")
    return [beside(name, place) for name in names]


def _csv_column(place: str) -> list[str]:
    try:
        text = read_bytes(place).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        _check_column(rows.fieldnames or [], place)
        return [row[COLUMN] or "" for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place}: is no CSV in UTF-8 ({error}).") from None


def _parquet_column(place: str) -> list[str]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtraError(f"{place}: reading Parquet needs pyarrow: {RAY_PIP}") from None
    names: list[str] = []
    for part in parts(place, ".parquet"):
        try:
            table = parquet.ParquetFile(pyarrow.BufferReader(read_bytes(part)))
            _check_column(table.schema_arrow.names, part)
            column = table.read([COLUMN]).column(COLUMN)
        except pyarrow.ArrowException as error:
            raise DataError(f"{part}: is no Parquet ({error}).") from None
        names += [str(name or "") for name in column.to_pylist()]
    return names


def parts(place: str, ending: str) -> list[str]:
    """The files of a table: itself, or those with this ending that are directly in its folder."""
    inside = [name for name in names_in(place) if name.endswith(ending) and name[0] not in "._"]
    return [f"{place.rstrip('/')}/{name}" for name in inside] or [place]


def _check_column(names: Iterable[str], place: str) -> None:
    names = list(names)
    if COLUMN not in names:
        raise DataError(
            f"{place}: expected a column `{COLUMN}`. Received: {', '.join(names) or 'none'}."
        )
