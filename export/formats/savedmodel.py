"""SavedModel: the canonical artefact, which TF Serving loads and other formats are derived from."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssae_tf.export.names import GIVEN_THRESHOLD, SIGNATURES, WITH_THRESHOLD
from ssae_tf.export.serving import Serving, endpoints


def write(
    folder: Path,
    serving: Serving,
    network: tf.keras.Model,
    image_size: tuple[int, int] | None = None,
    signatures: Sequence[str] = SIGNATURES,
) -> None:
    """Writes a SavedModel.

    Args:
        folder: made; must not exist.
        image_size: (height, width) of all images; None for any.
    """
    # Not tf.saved_model.save: what it makes of a Keras 3 model reloads in Python only, and neither
    # in the C++ loader nor in TFLite's converter. The archive finds the weights that endpoints use;
    # its `track` would store them a second time under Keras 3.
    archive = tf.keras.export.ExportArchive()
    functions = endpoints(serving, network, image_size)
    for name in signatures:
        function, taken = functions[name]
        archive.add_endpoint(name, tf.function(function, autograph=False), taken)
    # It prints what it wrote, to stdout.
    with contextlib.redirect_stdout(io.StringIO()):
        archive.write_out(str(folder))


class SavedModelRuntime:
    """Runs a SavedModel in a session: the loader of TF Serving, not Python's."""

    def __init__(self, folder: Path) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        # It says that it is old, and where it restores from.
        level = tf.get_logger().level
        tf.get_logger().setLevel(logging.ERROR)
        try:
            with graph.as_default():
                meta = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(folder)
                )
        finally:
            tf.get_logger().setLevel(level)
        self._signatures = meta.signature_def

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one call, by name."""
        at = WITH_THRESHOLD if GIVEN_THRESHOLD in inputs else ""
        signature_def = self._signatures[signature + at]
        fetches = {name: output.name for name, output in signature_def.outputs.items()}
        feed = {signature_def.inputs[name].name: value for name, value in inputs.items()}
        return dict(self._session.run(fetches, feed))
