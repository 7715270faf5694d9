"""Judges an image on a device that has ai-edge-litert and numpy, and nothing else.

    python edge_device.py ARTEFACT PICTURE.npy [THRESHOLD]

ARTEFACT is what `ssae-tf export --format tflite` made, PICTURE.npy a (H, W, 3) uint8 array, RGB.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main() -> None:
    """Prints one line of JSON."""
    folder, image = Path(sys.argv[1]), np.load(sys.argv[2])
    metadata = json.loads((folder / "metadata.json").read_text())
    size = metadata["inputs"]["image_size"]
    if size and list(image.shape[:2]) != size:
        sys.exit(f"Expected an image of {size[0]}×{size[1]} pixels. Received: {image.shape}.")
    threshold = float(sys.argv[3]) if len(sys.argv) > 3 else metadata["threshold"]
    # Nothing exceeds NaN: every image would be a good one.
    if not 0.0 <= threshold < np.inf:
        sys.exit(f"Expected a threshold of at least 0. Received: {threshold}.")
    judge = Interpreter(str(folder / "model.tflite")).get_signature_runner("serve_u8_at")
    limit = np.array([threshold], np.float32)
    found = judge(picture=image[None], given_threshold=limit)
    if not np.isfinite(found["anomaly_map"]).all():
        sys.exit("The model answers with NaN or infinity.")
    above = np.argwhere(found["anomaly_map"][0] > threshold)
    line = {
        "is_anomalous": bool(found["is_anomalous"][0]),
        "threshold": threshold,
        "score_bound": float(found["score_bound"][0]),
        # Of what exceeds the threshold; defects extend as far as metadata["outline"].
        "first_and_last_pixel": above[[0, -1]].tolist() if len(above) else [],
    }
    print(json.dumps(line))


main()
