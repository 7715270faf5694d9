"""Presets and recipes: what they mean, and their literal values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import PRESETS, RECIPES, RunConfig, from_dict, load, to_dict, to_json
from ssae_tf.errors import ConfigError

MVTEC = [
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
    *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str, tmp_path: Path) -> None:
    config = config_module.preset(name, "screw")
    assert (config.preset, config.category) == (name, "screw")
    path = tmp_path / "config.json"
    path.write_text(to_json(config), encoding="utf-8")
    assert load(path) == config
    assert from_dict(json.loads(to_json(config))) == config


def test_the_default_preset_has_a_note_that_names_the_others() -> None:
    for other in set(PRESETS) - {config_module.DEFAULT_PRESET}:
        assert f"--preset {other}" in config_module.PRESET_NOTE


def test_preset_best_is_quick_for_longer() -> None:
    quick, best = (config_module.preset(name, "tile") for name in ("quick", "best"))
    assert best.training.steps == 6 * quick.training.steps
    assert dataclasses.replace(quick, preset="best", training=best.training) == best


# What presets mean, whatever the defaults are: Table 1 alone, λ of the equation, elastic
# deformation and no other, whole images, the plain map.
PAPER: dict[str, Any] = {
    "corruption.share": 1.0,
    "corruption.elastic": 1.0,
    **dict.fromkeys(
        (
            *("corruption.cut_out", "corruption.patch_swap", "corruption.texture"),
            *("corruption.relief", "corruption.noise", "corruption.brightness"),
            *("corruption.tint", "corruption.contrast"),
        ),
        0.0,
    ),
    "corruption.opacity": [1.0, 1.0],
    "corruption.patches": 1,
    "corruption.size": [0.1, 0.5],
    "corruption.sigma": [3.0, 6.0],
    "corruption.alpha": [50.0, 200.0],
    "model.width": 1.0,
    "model.answer": "plain",
    "model.context": 1,
    "model.normalization": None,
    "objective.equation": 1,
    "objective.weight": None,
    "objective.norm": "l2",
    "training.stages": [(128, 32, 10000), (256, 16, 10000), (512, 8, 20000)],
    "training.learning_rate": 1e-3,
    "scoring.evidence": "residual",
    "scoring.reading": "absolute",
    "scoring.test_time_augmentation": False,
    "scoring.outline": None,
}


# LITERALLY has the rest of these.
GATED_PRESET: dict[str, Any] = {
    "model.answer": "gated",
    "objective.equation": 1,
    "objective.weight": None,
    "objective.norm": "l1",
}


MEANING = {
    "paper": PAPER,
    "quick": {**GATED_PRESET, "training.stages": [(128, 8, 400), (256, 4, 1600)]},
    "best": {**GATED_PRESET, "training.stages": [(128, 8, 2400), (256, 4, 9600)]},
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_mean_what_they_say(name: str) -> None:
    config = config_module.preset(name)
    assert {field: _plain(config, field) for field in MEANING[name]} == MEANING[name]


# All that a preset changes of the defaults, for a category without a recipe.
_GATED = {
    "corruption.share": 0.5,
    "corruption.elastic": 0.3,
    "corruption.cut_out": 0.1,
    "corruption.patch_swap": 0.2,
    "corruption.texture": 0.4,
    "corruption.patches": 3,
    "corruption.size": [0.04, 0.45],
    "corruption.alpha": [15.0, 80.0],
    "corruption.brightness": 0.15,
    "corruption.tint": 0.1,
    "corruption.contrast": 0.5,
    "corruption.opacity": [0.3, 1.0],
    "corruption.relief": 0.4,
    "corruption.noise": 0.5,
    "model.width": 0.25,
    "model.answer": "gated",
    "model.context": 2,
    "model.standardize": True,
    "objective.norm": "l1",
    "training.learning_rate": 2e-3,
    "scoring.evidence": "gate",
    "scoring.smoothing_sigma": None,
    "scoring.test_time_augmentation": True,
    "scoring.outline": 0.5,
}


LITERALLY: dict[str, dict[str, Any]] = {
    "quick": {**_GATED, "training.stages": [(128, 8, 400), (256, 4, 1600)]},
    "best": {
        **_GATED,
        "training.stages": [(128, 8, 2400), (256, 4, 9600)],
        "training.evaluations": 24,
    },
    "paper": {
        "training.stages": [(128, 32, 10000), (256, 16, 10000), (512, 8, 20000)],
        "training.evaluations": 40,
    },
}


def _plain(config: RunConfig, name: str) -> Any:
    value: Any = to_dict(config)
    for part in name.split("."):
        value = value[part]
    if name == "training.stages":
        return [(stage["size"], stage["batch_size"], stage["steps"]) for stage in value]
    return value


@pytest.mark.parametrize("name", PRESETS)
def test_presets_literally(name: str) -> None:
    config, default = config_module.preset(name), RunConfig()
    changed = {
        field: _plain(config, field)
        for field in config_module.field_names()
        if _plain(config, field) != _plain(default, field)
    }
    assert changed == {"preset": name, "data.rotate": False, **LITERALLY[name]}


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown preset 'quik'. Expected one of: quick, best, paper."
    ):
        config_module.preset("quik")


@pytest.mark.parametrize("category", MVTEC)
def test_the_mvtec_categories_have_recipes(category: str) -> None:
    assert category in RECIPES
    augmentations = {"rotate", "flip_horizontal", "flip_vertical"}
    assert set(RECIPES[category]) <= augmentations
    for name in PRESETS:
        data = config_module.preset(name, category).data
        for field in augmentations:
            assert getattr(data, field) is RECIPES[category].get(field, True)


def test_a_category_without_recipe_is_mirrored_and_not_turned() -> None:
    data = config_module.preset("quick", "my own parts").data
    assert data == dataclasses.replace(config_module.preset("quick", "leather").data, rotate=False)
    assert data.flip_horizontal
    assert data.flip_vertical
