"""Settings: every field's range, JSON and back, refusals that name field, expectation and value."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ssae_tf import config as config_module
from ssae_tf.config import RunConfig, from_dict, load, override, to_dict
from ssae_tf.errors import ConfigError

INFINITY = float("inf")
FLAG = ([True, False], ["maybe", 2, None])
SHARE = ([0.0, 0.5, 1.0], [-0.1, 1.1, "half", None, INFINITY])
HALF = ([0.01, 0.49], [0.0, 0.5, -1, "some"])
WEIGHT = ([0.5, 7.0], [-0.1, INFINITY, "much"])
POSITIVE = ([1e-8, 3.0], [0.0, -1.0, INFINITY, "big"])
COUNT = ([1, 1000], [0, -1, 1.5, "many"])
RANGE = ([[0.2, 0.2], [1.0, 9.0]], [[2.0, 1.0], [0.0, 1.0], [1.0], [1.0, 2.0, 3.0], 4.0])

# Every field -> (values it takes, values it refuses).
FIELDS: dict[str, tuple[list[Any], list[Any]]] = {
    "category": (["tile", ""], [3, None]),
    "preset": (["paper", ""], [1]),
    "min_area": ([None, 1, 500], [0, -3, 1.5, "big"]),
    "weights_from": ([None, "runs/tile"], ["", 3]),
    "data.white_level": ([1, 1023, 65535], [0, 65536, 1.5]),
    "data.rotate": FLAG,
    "data.flip_horizontal": FLAG,
    "data.flip_vertical": FLAG,
    "data.select_fraction": HALF,
    "data.calibrate_fraction": HALF,
    "data.group": ([None, r"part(\d+)", "(a|b)(?:c)"], ["part", "(a)(b)", "(a", 3]),
    "data.skip_unreadable": FLAG,
    "data.cache": (["auto", "memory", "disk"], ["ram"]),
    "corruption.where": (["step", "data"], ["gpu"]),
    "corruption.elastic": WEIGHT,
    "corruption.cut_out": WEIGHT,
    "corruption.patch_swap": WEIGHT,
    "corruption.texture": WEIGHT,
    "corruption.relief": SHARE,
    "corruption.share": SHARE,
    "corruption.blob": WEIGHT,
    "corruption.polygon": WEIGHT,
    "corruption.stroke": WEIGHT,
    "corruption.noise": SHARE,
    "corruption.patches": COUNT,
    "corruption.size": ([[0.1, 1.0]], [[0.5, 0.1], [0.0, 0.5], [0.5, 1.1], [0.5], 0.5]),
    "corruption.sigma": RANGE,
    "corruption.alpha": RANGE,
    "corruption.brightness": SHARE,
    "corruption.tint": SHARE,
    "corruption.contrast": SHARE,
    "corruption.opacity": ([[0.1, 1.0]], [[0.5, 0.1], [0.0, 0.5], [0.5, 1.1], [0.5], 0.5]),
    "model.width": ([0.0625, 4.0], [0.0, -1.0, 4.1, INFINITY, "wide"]),
    "model.answer": (["plain", "gated"], ["skip", None]),
    "model.context": ([1], [0, 3, 5, 1.5, "far"]),
    "model.standardize": ([False], [1.5, "always"]),
    "model.normalization": ([None, "batch"], ["group", "layer", 1]),
    "objective.equation": ([1, 2, 3], [0, 4, "one", None]),
    "objective.weight": ([None, 0.0, 1.0], [-0.1, 1.5, "half"]),
    "objective.norm": (["l2", "l2_squared", "l1", "ssim"], ["l3", None]),
    "training.stages": (
        [[{"size": 16, "batch_size": 1, "steps": 1}, {"size": 512, "batch_size": 8, "steps": 9}]],
        [[], 5, ["fast"]],
    ),
    "training.learning_rate": POSITIVE,
    "training.jit": FLAG,
    "training.evaluations": COUNT,
    "training.seed": ([0, 2**31 - 1], [-1, 2**31, 0.5, "random"]),
    "scoring.inspection_size": ([None, "native", [16, 512]], ["half", [10, 16], [16], [8, 16], 16]),
    "scoring.evidence": (["residual"], ["map", None]),
    "scoring.reading": (["absolute", "euclidean"], ["l2"]),
    "scoring.smoothing_sigma": ([0.0, 4.0, None], [-1.0, 1e300, INFINITY, "soft"]),
    "scoring.test_time_augmentation": FLAG,
    "scoring.outline": ([None], [-0.1, 1.5, "half"]),
    "scoring.ignore": ([None, "mask.png"], ["", 1, True]),
    "scoring.border": ([0, 12], [-1, 1.5, "wide", None]),
}
ACCEPTED = [(name, value) for name, (values, _) in FIELDS.items() for value in values]
REFUSED = [(name, value) for name, (_, values) in FIELDS.items() for value in values]


def _value(config: RunConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


class TestResolve:
    WAITING = from_dict({"scoring": {"smoothing_sigma": None}})

    @pytest.mark.parametrize(("side", "expected"), [(1024, 8.2), (256, 2.0), (10, 0.1)])
    def test_by_the_shorter_side(self, side, expected):
        resolved = config_module.resolve(self.WAITING, side)
        assert resolved.scoring.sigma == expected
        assert dataclasses.replace(resolved, scoring=self.WAITING.scoring) == self.WAITING

    def test_a_number_stays(self):
        config = from_dict({"scoring": {"smoothing_sigma": 1.5}})
        assert config_module.resolve(config, 1024) == config

    def test_what_waits_is_no_number(self):
        with pytest.raises(ConfigError, match=r"expected a number, as `resolve` gives it"):
            _ = self.WAITING.scoring.sigma


GATED = {"model": {"answer": "gated"}, "training": {"stages": [
    {"size": 64, "batch_size": 1, "steps": 1}
]}}  # fmt: skip


class TestGated:
    def test_asks_for_multiples_of_32(self):
        assert from_dict(GATED).model.downsampling == 32
        assert RunConfig().model.downsampling == 8

    @pytest.mark.parametrize("context", [1, 2, 4])
    def test_table_1_may_see_less_detail(self, context):
        """By factors that leave it multiples of 8 of any multiple of 32."""
        config = override(from_dict(GATED), {"model.context": context})
        assert config.model.context == context
        assert 32 // context % 8 == 0

    def test_any_of_its_evidence_is_accepted(self):
        config = override(from_dict(GATED), {"scoring.evidence": "gate"})
        assert config.scoring.evidence == "gate"
        assert from_dict(to_dict(config)) == config

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"training.stages": [{"size": 48, "batch_size": 1, "steps": 1}]}, "received 48"),
            ({"scoring.inspection_size": [64, 40]}, "received 40"),
            ({"model.answer": "plain", "model.context": 2}, "context needs a gated answer"),
            ({"model.answer": "plain", "model.standardize": True}, "standardize needs a gated"),
            ({"model.answer": "plain", "scoring.evidence": "gate"}, 'needs model.answer "gated"'),
            ({"scoring.outline": 0.5}, 'outline needs evidence "gate", received outline=0.5'),
        ],
    )
    def test_what_does_not_fit_is_refused(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            override(from_dict(GATED), changes)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (128, 128)),
        ({"scoring": {"inspection_size": [32, 48]}}, (32, 48)),
        ({"training": {"stages": [
            {"size": 16, "batch_size": 1, "steps": 1}, {"size": 32, "batch_size": 1, "steps": 1},
        ]}}, (32, 32)),
        ({"scoring": {"inspection_size": "native"}}, None),
    ],
)  # fmt: skip
def test_inspection_size(values: dict[str, Any], expected: tuple[int, int] | None) -> None:
    assert from_dict(values).inspection_size == expected


def test_every_field_is_listed_here() -> None:
    assert sorted(FIELDS) == sorted(config_module.field_names())


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_a_value_in_range_arrives_and_survives_json(name: str, value: Any) -> None:
    changes = {name: value}
    config = override(RunConfig(), changes)
    arrived = _value(config, name)
    assert json.loads(json.dumps(to_dict(config))) == to_dict(config)
    plain = to_dict(config)
    for part in name.split("."):
        plain = plain[part]
    assert plain == value
    assert arrived == (tuple(arrived) if isinstance(value, list) else value)
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_value_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        override(RunConfig(), {name: value})
    message = str(caught.value)
    assert name.split(".")[0] in message
    assert name.split(".")[-1] in message
    assert "\n" not in message
    assert message.endswith(".")
    # What came, unless it is too short a list, where the missing place is named.
    assert "eceived" in message or message.startswith(f"Missing setting `{name}.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"objective": {"equation": 4}},
            "Invalid value for `objective.equation`: Input should be 1, 2 or 3. Received: 4.",
        ),
        (
            {"scoring": {"inspection_size": [10, 20]}},
            'Invalid value for `scoring.inspection_size`: expected "native" or [height, width], '
            "multiples of 8 that are at least 16; received [10, 20].",
        ),
        (
            {"corruption": {"sigma": [2.0, 1.0]}},
            "Invalid value for `corruption`: sigma must be (smallest, largest), received "
            "(2.0, 1.0).",
        ),
        (
            {"scoring": {"evidence": "gate"}},
            'Settings that do not fit together: scoring.evidence "gate" needs model.answer '
            '"gated".',
        ),
        (
            {"model": {"answer": "gated"}, "scoring": {"inspection_size": [64, 40]}},
            "Settings that do not fit together: a gated answer needs sides that are multiples of "
            "32, received 40.",
        ),
        (
            {"model": {"context": 2}},
            "Invalid value for `model`: context needs a gated answer, received context=2.",
        ),
        (
            {"model": {"answer": "gated", "context": 3}},
            "Invalid value for `model.context`: Input should be 1, 2 or 4. Received: 3.",
        ),
        (
            {"corruption": {"elastic": 0}},
            "Invalid value for `corruption`: one of elastic, cut_out, patch_swap and texture must "
            "be above 0, all are 0.",
        ),
        (
            {"corruption": {"blob": 0, "polygon": 0, "stroke": 0}},
            "Invalid value for `corruption`: one of blob, polygon and stroke must be above 0, all "
            "are 0.",
        ),
        ({"size": 3}, "Unknown setting `size`."),
        ({"training": {"learning_rat": 3}}, "Unknown setting `training.learning_rat`."),
        (
            {"training": {"stages": [{"size": 16, "batch_size": 1, "steps": 1, "lr": 1}]}},
            "Unknown setting `training.stages.0.lr`.",
        ),
        (
            {"training": {"stages": [{"size": 16, "batch_size": 1}]}},
            "Missing setting `training.stages.0.steps`.",
        ),
        ([1], "Expected settings by name. Received: [1]."),
    ],
)
def test_sentences(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "values"),
    [("size", (8, 20, 0, "big")), ("batch_size", (0, -1)), ("steps", (0, 1.5, None))],
)
def test_a_stage_out_of_range_is_refused(field: str, values: tuple[Any, ...]) -> None:
    for value in values:
        stage = {"size": 16, "batch_size": 1, "steps": 1, field: value}
        with pytest.raises(ConfigError, match=rf"training\.stages\.0\.{field}.*Received"):
            override(RunConfig(), {"training.stages": [stage]})


def test_settings_can_not_be_changed() -> None:
    config = config_module.preset("quick")
    for owner in (config, config.data, config.training, config.training.stages[0]):
        field = dataclasses.fields(owner)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(owner, field, getattr(owner, field))
    assert isinstance(config.training.stages, tuple)


def test_the_steps_are_those_of_all_stages() -> None:
    stage = {"size": 16, "batch_size": 1, "steps": 3}
    config = override(RunConfig(), {"training.stages": [stage, {**stage, "steps": 4}]})
    assert config.training.steps == 7


def test_override_changes_what_it_names_alone() -> None:
    before = config_module.preset("quick", "tile")
    after = override(before, {"training.seed": 3, "min_area": 20})
    assert (after.training.seed, after.min_area) == (3, 20)
    assert override(after, {"training.seed": 0, "min_area": None}) == before
    assert before.training.seed == 0


@pytest.mark.parametrize(
    "name",
    [
        *("", "a", "a.b.c", "training", "training.", ".seed", "training.lr"),
        *("training.stages.0", "training.stages.0.steps", "min_area.x", "category.x"),
    ],
)
def test_override_refuses_what_is_no_field(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(RunConfig(), {name: 1})
    assert str(caught.value).startswith(f"Unknown setting `{name}`. Expected one of: category, ")


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=r"config\.json: can't be read \(No such file"):
        load(path)
    for content, message in [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"data":' * 100_000, "is not JSON"),
        (b"[]", "Expected settings by name"),
        (b'{"seed": 1}', "Unknown setting `seed`"),
        (b'{"min_area": 0}', "Invalid value for `min_area`"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: {message}")
        assert str(caught.value).count(str(path)) == 1


class TestSettingsOfOlderRuns:
    def test_what_changed_nothing_is_left_out(self, tmp_path: Path) -> None:
        values = to_dict(config_module.preset("quick", "tile"))
        old = json.loads(json.dumps(values))
        old["data"]["sampling"] = "resize"
        old["model"]["momentum"] = 0.9
        old["scoring"] |= {"margin": 32, "normalize": "none"}
        old["training"] |= {"epsilon": 1e-7, "schedule": "cosine", "warmup": 0.05}
        path = tmp_path / "config.json"
        path.write_text(json.dumps(old))
        assert to_dict(load(path)) == values

    @pytest.mark.parametrize(
        ("group", "name", "value"),
        [
            ("data", "sampling", "crop"),
            ("scoring", "normalize", "location"),
            ("training", "schedule", "constant"),
            ("model", "momentum", 0.99),
        ],
    )
    def test_what_can_not_be_made_any_more_is_refused_in_one_sentence(
        self, group: str, name: str, value: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({group: {name: value}}))
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value) == (
            f"{path}: `{group}.{name}` {value!r} is of an older version: `ssae-tf fit` makes such "
            "a run anew."
        )

    @pytest.mark.parametrize("name", ["data.sampling", "scoring.margin", "training.warmup"])
    def test_they_can_not_be_set(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"Unknown setting `{name}`"):
            override(RunConfig(), {name: "resize"})
