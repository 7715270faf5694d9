"""What each artefact of a run costs and keeps: size, conversion, differences, verdicts, latency.

Exports every format and precision, compares the verdicts with the detector's on the test set, and
times all of them and the Keras model itself in turn, in one process, batch 1.

    python benchmarks/export_latency.py RUN [--sizes 256 512] [--rounds 20] [--data ROOT]
        [--formats savedmodel tflite:int8 …] [--validation N] [--images N] [--out FILE.json]
        [--artefacts FOLDER]
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measure import here, matrix_product, medians, product_rate, write_result

from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import load_category
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.evaluation.metrics import auroc
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import export
from ssae_tf.export.make import Request
from ssae_tf.files import read_json
from ssae_tf.progress import Reporter
from ssae_tf.run_data import run_split
from ssae_tf.run_folder import ENVIRONMENT_FILE, PARITY_FILE
from ssae_tf.scoring.anomaly_map import inspect

FORMATS = (
    "savedmodel:float32",
    "tflite:float32",
    "tflite:float16",
    "tflite:dynamic",
    "tflite:int8",
    "onnx:float32",
    "openvino:float32",
)
Call = Callable[[np.ndarray], object]
_CEILING = "matrix product"


def calls(detector: Detector, artefacts: dict[str, Artefact]) -> dict[str, Call]:
    """What is timed, by name: from a (1, H, W, 3) float32 image to map and verdict."""
    config, model = detector.config, detector.model

    @tf.function(jit_compile=True, autograph=False)
    def compiled(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return inspect(lambda y: model(y, training=False), x, config)

    timed: dict[str, Call] = {
        "Keras predict (network alone)": lambda x: model.predict(x, verbose=0),
        "jit-compiled call (network and map)": lambda x: compiled(tf.constant(x))[1].numpy(),
        "Detector.inspect": lambda x: detector.inspect(x[0]),
    }
    for name, artefact in artefacts.items():
        timed[name] = artefact.run
        if artefact.format.takes_threshold:
            # The area rule stops at once on normal images, and not on these.
            timed[f"{name}, all pixels above"] = functools.partial(artefact.run, threshold=-1.0)
    return timed


def latencies(timed: dict[str, Call], size: int, rounds: int) -> dict[str, float]:
    """Median seconds of each call and of a large matrix product, all in turn."""
    rng = np.random.default_rng(0)
    # A multiple of 8, which Keras' own predict needs, of coarse noise.
    x = np.repeat(np.repeat(rng.random((1, size // 8, size // 8, 3)), 8, 1), 8, 2)
    x = x.astype(np.float32)
    routes = {name: here(call, x) for name, call in timed.items()}
    return medians({_CEILING: here(matrix_product()), **routes}, rounds)


def verdicts(
    detector: Detector, artefacts: dict[str, Artefact], samples: Any, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Verdicts other than the detector's on the test set, and image AUROC, by name."""
    judges: dict[str, Detector | Artefact] = {"Detector.inspect": detector, **artefacts}
    results: dict[str, list[Any]] = {name: [] for name in judges}
    with reporter.task("Judging the test set", len(samples)) as task:
        for sample in samples:
            x = read_image(sample.path, detector.config.data.white_level)
            for name, one in judges.items():
                results[name].append(one.predict(x))
            task.advance()
    labels = [sample.is_anomalous for sample in samples]
    expected = [one.is_anomalous for one in results["Detector.inspect"]]
    return {
        name: {
            "n": len(found),
            "flipped": sum(
                one.is_anomalous != other for one, other in zip(found, expected, strict=True)
            ),
            "image_auroc": auroc(labels, [one.score for one in found]),
        }
        for name, found in results.items()
    }


def exported(
    run: Path, name: str, validation: list[Path], folder: Path, reporter: Reporter
) -> Artefact:
    """The artefact of a format and precision, as "tflite:int8", even if it failed its check."""
    kind, _, precision = name.partition(":")
    out = folder / name.replace(":", "-")
    # A SavedModel is a version in the folder.
    failed = out / "1.failed" if kind == "savedmodel" else out.with_name(f"{out.name}.failed")
    if not out.exists() and not failed.exists():
        try:
            request = Request(kind, precision or None)
            export(run, request, validation, out=out, reporter=reporter, keep_failed=True)
        except RunError as error:
            if not failed.exists():
                raise
            reporter.warn(str(error))
    return Artefact.load(failed if failed.exists() else out, even_failed=True)


def kept(artefact: Artefact) -> dict[str, Any]:
    """What an artefact's own files say of it."""
    files = [path for path in artefact.folder.rglob("*") if path.is_file()]
    parity = read_json(artefact.folder / PARITY_FILE)
    return {
        "bytes": sum(path.stat().st_size for path in files),
        "conversion_seconds": artefact.metadata["conversion_seconds"],
        "parity": {name: one for name, one in parity.items() if not isinstance(one, list)},
    }


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--data", type=Path, help="root of the test set; the run's by default")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), metavar="FORMAT:PRECISION")
    parser.add_argument("--validation", type=int, help="images to compare on; all by default")
    parser.add_argument("--images", type=int, help="test images to judge; all by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--artefacts", type=Path, help="folder to keep them in, or to take from")
    arguments = parser.parse_args()

    reporter = Reporter()
    detector = Detector.load(arguments.run)
    validation = [one.path for one in run_split(arguments.run, detector.config)[1].calibrate][
        : arguments.validation
    ]
    data = arguments.data or read_json(arguments.run / ENVIRONMENT_FILE)["data"]
    samples = load_category(data, detector.config.category).test
    if arguments.images:
        # From all kinds, good ones among them.
        samples = samples[:: max(1, len(samples) // arguments.images)][: arguments.images]
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.artefacts or Path(scratch)
        artefacts = {
            name: exported(arguments.run, name, validation, folder, reporter)
            for name in arguments.formats
        }
        timed = calls(detector, artefacts)
        seconds = {size: latencies(timed, size, arguments.rounds) for size in arguments.sizes}
        rate = product_rate(min(found.pop(_CEILING) for found in seconds.values()))
        content = {
            "config": {"width": detector.config.model.width},
            "matrix_product_flop_per_second": rate,
            "seconds": seconds,
            "verdicts": verdicts(detector, artefacts, samples, reporter),
            "artefacts": {name: kept(artefact) for name, artefact in artefacts.items()},
        }
    write_result(arguments.out, content, RUN=arguments.run, ARTEFACTS=arguments.artefacts)


if __name__ == "__main__":
    main()
