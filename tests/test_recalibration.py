"""Calibrating anew: which images stay left out, what the record knows, and what levels become."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import workflow
from ssae_tf.ablation import Source
from ssae_tf.calibration_file import Calibration
from ssae_tf.data.mvtec import Sample
from ssae_tf.detector import Detector
from ssae_tf.errors import ConfigError, DataError
from ssae_tf.recalibration import chosen
from ssae_tf.run_data import CalibrationImages
from ssae_tf.scoring.conformal import FalseAlarmRate, no_promise
from stand_ins import Listener, flat_score, write_flat, write_grey_run

# Of validation/good: 130, 132, … 168, none of which training has seen.
LEVELS = range(130, 170, 2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A root with 4 images to train on, 20 to calibrate on and 6 to test on."""
    root = tmp_path / "data"
    write_flat(root / "part/train/good", [120, 121, 122, 123])
    write_flat(root / "part/validation/good", LEVELS)
    write_flat(root / "part/test/good", [128, 167, 169])
    write_flat(root / "part/test/dent", [130, 166, 255])
    return root


@pytest.fixture
def run(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_grey_run(tmp_path / "run", data, monkeypatch)


def _calibrate(run: Path, **arguments: Any) -> tuple[Calibration, list[str]]:
    listener = Listener()
    found = workflow.calibrate(run, reporter=listener, **arguments).calibration
    assert found is not None
    assert Detector.load(run).calibration == found
    return found, listener.said


def _said(lines: list[str], start: str) -> list[str]:
    return [line for line in lines if line.startswith(start)]


def test_names_stand_beside_their_scores(run: Path) -> None:
    values = json.loads((run / "calibration.json").read_text())
    assert values["names"] == [f"validation/good/{number:03}.png" for number in range(20)]
    assert values["scores"] == pytest.approx([flat_score(level) for level in LEVELS])
    assert (values["seen"], values["left_out"], values["data"]) == ([], [], None)


def test_what_was_left_out_stays_left_out_until_it_is_taken_back(run: Path) -> None:
    whole, lines = _calibrate(run)
    assert _said(lines, "Left out") == []
    first, lines = _calibrate(run, without=["019.png"])
    assert first.threshold == pytest.approx(flat_score(166))
    assert first.left_out == ("validation/good/019.png",)
    assert _said(lines, "Left out: validation/good/019.png; --with NAME takes one back.")

    again, lines = _calibrate(run, without=["good/018.png"])
    assert again.threshold == pytest.approx(flat_score(164))
    assert again.left_out == ("validation/good/019.png", "validation/good/018.png")
    assert again.false_alarms == FalseAlarmRate(18)
    assert set(again.left_out).isdisjoint(again.names)
    assert _said(lines, "Left out: validation/good/019.png, validation/good/018.png; ")
    # Said once more, it is no error.
    assert _calibrate(run, without=["019.png"])[0] == again

    back, lines = _calibrate(run, take_back=["019.png"])
    assert back.left_out == ("validation/good/018.png",)
    assert back.threshold == whole.threshold
    assert _calibrate(run, take_back=["validation/good/018.png"])[0] == whole


def test_other_images_do_not_forget_who_is_left_out(run: Path, tmp_path: Path) -> None:
    _calibrate(run, without=["019.png"])
    write_flat(tmp_path / "others", range(140, 180, 2))
    others, lines = _calibrate(run, data=tmp_path / "others")
    # Of the same file name, but not that image.
    assert len(others.scores) == 20
    assert others.names[-1] == "019.png"
    assert others.data == str((tmp_path / "others").resolve())
    assert _said(lines, "Left out") == []
    own, _ = _calibrate(run)
    assert (len(own.scores), own.data) == (19, None)


def test_moved_images_are_known_by_their_names(run: Path, data: Path, tmp_path: Path) -> None:
    before, _ = _calibrate(run, without=["019.png"])
    data.rename(tmp_path / "moved")
    after, _ = _calibrate(run, data=tmp_path / "moved")
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"take_back": ["000.png"]}, r"000\.png: no image that is left out has this file name"),
        ({"without": ["no.png"]}, r"no\.png: no calibration image has this file name"),
    ],
)
def test_names_of_none_are_refused(run: Path, arguments: Any, message: str) -> None:
    before = (run / "calibration.json").read_bytes()
    with pytest.raises(DataError, match=message):
        _calibrate(run, **arguments)
    assert (run / "calibration.json").read_bytes() == before


