"""report.html: what it says is what the records say, and it needs nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import io
import re

import cv2
import numpy as np
import pytest

from html_page import Page
from ssae_tf.evaluation.gallery import LIMITS, Gallery, thumbnail
from ssae_tf.evaluation.protocol import Evaluation, ImageResult, Verdict
from ssae_tf.evaluation.report import Calibrated, Measured, Report, promise, report_html, verdict
from ssae_tf.evaluation.verdicts import verdicts_csv
from ssae_tf.scoring.conformal import FalseAlarmRate

THRESHOLD = 0.5
_NUMBERS = re.compile(r"-?[\d.]+(?:e[+-]?\d+)?")
_COORDINATES = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "points"}


def result(kind, score, *, name="000.png", mask=True, shape=(40, 60), seed=0):
    """A result with a random map; defects have a square as mask."""
    truth = np.zeros(shape, bool)
    truth[5:15, 5:20] = kind != "good"
    map_ = np.random.default_rng(seed).random(shape, np.float32) * 0.3 + 0.5 * truth
    return ImageResult(
        f"test/{kind}/{name}",
        kind,
        score,
        score > THRESHOLD,
        map_.astype(np.float32),
        map_ > THRESHOLD,
        truth if mask else None,
        defects=int(score > THRESHOLD),
        area=7 * int(score > THRESHOLD),
    )


def measured(results, gallery):
    """As an evaluation gives it; wrong ones are in the gallery."""
    evaluation = Evaluation()
    for one in results:
        evaluation.add(one)
        image = np.full((*one.anomaly_map.shape, 3), 0.4, np.float32)
        gallery.add_if_wrong(one, image, image)
    metrics = evaluation.metrics(THRESHOLD, 9)
    return Measured(evaluation.verdicts, metrics, evaluation.overlap_curve)


def report(results=(), *, calibrated=None, **changes):
    gallery = changes.pop("gallery", Gallery(THRESHOLD))
    values = {
        "name": "tile",
        "threshold": THRESHOLD,
        "min_area": 9,
        "calibrated": calibrated or Calibrated((0.1, 0.4, 0.2), 0, [FalseAlarmRate(3).sentence()]),
        "gallery": gallery,
        "tested": measured(results, gallery) if results else None,
        "settings": {"scoring": {"outline": 0.5}, "category": "tile"},
        "environment": {"command": ["x/ssae-tf", "fit", "--out", "a b"], "data_hash": "e6ae"},
    }
    return Report(**{**values, **changes})


def write(one):
    """The page of a report."""
    return Page(report_html(one))


@pytest.fixture
def results():
    scores = {"good": (0.1, 0.2, 0.7), "dent": (0.9, 0.3), "scratch": (0.8,)}
    return [
        result(kind, score, name=f"{index:03}.png", seed=index)
        for kind, row in scores.items()
        for index, score in enumerate(row)
    ]


def test_verdict_and_matrix_are_those_of_the_records(results):
    page = write(report(results))
    assert "On 6 test images it found 2 of 3 defective ones and rejected 1 of 3 good ones." in (
        page.text
    )
    rows = {row[0]: row[1:] for row in page.tables[1]}
    # The interval of Clopper and Pearson for 2 of 3.
    assert rows["defective"] == ["2", "1", "67 % (9 to 99 %)"]
    assert rows["good"] == ["1", "2", "67 % (9 to 99 %)"]


def test_each_kind_has_its_figures(results):
    one = report(results)
    rows = {row[0]: row[1:] for row in write(one).tables[0]}
    assert list(rows) == ["Kind", "good", "dent", "scratch"]
    assert rows["good"] == ["3", "1", "0.1", "0.2", "0.7", "–", "–", "–"]
    assert rows["dent"][:5] == ["2", "1", "0.3", "0.6", "0.9"]
    figures = one.tested.metrics["kinds"]["dent"]
    expected = [f"{figures[name]:.3f}" for name in ("image_auroc", "aupro", "f1_pixel")]
    assert rows["dent"][5:] == expected


def test_histograms_count_every_image(results):
    page = write(report(results))
    charts = [bars for bars in page.bars if bars]
    assert [sum(bars) for bars in charts] == [6, 3]


def test_curves_have_their_areas(results):
    one = report(results)
    labels = [a["aria-label"] for tag, a in write(one).tags if tag == "svg"]
    assert f"Images: ROC: image AUROC {one.tested.metrics['image_auroc']:.3f}" in labels
    assert f"Regions: per-region overlap: AUPRO {one.tested.metrics['aupro']:.3f}" in labels


def test_wrong_images_come_first_and_once(results):
    gallery = Gallery(THRESHOLD)
    one = report(results, gallery=gallery)
    image = np.zeros((40, 60, 3), np.float32)
    for chosen in (results[2], results[3]):
        gallery.add("typical", chosen, image, image)
    page = write(one)
    captions = [line for line in page.text.splitlines() if line.startswith("test/")]
    assert captions == [
        "test/good/002.png: good, rejected, score 0.7",
        "test/dent/001.png: dent, passed, score 0.3",
        "test/dent/000.png: dent, rejected, score 0.9",
    ]
    images = [a for tag, a in page.tags if tag == "img"]
    # A good image has no truth to show.
    assert len(images) == 3 + 4 + 4
    assert images[1]["alt"] == "test/good/002.png: as it should look"
    assert all(a["alt"] and int(a["width"]) and int(a["height"]) for a in images)


def test_the_page_needs_nothing_else(results):
    page = write(report(results))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form", "a"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        assert attributes.get("src", "data:").startswith("data:"), tag
    for outside in ("@import", "url(", "://"):
        assert outside not in page.source
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert page.headings[0] == "tile"


def test_every_coordinate_is_finite(results):
    page = write(report(results))
    numbers = [
        number
        for tag, attributes in page.tags
        if tag in ("rect", "line", "circle", "polyline", "text")
        for name, value in attributes.items()
        if name in _COORDINATES
        for number in value.replace(",", " ").split()
    ]
    assert len(numbers) > 100
    assert all(_NUMBERS.fullmatch(number) for number in numbers)


@pytest.mark.parametrize("threshold", [0.0, -2.0, 1e-30, 3e4])
def test_equal_scores_have_an_axis(threshold):
    scores = [threshold] * 3
    one = report(threshold=threshold, calibrated=Calibrated(scores, 0))
    assert [bars for bars in write(one).bars if bars] == [[3]]


def test_names_are_never_markup():
    kind = "<script>alert(1)</script>"
    odd = [result("good", 0.1), result(kind, 0.2, name="\x1b[31m\u202e\n\udcff&.png")]
    page = write(report(odd, name=kind, environment={"data": kind}, settings={"category": kind}))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.headings[0] == kind
    assert page.tables[0][2][0] == kind
    assert f"test/{kind}/\\x1b[31m\\u202e\\n\\udcff&.png: {kind}, passed" in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", page.source)


def test_many_wrong_images_stay_below_five_megabytes(rng):
    gallery = Gallery(THRESHOLD)
    noise = rng.random((200, 200, 3), np.float32)
    for group, limit in LIMITS.items():
        one = result("dent", 0.2, name=f"{group}.png", shape=(200, 200))
        made = thumbnail(one, noise, noise, THRESHOLD)
        assert sum(len(panel.uri) for panel in made.panels) < 45_000
        for index in range(limit + 2):
            one = result("dent", index / 100, name=f"{group} {index:02}.png", shape=(20, 20))
            gallery.add(group, one, noise, noise)
    page = write(report([result("good", 0.1), result("dent", 0.9)], gallery=gallery))
    assert len(page.source.encode()) < 5_000_000
    assert page.text.count("2 more left out") == 3
    # The most telling are kept.
    assert "false alarms 41.png" in page.text
    assert "false alarms 01.png" not in page.text
    assert "misses 00.png" in page.text
    assert "misses 40.png" not in page.text


def test_a_thumbnail_shows_the_image():
    image = np.zeros((300, 600, 3), np.float32)
    image[:, :300] = (1.0, 0.0, 0.0)
    made = thumbnail(result("good", 0.1, shape=(300, 600)), image, None, THRESHOLD)
    assert [panel.caption for panel in made.panels] == ["image", "map with outlines"]
    panel = made.panels[0]
    data = base64.b64decode(panel.uri.removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[:2] == (panel.height, panel.width) == (110, 220)
    np.testing.assert_allclose(decoded[55, 50], (0, 0, 255), atol=6)
    np.testing.assert_allclose(decoded[55, 170], (0, 0, 0), atol=6)


def test_without_a_test_set():
    page = write(report())
    assert "There were no test images" in page.text
    headings = ["tile", "The promise", "What set the threshold", "Known limits", "Records"]
    assert page.headings == [*headings, "Origin", "Settings"]
    assert FalseAlarmRate(3).sentence() in page.text
    assert dict(page.tables[0]) == {"command": "ssae-tf fit --out 'a b'", "data hash": "e6ae"}
    assert dict(page.tables[1]) == {"scoring.outline": "0.5", "category": '"tile"'}


@pytest.mark.parametrize(
    ("kind", "score", "sentence"),
    [
        ("good", 0.1, "On 1 test image it rejected 0 of 1 good one."),
        ("dent", 0.9, "On 1 test image it found 1 of 1 defective one."),
    ],
)
def test_one_image(kind, score, sentence):
    page = write(report([result(kind, score)]))
    assert sentence in page.text
    assert "Images: ROC" not in page.source
    missing = "good" if kind == "dent" else "defective"
    assert f"There are no {missing} test images" in page.text
    assert {row[0]: row[3] for row in page.tables[1]}[missing] == "–"


def test_without_masks(results):
    bare = [result(one.kind, one.score, mask=False) for one in results]
    page = write(report(bare))
    assert "No defective test image has a mask" in page.text
    assert "per-region" not in page.text
    assert "no mask" in page.text


def test_what_is_too_small_is_said():
    page = write(report(image_size=(1024, 768), inspection_size=(256, 256)))
    expected = "at 256 × 256 pixels: what is smaller than about 2 pixels there (8 pixels of an "
    assert expected + "image of 768 × 1024) can't be seen." in page.text


def test_limits_are_whole_sentences(results):
    page = write(report(results))
    texts = page.text.split("Known limits")[1].split("Records")[0].strip().splitlines()
    assert len(texts) == 4
    assert all(text.endswith(".") for text in texts)
    assert texts[0].startswith("The threshold comes from 3 good images: with fewer than 59, ")
    assert FalseAlarmRate(59).bound < 1 / 20 < FalseAlarmRate(58).bound


def test_the_ablation_is_shown(results):
    one = report(results)
    assert "ssae-tf evaluate RUN --ablation measures it" in " ".join(write(one).text.split())
    own = {name: one.tested.metrics[name] for name in ("image_auroc", "tpr", "aupro")}
    rows = {"as_shipped": own, "paper_map": {"image_auroc": 0.25, "aupro": None}}
    page = write(report(results, ablation=rows))
    assert page.tables[2][2] == ["paper map", "0.250", "–", "–", "–", "–"]
    assert "another evaluation" not in page.text
    assert "--ablation" not in page.text
    rows["as_shipped"] = {**own, "tpr": 0.1}
    assert "another evaluation" in write(report(results, ablation=rows)).text


def test_no_promise_from_images_that_training_has_seen():
    scores = (0.1, 0.2)
    assert promise(Calibrated(scores, 0, ["One.", "Two."])) == "One. Two."
    assert promise(Calibrated(scores, 1)).startswith(
        "No promise can be made: of the 2 good images that the threshold comes from, training has "
        "seen 1 too"
    )
    unknown = promise(Calibrated(scores, None))
    assert "keeps no list" in unknown
    assert unknown.endswith(FalseAlarmRate(2).sentence()[1:])


def test_nothing_tested_is_not_a_verdict():
    assert verdict([]).startswith("There were no test images")


def test_verdicts_come_back_from_csv():
    kept = [
        Verdict('a,"b"\n.png', "good", 0.1, False),
        Verdict("ä.png", "dent", 1 / 3, True, defects=2, area=31),
    ]
    text = verdicts_csv(kept, 0.25)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["path"] for row in rows] == ['a,"b"\n.png', "ä.png"]
    assert [float(row["score"]) for row in rows] == [0.1, 1 / 3]
    assert {key: rows[1][key] for key in list(rows[1])[3:]} == {
        "threshold": "0.25",
        "is_anomalous": "true",
        "truth": "true",
        "defects": "2",
        "area": "31",
    }
    assert (rows[0]["is_anomalous"], rows[0]["truth"]) == ("false", "false")
