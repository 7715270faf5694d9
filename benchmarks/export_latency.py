"""What each artefact of a run costs and keeps: size, conversion, differences, verdicts, latency.

Exports every format and precision, compares the verdicts with the detector's on the test set, and
times all of them and the Keras model itself in turn, in one process, batch 1: in every round each
is called once, so that a busy moment strikes all alike. Ratios are to Keras `predict`.

    python benchmarks/export_latency.py RUN [--sizes 256 512] [--rounds 20] [--data ROOT]
        [--formats savedmodel tflite:int8 …] [--validation N] [--images N] [--out FILE.json]
        [--artefacts FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measure import write_result

from ssae_tf.data.images import read_image
from ssae_tf.data.mvtec import load_category
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.evaluation.metrics import auroc
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import export
from ssae_tf.export.make import Request
from ssae_tf.export.names import IS_ANOMALOUS
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
# Side of the float32 matrix product that tells what the machine can do.
_PRODUCT = 1024


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
    return timed | {name: artefact.run for name, artefact in artefacts.items()}


def latencies(
    timed: dict[str, Call], size: int, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each call in each round, interleaved, and of a float32 matrix product.

    The first two calls are not counted.
    """
    rng = np.random.default_rng(0)
    # A multiple of 8, which Keras' own predict needs, of coarse noise.
    x = np.repeat(np.repeat(rng.random((1, size // 8, size // 8, 3)), 8, 1), 8, 2)
    x = x.astype(np.float32)
    square = tf.constant(rng.random((_PRODUCT, _PRODUCT), dtype=np.float32))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    products = []
    for index in range(rounds + 2):
        begin = time.perf_counter()
        tf.matmul(square, square).numpy()
        products.append(time.perf_counter() - begin)
        for name, call in timed.items():
            begin = time.perf_counter()
            call(x)
            if index >= 2:
                seconds[name].append(time.perf_counter() - begin)
    return seconds, products[2:]


def verdict_cost(artefact: Artefact, size: int, rounds: int) -> dict[str, float]:
    """Seconds of a normal image, where the area rule stops at once, and of the worst one."""
    x = np.full((1, size, size, 3), 0.5, np.float32)
    found = {}
    for name, threshold in (("normal", 1e9), ("all pixels above", -1.0)):
        times = []
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            assert bool(artefact.run(x, threshold=threshold)[IS_ANOMALOUS][0]) == (threshold < 0)
            times.append(time.perf_counter() - begin)
        found[name] = statistics.median(times[1:])
    return found


def verdicts(
    detector: Detector, artefacts: dict[str, Artefact], samples: Any, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Verdicts other than the detector's on the test set, and image AUROC, by name."""
    judges: dict[str, Detector | Artefact] = {"Detector": detector, **artefacts}
    results: dict[str, list[Any]] = {name: [] for name in judges}
    with reporter.task("Judging the test set", len(samples)) as task:
        for sample in samples:
            x = read_image(sample.path, detector.config.data.white_level)
            for name, one in judges.items():
                result = one.predict(x)
                results[name].append((result.score, result.is_anomalous))
            task.advance()
    labels = np.array([sample.is_anomalous for sample in samples])
    found = {}
    for name, pairs in results.items():
        scores = np.array([score for score, _ in pairs])
        flipped = [
            pair[1] != expected[1]
            for pair, expected in zip(pairs, results["Detector"], strict=True)
        ]
        found[name] = {
            "n": len(pairs),
            "flipped": int(sum(flipped)),
            "image_auroc": auroc(labels, scores),
        }
    return found


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


def row(name: str, record: dict[str, Any], sizes: list[int]) -> str:
    """A line of the Markdown table."""
    parity = record.get("parity")
    cells = [name]
    if parity is None:
        cells += ["", "", "", ""]
    else:
        cells[0] += "" if parity["passed"] else ", refused"
        cells += [
            f"{record['bytes'] / 2**20:.2f}",
            f"{record['conversion_seconds']:.0f}",
            f"{parity['map_largest']:.1e}",
            f"{parity['score_largest']:.1e}",
        ]
    judged = record.get("verdicts")
    cells.append("" if judged is None else f"{judged['flipped']} / {judged['n']}")
    auc = None if judged is None else judged["image_auroc"]
    cells.append("" if auc is None else f"{auc:.4f}")
    for size in sizes:
        one = record["latency"][str(size)]
        cells.append(f"{1e3 * one['median']:.1f} ms ({one['ratio']:.2f})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints a Markdown table, and keeps the figures as JSON if asked to."""
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
        records: dict[str, dict[str, Any]] = {name: {"latency": {}} for name in timed}
        products = []
        for size in arguments.sizes:
            seconds, found = latencies(timed, size, arguments.rounds)
            products += found
            base = statistics.median(seconds["Keras predict (network alone)"])
            for name, times in seconds.items():
                median = statistics.median(times)
                records[name]["latency"][str(size)] = {
                    "median": median,
                    "ratio": median / base,
                    "lowest": min(times),
                    "highest": max(times),
                }
        judged = verdicts(detector, artefacts, samples, reporter)
        for name, artefact in artefacts.items():
            files = [path for path in artefact.folder.rglob("*") if path.is_file()]
            records[name] |= {
                "bytes": sum(path.stat().st_size for path in files),
                "conversion_seconds": artefact.metadata["conversion_seconds"],
                "parity": read_json(artefact.folder / PARITY_FILE),
                "verdicts": judged[name],
            }
            if artefact.format.takes_threshold:
                records[name]["verdict_cost"] = verdict_cost(
                    artefact, arguments.sizes[0], min(5, arguments.rounds)
                )
        records["Detector.inspect"]["verdicts"] = judged["Detector"]

    sizes = [f"{size}²" for size in arguments.sizes]
    heads = ["", "MiB", "conversion, s", "map", "score", "flipped", "image AUROC", *sizes]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, record in records.items():
        print(row(name, record, arguments.sizes))
    for name, record in records.items():
        for what, seconds in record.get("verdict_cost", {}).items():
            print(f"{name}, {what}: {1e3 * seconds:.1f} ms at {sizes[0]}, the area rule included")
    rate = 2 * _PRODUCT**3 / statistics.median(products)
    print(f"Matrix product of {_PRODUCT}²: {rate / 1e9:.0f} GFLOP/s")
    content = {
        "config": {"width": detector.config.model.width},
        "matrix_product_flop_per_second": rate,
        "results": records,
    }
    write_result(arguments.out, content)


if __name__ == "__main__":
    main()
