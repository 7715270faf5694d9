"""Methods and variants: what they change, and that they change nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.errors import ConfigError
from ssae_tf.paper_tables.methods import METHODS, choose_methods, corruption_study, without_effect


@pytest.fixture
def odd() -> RunConfig:
    """Settings that no method would choose."""
    changes = {
        "corruption.brightness": 0.3,
        "corruption.texture": 2.0,
        "corruption.contrast": 0.4,
        "corruption.tint": 0.1,
        "corruption.opacity": [0.5, 0.9],
        "corruption.share": 0.5,
        "corruption.patches": 3,
        "objective.equation": 3,
        "objective.weight": 0.9,
        "objective.norm": "l1",
        "model.width": 0.05,
        "training.seed": 5,
    }
    return config_module.override(config_module.preset("quick", "wood"), changes)


def _changed(before: RunConfig, after: RunConfig) -> dict[str, Any]:
    found = {}
    for name in config_module.field_names():
        values = [config_module.to_dict(config) for config in (before, after)]
        for part in name.split("."):
            values = [value[part] for value in values]
        if values[0] != values[1]:
            found[name] = values[1]
    return found


def test_ssae_takes_the_settings_as_they_are(odd: RunConfig) -> None:
    assert METHODS["ssae"](odd) == odd


@pytest.mark.parametrize(("name", "norm"), [("ae-l2", "l2_squared"), ("ae-ssim", "ssim")])
def test_plain_autoencoders(name: str, norm: str, odd: RunConfig) -> None:
    assert _changed(odd, METHODS[name](odd)) == {
        "corruption.share": 0.0,
        "objective.equation": 1,
        "objective.weight": None,
        "objective.norm": norm,
        "model.answer": "plain",
        "model.context": 1,
        "model.standardize": False,
        "scoring.evidence": "residual",
        "scoring.outline": None,
    }


def test_the_study_has_every_combination_once(odd: RunConfig) -> None:
    variants = corruption_study()
    expected = {
        f"{family}{brightness}/{equation}"
        for family in ("elastic", "cut-out", "patch-swap", "mixed")
        for brightness in ("", "+brightness")
        for equation in (1, 3)
    }
    assert {variant.name for variant in variants} == expected
    assert len(variants) == 16
    for variant in variants:
        config = variant(odd)
        corruption = config.corruption
        weights = (corruption.elastic, corruption.cut_out, corruption.patch_swap)
        family = variant.name.partition("/")[0].removesuffix("+brightness")
        assert (
            weights
            == {
                "elastic": (1, 0, 0),
                "cut-out": (0, 1, 0),
                "patch-swap": (0, 0, 1),
                "mixed": (1, 1, 1),
            }[family]
        )
        assert corruption.brightness == (0.15 if "+brightness" in variant.name else 0.0)
        assert config.objective.equation == int(variant.name[-1])
        extras = ("texture", "contrast", "tint", "relief", "noise")
        assert [getattr(corruption, name) for name in extras] == [0.0] * len(extras)
        assert (corruption.share, corruption.opacity) == (1.0, (1.0, 1.0))
        # The rest is the same for all.
        assert (corruption.patches, config.objective.weight, config.objective.norm) == (
            3,
            0.9,
            "l1",
        )
        assert config.model == odd.model
        assert config.training == odd.training


def test_choose_methods() -> None:
    assert [method.name for method in choose_methods("ae-ssim, ssae,ae-ssim")] == [
        "ae-ssim",
        "ssae",
    ]
    for text in ("ssea", "ssae,", "", "SSAE"):
        with pytest.raises(ConfigError, match=r"^Unknown method '.*'\. Expected some of: ssae, "):
            choose_methods(text)


def test_settings_without_effect() -> None:
    plain = choose_methods("ae-l2,ae-ssim")
    assert without_effect(["objective.norm", "model.width"], plain) == ["objective.norm"]
    # One of the methods still listens.
    assert without_effect(["objective.norm"], choose_methods("ae-l2,ssae")) == []
    given = ["corruption.tint", "objective.norm", "objective.equation"]
    assert without_effect(given, corruption_study()) == ["corruption.tint", "objective.equation"]
