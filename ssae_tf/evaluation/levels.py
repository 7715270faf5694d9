"""What two levels make of the test images: how many are passed, reviewed and rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssae_tf.evaluation.protocol import Verdict
from ssae_tf.scoring.threshold import verdict

_TO_DO = ("good", "review", "reject")


def level_counts(
    verdicts: Sequence[Verdict], threshold: float, review_threshold: float
) -> dict[str, Any]:
    """The block `levels` of metrics.json.

    Args:
        verdicts: of the test images.
        threshold: above it, an image is rejected.
        review_threshold: above it, an image is reviewed.

    Returns:
        `review_threshold`, and for `good` and `defective` images how many of them are `good`,
        `review` and `reject`.
    """
    counts = Counter(
        (one.is_defective, verdict(one.score, threshold, review_threshold)) for one in verdicts
    )
    return {
        "review_threshold": review_threshold,
        **{
            name: {what: counts[is_defective, what] for what in _TO_DO}
            for name, is_defective in (("good", False), ("defective", True))
        },
    }


def levels_line(levels: Mapping[str, Any]) -> str:
    """The same for people, in one line.

    Args:
        levels: what `level_counts` returns.
    """
    parts = [
        f"of {sum(levels[name].values())} {name} images {_share(levels[name], 'review')} to "
        f"review, {_share(levels[name], 'reject')} rejected"
        for name in ("good", "defective")
        if any(levels[name].values())
    ]
    return f"Review above {levels['review_threshold']:.4g}: {'; '.join(parts)}."


def _share(counts: Mapping[str, int], what: str) -> str:
    return f"{counts[what]} ({100 * counts[what] / sum(counts.values()):.1f} %)"
