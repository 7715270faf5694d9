"""Named presets, and recipes: what section 4.1 sets "depending on the category"."""

from __future__ import annotations

from typing import Any

from ssae_tf.config.arguments import checked
from ssae_tf.config.io import from_dict
from ssae_tf.config.schema import RunConfig
from ssae_tf.errors import ConfigError

# Section 4.1 augments "depending on the category": what may be turned or mirrored without becoming
# a defect. A surface that is not named may be mirrored; many have a direction (ground metal, wood,
# cloth), and turned by 90° a network would have to learn two surfaces and accept either.
_MIRRORED = {"rotate": False}
_UPRIGHT = {"rotate": False, "flip_vertical": False}
_FIXED = {"rotate": False, "flip_horizontal": False, "flip_vertical": False}
RECIPES: dict[str, dict[str, bool]] = {
    "carpet": {},
    "grid": {},
    "leather": {},
    "tile": {},
    "wood": _MIRRORED,
    "bottle": {},
    "cable": _FIXED,
    "capsule": _FIXED,
    "hazelnut": {},
    "metal_nut": {"flip_horizontal": False, "flip_vertical": False},
    "pill": _FIXED,
    # Mirrored, its thread would run the other way.
    "screw": {"flip_horizontal": False, "flip_vertical": False},
    "toothbrush": _UPRIGHT,
    "transistor": _UPRIGHT,
    "zipper": _MIRRORED,
    "weave": _MIRRORED,
}
# Structured corruption: repairs of these carry over to defects (docs/training.md).
_CORRUPTION = {
    # A gate that never sees a normal image whole finds something in every one.
    "share": 0.5,
    "elastic": 0.3,
    "cut_out": 0.1,
    "patch_swap": 0.2,
    "texture": 0.4,
    "relief": 0.4,
    "noise": 0.5,
    "alpha": [15.0, 80.0],
    "patches": 3,
    "size": [0.04, 0.45],
    "opacity": [0.3, 1.0],
    "brightness": 0.15,
    "tint": 0.1,
    "contrast": 0.5,
}
_GATED = {
    "model": {"width": 0.25, "answer": "gated", "context": 2, "standardize": True},
    "objective": {"norm": "l1"},
    "corruption": _CORRUPTION,
    "scoring": {
        "evidence": "gate",
        "smoothing_sigma": None,
        "test_time_augmentation": True,
        "outline": 0.5,
    },
}
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        **_GATED,
        "training": {
            "stages": [
                {"size": 128, "batch_size": 8, "steps": 400},
                {"size": 256, "batch_size": 4, "steps": 1600},
            ],
            "learning_rate": 2e-3,
        },
    },
    "best": {
        **_GATED,
        "training": {
            "stages": [
                {"size": 128, "batch_size": 8, "steps": 2400},
                {"size": 256, "batch_size": 4, "steps": 9600},
            ],
            "learning_rate": 2e-3,
            "evaluations": 24,
        },
    },
    "paper": {
        "training": {
            "stages": [
                {"size": 128, "batch_size": 32, "steps": 10000},
                {"size": 256, "batch_size": 16, "steps": 10000},
                {"size": 512, "batch_size": 8, "steps": 20000},
            ],
            "evaluations": 40,
        },
    },
}
DEFAULT_PRESET = "quick"
"""On every device."""
# What the others of the presets would give, where none is named.
PRESET_NOTE = (
    "Preset quick: whole images at 256², ten minutes of two cores; --preset best trains six "
    "times as long, --preset paper the full network of Table 1 up to 512², which takes days "
    "on a CPU."
)


@checked
def preset(name: str, category: str = "") -> RunConfig:
    """The settings of a preset with a category's recipe applied.

    Args:
        name: "paper", "quick" or "best".
        category: a name of `RECIPES`; any other is mirrored, but not turned.

    Raises:
        ConfigError: no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"Unknown preset {name!r}. Expected one of: {', '.join(PRESETS)}.")
    recipe = RECIPES.get(category, _MIRRORED)
    return from_dict({"category": category, "preset": name, "data": recipe, **PRESETS[name]})
