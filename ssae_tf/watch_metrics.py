"""What `ssae-tf watch` tells Prometheus, on the loopback address."""

from __future__ import annotations

import datetime
import importlib.util
from typing import Any

from ssae_tf.errors import MissingExtraError, RunError
from ssae_tf.scoring.drift import Drift

_ADDRESS = "127.0.0.1"
# Of scores, in multiples of the threshold: at most 1 is a good image.
_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)


def check() -> None:
    """Makes sure that Prometheus' client is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("prometheus_client") is None:
        raise MissingExtraError("--metrics needs prometheus_client: pip install 'ssae-tf[watch]'")


class Metrics:
    """Counters and distributions since the start of this process, served to who asks.

    Attributes:
        port: that they are served at.
    """

    def __init__(self, port: int, threshold: float) -> None:
        """Begins to serve.

        Args:
            port: of the loopback address; 0 for any that is free.
            threshold: the score above which an image is anomalous.

        Raises:
            MissingExtraError: see `check`.
            RunError: the port is taken, or not to be had.
        """
        check()
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            start_http_server,
        )

        registry = CollectorRegistry()
        self._images = Counter(
            "ssae_tf_images", "Images by verdict.", ["verdict"], registry=registry
        )
        for verdict in ("normal", "anomalous", "error"):
            self._images.labels(verdict)
        buckets = [share * threshold for share in _SHARES] if threshold > 0.0 else [0.0]
        self._scores = Histogram(
            "ssae_tf_score", "Image scores.", buckets=buckets, registry=registry
        )
        self._seconds = Histogram(
            "ssae_tf_seconds", "From reading an image to its verdict.", registry=registry
        )
        Gauge(
            "ssae_tf_threshold", "Score above which an image is anomalous.", registry=registry
        ).set(threshold)
        self._evidence = Gauge(
            "ssae_tf_drift_evidence",
            "Statistic of the drift test as a share of what raises an alarm.",
            ["of"],
            registry=registry,
        )
        self._alarms = Counter("ssae_tf_drift_alarms", "Drift alarms.", ["of"], registry=registry)
        self._since = Gauge(
            "ssae_tf_drift_since_timestamp_seconds",
            "When the drift of the last alarm may have begun; 0 before any.",
            registry=registry,
        )
        try:
            self._server, self._thread = start_http_server(port, _ADDRESS, registry)
        except OSError as error:
            raise RunError(
                f"{_ADDRESS}:{port}: can't be listened at ({error.strerror}); choose another "
                "--metrics."
            ) from None
        self.port: int = self._server.server_port

    def add(self, line: dict[str, Any]) -> None:
        """Counts a line of results.jsonl."""
        if "drift" in line:
            self._alarms.labels(line["drift"]["of"]).inc()
            since = datetime.datetime.fromisoformat(line["drift"]["since"])
            self._since.set(since.timestamp())
        elif "error" in line:
            self._images.labels("error").inc()
        elif "score" in line:
            self._images.labels("anomalous" if line["is_anomalous"] else "normal").inc()
            self._scores.observe(line["score"])
            self._seconds.observe(line["seconds"])

    def drifting(self, drift: Drift) -> None:
        """Tells the state of the drift test."""
        for name, share in drift.evidence.items():
            self._evidence.labels(name).set(share)

    def close(self) -> None:
        """Ends serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
