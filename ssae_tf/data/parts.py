"""Which part of the product an image shows, where parts were photographed more than once."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from ssae_tf.config import is_table
from ssae_tf.errors import DataError

_NAME, _GROUP = "name", "group"


def part_of(group: str) -> Callable[[str], str | None]:
    """What tells the part from the name of an image.

    Returns:
        A function of the name below the category's folder, with forward slashes; None for an image
        that nothing is said of.

    Raises:
        DataError: the table can't be read, or is none.
    """
    if is_table(group):
        parts = _read(Path(group))
        return lambda name: parts.get(name, parts.get(name.rpartition("/")[2]))

    def matched(name: str) -> str | None:
        match = re.search(group, name.rpartition("/")[2])
        return match[1] if match else None

    return matched


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: is no CSV in UTF-8 ({error}).") from None
    parts = {row.get(_NAME): row.get(_GROUP) for row in rows}
    named = {name: part for name, part in parts.items() if name and part}
    if len(named) != len(rows) or not rows:
        raise DataError(
            f"{path}: expected a header with {_NAME} and {_GROUP}, and in each row below an image, "
            f"once, and its group. Received: {len(named)} such of {len(rows)} rows."
        )
    return named
