"""What is compared: the method and its baselines, and the variants of the corruption study.

The baselines are the plain autoencoders of the paper's first two columns: images go in as they
are, and the reconstruction error is all that is learnt from. Network, budget and evaluation are the
same as those of the method beside them. The study is that of section 3.2 and figure 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig
from ssae_tf.errors import ConfigError


@dataclass(frozen=True)
class Method:
    """A function from settings to settings.

    Attributes:
        name: on the command line and in tables; its runs are in a folder of this name.
        about: one sentence for readers.
        changes: dotted setting -> value; whatever is not named stays as it is.
    """

    name: str
    about: str
    changes: Mapping[str, Any]

    def __call__(self, config: RunConfig) -> RunConfig:
        """The settings of this method.

        Raises:
            ConfigError: they do not fit together.
        """
        return config_module.override(config, dict(self.changes))


def _plain(norm: str) -> dict[str, Any]:
    return {
        "corruption.share": 0.0,
        "objective.equation": 1,
        "objective.weight": None,
        "objective.norm": norm,
        # A gate has nothing to learn from where nothing is corrupted.
        "model.answer": "plain",
        "model.context": 1,
        "model.standardize": False,
        "scoring.evidence": "residual",
        "scoring.outline": None,
    }


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("ssae", "the self-supervised autoencoder, with the settings as given", {}),
        Method("ae-l2", "a plain autoencoder: no corruption, squared error", _plain("l2_squared")),
        Method("ae-ssim", "a plain autoencoder: no corruption, SSIM loss", _plain("ssim")),
    )
}

_TRANSFORMATIONS = ("elastic", "cut_out", "patch_swap")
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "elastic": ("elastic",),
    "cut-out": ("cut_out",),
    "patch-swap": ("patch_swap",),
    "mixed": _TRANSFORMATIONS,
}
_BRIGHTNESS = 0.15
# What a variant leaves as the settings have it: where, which and how large regions are.
_KEPT = frozenset(
    ("where", "blob", "polygon", "stroke", "patches", "size", "sigma", "alpha"),
)


def corruption_study() -> tuple[Method, ...]:
    """The 16 variants: what happens to a patch, with and without brightness, objectives 1 and 3."""
    return tuple(
        _variant(family, brightness, equation)
        for family, brightness, equation in product(_FAMILIES, (False, True), (1, 3))
    )


def _variant(family: str, brightness: bool, equation: int) -> Method:
    used = _FAMILIES[family]
    kinds = ", ".join(name.replace("_", " ") for name in used)
    defaults = config_module.to_dict(RunConfig())["corruption"]
    return Method(
        f"{family}{'+brightness' if brightness else ''}/{equation}",
        f"{kinds}, {'with' if brightness else 'without'} a change of brightness, "
        f"objective ({equation})",
        {
            # Whatever else a preset may mix in would blur the comparison.
            **{f"corruption.{name}": v for name, v in defaults.items() if name not in _KEPT},
            **{f"corruption.{name}": float(name in used) for name in _TRANSFORMATIONS},
            "corruption.brightness": _BRIGHTNESS if brightness else 0.0,
            "objective.equation": equation,
        },
    )


STUDIES = {"corruption": corruption_study}


def choose_methods(text: str) -> tuple[Method, ...]:
    """The methods that a comma-separated list names, in its order, each once.

    Raises:
        ConfigError: an unknown name.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in METHODS:
            raise ConfigError(f"Unknown method {name!r}. Expected some of: {', '.join(METHODS)}.")
    return tuple(METHODS[name] for name in names)


def without_effect(given: Sequence[str], methods: Sequence[Method]) -> list[str]:
    """Which of the settings that a person gave are overruled by every one of the methods."""
    return [name for name in given if all(name in method.changes for method in methods)]