def test_a_name_of_several_is_refused_with_those_that_tell_them_apart() -> None:
    paths = [Path("/x/one/0.png"), Path("/x/two/0.png")]
    samples = tuple(Sample(path, "good") for path in paths)
    images = CalibrationImages(samples, (), Path("/x"), is_own=True)
    with pytest.raises(DataError, match=r"one calibration image, found one/0\.png, two/0\.png\."):
        chosen(images, (), without=["0.png"])
    kept, out = chosen(images, (), without=["one/0.png"])
    assert ([one.path for one in kept], out) == (paths[1:], ("one/0.png",))
    with pytest.raises(DataError, match="All calibration images are left out"):
        chosen(images, out, without=["two/0.png"])


def test_an_ablation_leaves_the_same_images_out(run: Path) -> None:
    _calibrate(run, without=["019.png"])
    names = [sample.path.name for sample in Source(run, Listener()).split.calibrate]
    assert names == [f"{number:03}.png" for number in range(19)]


def test_two_levels_are_the_scores_of_their_ranks(run: Path) -> None:
    found, lines = _calibrate(run, max_false_alarms=0.1, review=0.25)
    # Of 21 ranks, 2 are within 10 % and 5 within 25 %.
    assert found.threshold == pytest.approx(flat_score(166))
    assert found.review_threshold == pytest.approx(flat_score(160))
    assert (found.false_alarms, found.review_false_alarms) == (
        FalseAlarmRate(20, 2),
        FalseAlarmRate(20, 5),
    )
    assert lines[2].startswith("From 20 good images: expect about 1 in 10 good parts to be rejecte")
    assert lines[3].startswith("From 20 good images: expect about 1 in 4 good parts to be above th")
    alone, _ = _calibrate(run, review=0.25)
    assert alone.threshold == pytest.approx(flat_score(168))
    assert alone.review_threshold == found.review_threshold
    plain, _ = _calibrate(run)
    assert (plain.threshold, plain.review_threshold) == (alone.threshold, None)


def test_results_have_verdicts_and_p_values(run: Path, data: Path) -> None:
    _calibrate(run, max_false_alarms=0.1, review=0.25)
    detector = Detector.load(run)
    found = {}
    for path in sorted(data.glob("part/test/*/*.png")):
        result = detector.predict(path)
        line = result.to_dict()
        assert (line["verdict"], line["p_value"]) == (result.verdict, result.p_value)
        assert line["review_threshold"] == result.review_threshold
        assert result.is_anomalous == (result.verdict == "reject") == bool(result.defects)
        found[path.parent.name, path.stem] = (result.verdict, result.p_value)
    assert found == {
        ("good", "000"): ("good", 1.0),
        # Above 166, below 168; of 21, 1 + 1 are as high.
        ("good", "001"): ("reject", 2 / 21),
        ("good", "002"): ("reject", 1 / 21),
        ("dent", "000"): ("good", 1.0),
        # As high as 166 and 168.
        ("dent", "001"): ("review", 3 / 21),
        ("dent", "002"): ("reject", 1 / 21),
    }
    given = detector.predict(data / "part/test/dent/001.png", threshold=0.01)
    assert (given.review_threshold, given.verdict, given.p_value) == (None, None, 3 / 21)
    assert "verdict" not in given.to_dict()


