"""`fit` says how long it went on after training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def test_time_after_training_is_told_apart(fitted: Any, run_folder: Path) -> None:
    (line,) = [one for one in fitted.err if one.startswith("After training: ")]
    assert re.fullmatch(
        r"After training: \d+ (s|min) for the threshold, 8 test images and the report\.", line
    )
