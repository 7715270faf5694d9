"""Names that all formats share: signatures, inputs and outputs. TensorFlow is not imported here."""

from __future__ import annotations

# Images as float32 in [0, 1], as uint8, or as the bytes of their files.
FLOAT, PIXELS, ENCODED = "serving_default", "serve_u8", "serve_bytes"
# The same with the threshold as a second input.
WITH_THRESHOLD = "_at"
SIGNATURES = tuple(name + at for name in (FLOAT, PIXELS, ENCODED) for at in ("", WITH_THRESHOLD))

PICTURE, GIVEN_THRESHOLD = "picture", "given_threshold"

# The scope of the network's operations: part of their names in every format, whatever its layers.
NETWORK = "network"

ANOMALY_MAP, SCORE_BOUND = "anomaly_map", "score_bound"
THRESHOLD, MIN_AREA, OUTLINE = "threshold", "min_area", "outline"
IS_ANOMALOUS, RECONSTRUCTION = "is_anomalous", "reconstruction"
# Of graphs that are served to clients, who have no metadata.json.
REVIEW_THRESHOLD, GOOD_SCORES = "review_threshold", "good_scores"
# Of graphs that bring files of any sizes to one.
IMAGE_SIZE = "image_size"
# In an answer; of more calibration images, clients get none, and no p-value.
MAX_SCORES = 1 << 14
