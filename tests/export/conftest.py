"""What the tests of the export share: artefacts, each made once in all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssae_tf import workflow
from ssae_tf.config import from_dict
from ssae_tf.detector import Calibration, Detector
from ssae_tf.export.build import Exported, Request, export
from ssae_tf.export.formats import FORMATS
from ssae_tf.models.autoencoder import autoencoder
from ssae_tf.progress import Reporter
from stand_ins import randomize

Make = Callable[..., Exported]


@pytest.fixture(scope="session")
def trained(run_folder: Path) -> Detector:
    """The detector that the artefacts were made of; no test changes it."""
    return Detector.load(run_folder)


@pytest.fixture(scope="session")
def validation(run_folder: Path, trained: Detector) -> list[Path]:
    """The run's validation pictures."""
    split = workflow.run_split(run_folder, trained.config)[1]
    return [sample.path for sample in split.calibrate]


@pytest.fixture(scope="session")
def make(
    run_folder: Path,
    trained: Detector,
    validation: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Make:
    """Exports the shared run; the same request gives the same artefact: copy it to change it."""
    made: dict[Request, Exported] = {}

    def exported(format_name: str, precision: str | None = None) -> Exported:
        request = Request(format_name, precision or FORMATS[format_name].precisions[0])
        if request not in made:
            out = tmp_path_factory.mktemp("artefacts") / "tile"
            with pytest.MonkeyPatch.context() as patch:
                # Tracing the network again would take longer than comparing.
                patch.setattr(Detector, "load", lambda _: trained)
                made[request] = export(
                    run_folder, request, validation, out=out, reporter=Reporter(quiet=True)
                )
        return made[request]

    return exported


@pytest.fixture(scope="session")
def unusual() -> Detector:
    """Settings far from the defaults: resized, no smoothing, small margin, single pixels count.

    Weights, statistics and scales are random, so that nothing folds to one.
    """
    config = from_dict(
        {
            "model": {"width": 0.0625, "residual": True},
            "scoring": {
                "inspection_size": [32, 48],
                "smoothing_sigma": 0.0,
                "margin": 8,
                "reading": "euclidean",
            },
        }
    )
    model = autoencoder(config.model, training_size=16)
    randomize(model)
    return Detector(model, config, Calibration(0.5, 1, (0.5,)))
