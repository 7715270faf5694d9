"""Levels and p-values of artefacts and of clients are those of the run they were made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mutations import Server, framed, seal
from ssae_tf import workflow
from ssae_tf.detector import Detector
from ssae_tf.errors import RunError
from ssae_tf.export.artefact import Artefact
from ssae_tf.export.build import export
from ssae_tf.export.client import Client
from ssae_tf.export.make import Maker, Request
from stand_ins import Listener, flat_score, write_flat, write_grey_run

# Between, at and beyond the 20 scores, whose levels are 130, 132, … 168.
IMAGES = [np.full((12, 16, 3), level, np.uint8) for level in (128, 131, 161, 165, 167, 169, 255)]
VERDICTS = ["good", "good", "review", "review", "reject", "reject", "reject"]
P_VALUES = [21 / 21, 20 / 21, 5 / 21, 3 / 21, 2 / 21, 1 / 21, 1 / 21]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of the grey network with two levels."""
    folder = tmp_path_factory.mktemp("levels")
    write_flat(folder / "data/part/train/good", [120, 121, 122, 123])
    write_flat(folder / "data/part/validation/good", range(130, 170, 2))
    with pytest.MonkeyPatch.context() as patch:
        run = write_grey_run(folder / "run", folder / "data", patch)
        workflow.calibrate(run, max_false_alarms=0.1, review=0.25, reporter=Listener())
        yield run


@pytest.fixture(scope="module", params=["savedmodel", "tflite"])
def folder(request: pytest.FixtureRequest, run: Path, call_here: Callable[..., Any]) -> Path:
    images = sorted((run.parent / "data/part/validation/good").iterdir())[::5]
    out = run.parent / request.param / "part"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Maker, "call", call_here)
        return export(run, Request(request.param), images, out=out, reporter=Listener()).folder


def test_an_artefact_has_the_runs_verdicts_and_p_values(run: Path, folder: Path) -> None:
    detector, artefact = Detector.load(run), Artefact.load(folder)
    for image, verdict, p_value in zip(IMAGES, VERDICTS, P_VALUES, strict=True):
        for one in (detector, artefact):
            result = one.predict(image)
            assert (result.verdict, result.p_value) == (verdict, pytest.approx(p_value))
            assert result.is_anomalous == (verdict == "reject")
            assert result.review_threshold == detector.calibration.review_threshold
        given = artefact.predict(image, threshold=0.0)
        assert (given.verdict, given.p_value) == (None, pytest.approx(p_value))


def test_metadata_has_what_results_need(run: Path, folder: Path) -> None:
    values = json.loads((folder / "metadata.json").read_text())
    calibration = json.loads((run / "calibration.json").read_text())
    assert values["schema_version"] == 3
    assert values["good_scores"] == sorted(calibration["scores"])
    for name in ("threshold", "review_threshold", "false_alarms", "review_false_alarms"):
        assert values[name] == calibration[name]
    is_served = values["format"] == "savedmodel"
    assert {"review_threshold", "good_scores"} & set(values["outputs"]) == (
        {"review_threshold", "good_scores"} if is_served else set()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"review_threshold": 0.4}, "`review_threshold` should be no higher than `threshold`"),
        ({"review_threshold": float("nan")}, "`review_threshold` should be a finite number"),
        ({"good_scores": [0.1]}, r"as images of the promise, 20, or none\. Received: 1\."),
        ({"false_alarms": None}, r"as images of the promise, 0, or none\. Received: 20\."),
        ({"good_scores": [float("inf")] * 20}, r"`good_scores\.0` should be a finite number"),
    ],
)
def test_metadata_that_judges_nothing_is_refused(
    change: dict[str, Any], message: str, folder: Path
) -> None:
    path = folder / "metadata.json"
    original = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(original) | change))
        seal(folder)
        with pytest.raises(RunError, match=message):
            Artefact.load(folder)
    finally:
        path.write_text(original)
        seal(folder)


def test_an_artefact_of_before_has_neither(folder: Path) -> None:
    path = folder / "metadata.json"
    original = path.read_text()
    values = json.loads(original) | {"schema_version": 2}
    for name in ("review_threshold", "review_false_alarms", "good_scores"):
        del values[name]
    try:
        path.write_text(json.dumps(values))
        seal(folder)
        result = Artefact.load(folder).predict(IMAGES[3])
    finally:
        path.write_text(original)
        seal(folder)
    assert (result.verdict, result.p_value, result.is_anomalous) == (None, None, False)


@pytest.mark.parametrize("folder", ["savedmodel"], indirect=True)
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_client_has_the_runs_verdicts_and_p_values(folder: Path, protocol: str) -> None:
    stand_in = pytest.importorskip("serving_stand_in")
    models = {"part": stand_in.Model(folder)}
    serve = getattr(stand_in, f"{protocol}_server")
    with serve(models) as address, Client(address, "part", timeout=300) as client:
        for image, verdict, p_value in zip(IMAGES, VERDICTS, P_VALUES, strict=True):
            result = client.predict(image)
            assert (result.verdict, result.p_value) == (verdict, pytest.approx(p_value))
        given = client.predict(IMAGES[2], threshold=0.01)
        assert (given.verdict, given.p_value) == (None, pytest.approx(5 / 21))


@pytest.mark.parametrize("folder", ["savedmodel"], indirect=True)
def test_every_image_of_a_batch_has_the_scores(folder: Path) -> None:
    found = Artefact.load(folder).run(np.stack(IMAGES[:3]))
    assert found["good_scores"].shape == (3, 20)
    assert (found["good_scores"] == found["good_scores"][0]).all()
    assert found["review_threshold"].shape == (3,)


def _ask(server: Server, **outputs: Any) -> Any:
    answer = {
        "anomaly_map": np.full((1, 12, 16), 0.25).tolist(),
        "threshold": [0.5],
        "min_area": [4],
        **outputs,
    }
    body = framed(json.dumps({"outputs": answer}).encode())
    server.answer = lambda connection: connection.sendall(body)
    with Client(server.address, "tile", timeout=60) as client:
        return client.predict(IMAGES[0])


def test_a_servers_levels_are_taken(server: Server) -> None:
    result = _ask(server, review_threshold=[0.2], good_scores=[[0.1, 0.25, 0.3]])
    assert (result.verdict, result.p_value) == ("review", 3 / 4)
    result = _ask(server)
    assert (result.verdict, result.p_value) == (None, None)


@pytest.mark.parametrize(
    "outputs",
    [
        {"review_threshold": [0.6]},
        {"review_threshold": [-0.1]},
        {"review_threshold": [float("nan")]},
        {"review_threshold": 0.2},
        {"review_threshold": []},
        {"good_scores": [[float("nan")]]},
        {"good_scores": [0.1, 0.2]},
        {"good_scores": [[0.1], [0.2]]},
        {"good_scores": [["0.1"]]},
        {"good_scores": [[0.1] * 20_000]},
    ],
)
def test_a_servers_levels_that_judge_nothing_are_refused(
    outputs: dict[str, Any], server: Server
) -> None:
    with pytest.raises(RunError) as caught:
        _ask(server, **outputs)
    assert str(caught.value).startswith(server.address)
    assert "\n" not in str(caught.value)


def test_the_highest_score_of_all_has_the_lowest_p_value() -> None:
    # What the lists above are taken from.
    scores = [flat_score(level) for level in range(130, 170, 2)]
    assert sum(score >= flat_score(161) for score in scores) == 4