def test_evaluate_counts_what_is_reviewed_at_the_contracts_threshold(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _calibrate(run, max_false_alarms=0.1, review=0.25)
    metrics = workflow.evaluate(run, out=tmp_path / "out", reporter=Listener())
    assert metrics["tnr"] == pytest.approx(1 / 3)
    assert metrics["levels"] == {
        "review_threshold": pytest.approx(flat_score(160)),
        "good": {"good": 1, "review": 0, "reject": 2},
        "defective": {"good": 1, "review": 1, "reject": 1},
    }
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "of 3 defective images 1 (33.3 %) to review, 1 (33.3 %) rejected." in page
    assert "test/dent/001.png: dent, to review, score 0.151" in page
    assert "above the level of review, 0.1275, or rejected" in page
    # The three highest of the calibration images.
    assert "validation/good/019.png: good, rejected, score 0.1588" in page
    lines = (tmp_path / "out/verdicts.csv").read_text().splitlines()
    assert lines[0].endswith(",review_threshold,verdict")
    assert sorted(line.rsplit(",", 1)[1] for line in lines[1:]) == [
        *["good"] * 2,
        *["reject"] * 3,
        "review",
    ]
    _calibrate(run)
    assert "levels" not in workflow.evaluate(run, out=tmp_path / "out", reporter=Listener())
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "review" not in page.replace(".review {", "")
    assert "verdict" not in (tmp_path / "out/verdicts.csv").read_text().splitlines()[0]


def test_images_that_training_saw_give_no_p_value_and_no_level(run: Path, data: Path) -> None:
    good = data / "part/train/good"
    found, lines = _calibrate(run, data=good)
    assert set(found.seen) < set(found.names) == {f"{n:03}.png" for n in range(4)}
    assert found.false_alarms is None
    assert no_promise(4, len(found.seen)) in lines
    result = Detector.load(run).predict(good / "000.png")
    assert result.p_value is None
    assert '"p_value": null' in json.dumps(result.to_dict())
    with pytest.raises(ConfigError, match=r"Training has seen \d of the 4 calibration images"):
        _calibrate(run, data=good, review=0.5)


@pytest.mark.parametrize("count", [1, 3, 4, 10])
def test_few_images_share_training_and_promise_nothing(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_flat(tmp_path / "few", range(100, 100 + count))
    run = write_grey_run(tmp_path / "run", tmp_path / "few", monkeypatch)
    found, lines = _calibrate(run)
    assert len(found.names) == count
    assert 0 < len(found.seen) <= count
    assert (len(found.seen) == count) == (count <= 3)
    assert found.false_alarms is None
    assert lines[2] == no_promise(count, len(found.seen))
    assert not any("expect" in line for line in lines)


def test_eleven_images_promise_by_those_that_training_has_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_flat(tmp_path / "eleven", range(100, 111))
    run = write_grey_run(tmp_path / "run", tmp_path / "eleven", monkeypatch)
    found, lines = _calibrate(run)
    assert (found.seen, found.false_alarms) == ((), FalseAlarmRate(3))
    assert lines[2] == FalseAlarmRate(3).sentence()


def test_images_of_training_that_are_gone_make_the_promise_conditional(
    run: Path, data: Path, tmp_path: Path
) -> None:
    write_flat(tmp_path / "others", LEVELS)
    shutil.rmtree(data)
    listener = Listener()
    workflow.calibrate(run, data=tmp_path / "others", reporter=listener)
    assert listener.warned == [
        f"The images that {run} was trained on are not to be found: what is promised holds if none "
        "of them is among these."
    ]


def test_runs_of_before_open_and_name_no_images(run: Path, tmp_path: Path) -> None:
    path = run / "calibration.json"
    values = json.loads(path.read_text())
    kept = ("min_area", "threshold", "n_calibration", "scores")
    path.write_text(json.dumps({"schema_version": 1, **{key: values[key] for key in kept}}))
    result = Detector.load(run).predict(next((tmp_path / "data/part/test/dent").iterdir()))
    assert (result.p_value, result.verdict) == (None, None)
    workflow.evaluate(run, out=tmp_path / "out", reporter=Listener())
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "The run keeps no list of the images that its threshold comes from. If training" in page
    # It has one again, once it is calibrated.
    assert len(_calibrate(run)[0].names) == 20
