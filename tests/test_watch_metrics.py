"""What Prometheus is told, read over its own protocol."""

from __future__ import annotations

import contextlib
import importlib.util
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssae_tf.cli.main import run
from ssae_tf.errors import RunError
from ssae_tf.scoring.drift import Drift
from ssae_tf.watch_metrics import Metrics

WITHOUT = importlib.util.find_spec("prometheus_client") is None
needs_client = pytest.mark.skipif(WITHOUT, reason="prometheus_client is not installed")


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    with contextlib.closing(Metrics(0, 0.5)) as one:
        yield one


def _told(metrics: Metrics) -> dict[str, float]:
    """Name with labels -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


@needs_client
def test_images_are_counted_by_verdict_with_scores_and_seconds(metrics: Metrics) -> None:
    metrics.add({"watch": {}})
    for score, seconds in ((0.04, 0.2), (0.5, 0.3), (0.7, 0.4)):
        metrics.add({"score": score, "is_anomalous": score > 0.5, "seconds": seconds})
    metrics.add({"error": "no"})
    told = _told(metrics)
    counts = [
        told[f'ssae_tf_images_total{{verdict="{name}"}}']
        for name in ("normal", "anomalous", "error")
    ]
    assert counts == [2.0, 1.0, 1.0]
    # As many at the threshold or below as were judged normal.
    assert told['ssae_tf_score_bucket{le="0.5"}'] == 2.0
    assert told['ssae_tf_score_bucket{le="0.05"}'] == 1.0
    assert told["ssae_tf_score_sum"] == pytest.approx(1.24)
    assert told["ssae_tf_seconds_sum"] == pytest.approx(0.9)
    assert told["ssae_tf_threshold"] == 0.5


@needs_client
def test_drift_is_told(metrics: Metrics) -> None:
    drift = Drift([0.1, 0.2], 0.5, alarms_per_year=365.25 * 2)
    metrics.drifting(drift)
    # A day is what each begins with, and what raises an alarm at this rate.
    told = _told(metrics)
    for name in ("scores", "rejections"):
        assert told[f'ssae_tf_drift_evidence{{of="{name}"}}'] == pytest.approx(1.0)
    assert told["ssae_tf_drift_since_timestamp_seconds"] == 0.0
    metrics.add({"drift": {"of": "scores", "since": "1970-01-02T00:00:00+00:00"}})
    told = _told(metrics)
    assert told['ssae_tf_drift_alarms_total{of="scores"}'] == 1.0
    assert told["ssae_tf_drift_since_timestamp_seconds"] == 86400.0


@needs_client
def test_a_port_that_is_taken_is_one_sentence(metrics: Metrics) -> None:
    with pytest.raises(RunError, match=f"127.0.0.1:{metrics.port}: can't be listened at"):
        Metrics(metrics.port, 0.5)


@pytest.mark.skipif(not WITHOUT, reason="prometheus_client is installed")
def test_without_the_client_nothing_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["watch", "no-run", str(tmp_path), "--out", str(out), "--metrics", "9100"]
    assert run(arguments) == 1
    assert capsys.readouterr().err == (
        "Error: --metrics needs prometheus_client: pip install 'ssae-tf[watch]'\n"
    )
    assert not out.exists()
