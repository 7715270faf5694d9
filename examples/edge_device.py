"""Judges an image file on a device, with ai-edge-litert, numpy and OpenCV, and nothing else.

    python edge_device.py ARTEFACT IMAGE [THRESHOLD]

ARTEFACT is what `ssae-tf export --format tflite` made. Prints one line of JSON, like `predict`.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main() -> None:
    """Prints one line of JSON."""
    folder, path = Path(sys.argv[1]), sys.argv[2]
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        sys.exit(f"{path}: expected an image file.")
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
    found = judge(picture=np.ascontiguousarray(image[None, ..., ::-1]), given_threshold=limit)
    if not np.isfinite(found["anomaly_map"]).all():
        sys.exit("The model answers with NaN or infinity.")
    line = {
        "path": path,
        "threshold": threshold,
        "is_anomalous": bool(found["is_anomalous"][0]),
        "score_bound": float(found["score_bound"][0]),
        "boxes": boxes(found["anomaly_map"][0].astype(float), threshold, metadata),
    }
    print(json.dumps(line))


def boxes(anomaly_map: np.ndarray, threshold: float, metadata: dict) -> list[list[int]]:
    """[x, y, width, height] of each defect, by the area rule; it ends at the outline if lower."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((anomaly_map > threshold).astype("u1"))
    # An image smaller than min_area can still be defective as a whole.
    is_large = stats[:, cv2.CC_STAT_AREA] >= min(metadata["min_area"], anomaly_map.size)
    is_large[0] = False
    mask, outline = is_large[labels], metadata["outline"]
    if outline is not None and outline < threshold:
        _, labels = cv2.connectedComponents((anomaly_map > outline).astype("u1"))
        mask = np.isin(labels, np.unique(labels[mask]))
    return cv2.connectedComponentsWithStats(mask.astype("u1"))[2][1:, :4].tolist()


main()
