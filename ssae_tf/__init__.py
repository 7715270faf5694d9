"""Visual anomaly detection learnt from good images alone, in TensorFlow and Keras.

The names below are loaded on first use, so that `import ssae_tf` does not import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssae_tf._version import __version__

if TYPE_CHECKING:
    from ssae_tf.config import RunConfig, preset
    from ssae_tf.detector import Detector
    from ssae_tf.errors import SsaeError
    from ssae_tf.workflow import calibrate, evaluate, fit

__all__ = [
    "Detector",
    "RunConfig",
    "SsaeError",
    "__version__",
    "calibrate",
    "evaluate",
    "fit",
    "preset",
]

_MODULES = {
    "Detector": "ssae_tf.detector",
    "RunConfig": "ssae_tf.config",
    "SsaeError": "ssae_tf.errors",
    "calibrate": "ssae_tf.workflow",
    "evaluate": "ssae_tf.workflow",
    "fit": "ssae_tf.workflow",
    "preset": "ssae_tf.config",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
