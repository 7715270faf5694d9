"""Latency and multiply-adds of anomalib's methods beside the network at several widths, on one CPU.

From an image to its anomaly map, batch 1, random weights, all in turn: PyTorch eager with channels
last, each method in a process of its own, and the ONNX that PyTorch writes of it in OpenVINO, at a
fixed size. Ours is Table 1, exported, in the same two runtimes, without the map; of its dilated
kernels the taps within a quarter of maps of 8 × 8. PatchCore's memory is as large as 1 % and 10 %
of all patches of 245 images make it.

    python benchmarks/peers.py --torch-python TORCH_ENVIRONMENT/bin/python [--side 256]
        [--widths 0.125 0.25 0.375 0.5 1] [--methods stfpm padim …] [--rounds 5] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from inference import in_openvino
from measure import Child, Timed, here, matrix_product, medians, product_rate, write_result

METHODS = {
    "efficient-ad": "EfficientAD-S",
    "stfpm": "STFPM",
    "padim": "PaDiM",
    "patchcore-1": "PatchCore, 1 %",
    "patchcore-10": "PatchCore, 10 %",
    "draem": "DRAEM",
}
# Of the dilated kernels of each rate, on either side of the middle.
_TAPS = ["2", "1", "0", "0", "0"]
_CEILING, _OPENVINO = "matrix product", ", OpenVINO"
_TORCH = Path(__file__).with_name("torch_peers.py")


def main() -> None:
    """Prints the figures, and keeps them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch-python", required=True, help="of an environment with anomalib")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--widths", type=float, nargs="*", default=[0.125, 0.25, 0.375, 0.5, 1.0])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    asked = {
        f"ours, width {width:g}": ["table-1", "--width", str(width), "--taps", *_TAPS]
        for width in arguments.widths
    } | {METHODS[name]: [name] for name in arguments.methods}
    x = np.random.default_rng(0).random((1, 3, arguments.side, arguments.side), np.float32)
    timed: dict[str, Timed] = {_CEILING: here(matrix_product())}
    children: dict[str, Child] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="ssae_tf_") as folder:
            for index, (name, (kind, *settings)) in enumerate(asked.items()):
                path = Path(folder) / f"{index}.onnx"
                command = [arguments.torch_python, str(_TORCH), kind, str(arguments.side)]
                children[name] = Child([*command, *settings, "--onnx", str(path)])
                timed[name] = children[name]
                timed[name + _OPENVINO] = here(in_openvino(path, list(x.shape)), x)
        seconds = medians(timed, arguments.rounds)
    finally:
        for child in children.values():
            child.close()
    rate = product_rate(seconds.pop(_CEILING))
    rows = {
        name: {
            "multiply_adds": child.about["multiply_adds"],
            "pytorch_seconds": seconds[name],
            "openvino_seconds": seconds[name + _OPENVINO],
        }
        for name, child in children.items()
    }
    content = {
        "torch": next(iter(children.values())).about["torch"],
        "side": arguments.side,
        "matrix_product_flop_per_second": rate,
        "methods": rows,
    }
    write_result(arguments.out, content, PYTHON=arguments.torch_python)


if __name__ == "__main__":
    main()
