"""Renaming, dropping, casting, computing, constants, ids and filters: what each does, and what it refuses to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.unit.transforms.support import SPEC, chain, metadata, reasons, record, through
from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, FieldIndex, IdKind, IndexKind, VectorSpec
from vecferry.transforms import Kind, Step


def test_a_key_is_renamed_and_its_index_with_it() -> None:
    """Records without the key, and records without metadata, stay as they are."""
    given = [{"a": 1, "x": 2}, {"x": 3}, {}, None]
    assert metadata(Step(rename={"a": "b"}), of=given) == [{"b": 1, "x": 2}, {"x": 3}, {}, None]
    spec = CollectionSpec(name="d", vectors=(VectorSpec(dim=3),), indexes=(FieldIndex(key="a", kind=IndexKind.FLOAT),))
    assert chain(Step(rename={"a": "b"}), spec=spec).spec.indexes[0].key == "b"
    assert chain(Step(drop=("a",)), spec=spec).spec.indexes == ()
    assert chain(Step(cast={"a": Kind.INT}), spec=spec).spec.indexes == ()


@pytest.mark.parametrize("names", [{"a": "c", "b": "c"}, {"a": "b", "b": "a"}])
def test_renames_that_meet_are_refused_before_any_record(names: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="renamed"):
        Step(rename=names).check()


@pytest.mark.parametrize(
    "step,reason",
    [
        (Step(rename={"a": "b"}), "It has the metadata key 'b' already."),
        (Step(constant={"b": 9}), "It has the metadata key 'b' already, with another value."),
        (Step(compute={"b": "{a}"}), "It has the metadata key 'b' already, with another value."),
    ],
)
def test_nothing_is_overwritten(step: Step, reason: str) -> None:
    """A record whose key is taken is set aside with the reason; the others go on."""
    assert reasons(step, of=[{"a": 1, "b": 2}, {"a": 1}]) == {"r0": reason}


def test_a_constant_that_is_there_already_is_no_conflict() -> None:
    assert metadata(Step(constant={"b": 1}), of=[{"b": 1}, None]) == [{"b": 1}, {"b": 1}]
    assert list(reasons(Step(constant={"b": 1}), of=[{"b": 1.0}, {"b": True}])) == ["r0", "r1"]


def test_dropping_every_key_leaves_an_empty_object() -> None:
    """Which is not "no metadata": a store that cannot tell them apart says so in the plan."""
    assert metadata(Step(drop=("a",)), of=[{"a": 1}, None, {"a": 1, "b": [None]}]) == [{}, None, {"b": [None]}]


@pytest.mark.parametrize(
    "kind,value,wanted",
    [
        (Kind.INT, "12", 12),
        (Kind.INT, "-7", -7),
        (Kind.INT, 12.0, 12),
        (Kind.INT, True, 1),
        (Kind.INT, str(2**70), 2**70),
        (Kind.INT, None, None),
        (Kind.INT, ["1", 2], [1, 2]),
        (Kind.FLOAT, "1.5e3", 1500.0),
        (Kind.FLOAT, 3, 3.0),
        (Kind.STR, 12, "12"),
        (Kind.STR, 1.5, "1.5"),
        (Kind.STR, True, "true"),
        (Kind.STR, datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (Kind.BOOL, "Yes", True),
        (Kind.BOOL, 0, False),
        (
            Kind.DATETIME,
            "2026-01-02T03:04:05+01:00",
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))),
        ),
        (Kind.DATETIME, 86400, datetime(1970, 1, 2, tzinfo=UTC)),
    ],
)
def test_values_are_cast_exactly(kind: Kind, value: Any, wanted: Any) -> None:
    (found,) = metadata(Step(cast={"k": kind}), of=[{"k": value, "x": 1}])
    assert found == {"k": wanted, "x": 1}
    assert type(found["k"]) is type(wanted)


@pytest.mark.parametrize(
    "kind,value",
    [
        (Kind.INT, "12.0"),
        (Kind.INT, "007"),
        (Kind.INT, " 7 "),
        (Kind.INT, "１２"),
        (Kind.FLOAT, "01.5"),
        (Kind.INT, 1.5),
        (Kind.INT, "１２x"),
        (Kind.INT, float("nan")),
        (Kind.INT, {"a": 1}),
        (Kind.FLOAT, "nan"),
        (Kind.FLOAT, "1e999"),
        (Kind.FLOAT, 2**53 + 1),
        (Kind.STR, {"a": 1}),
        (Kind.STR, float("inf")),
        (Kind.BOOL, "perhaps"),
        (Kind.BOOL, 2),
        (Kind.DATETIME, "yesterday"),
        (Kind.DATETIME, True),
        (Kind.DATETIME, 1e300),
    ],
)
def test_what_cannot_be_cast_is_set_aside(kind: Kind, value: Any) -> None:
    """With a reason that holds no value, so that equal ones are counted together."""
    found = reasons(Step(cast={"k": kind}), of=[{"k": value}, {"x": value}])
    assert found == {"r0": f"The value under 'k' cannot be cast to {kind}."}


def test_a_key_is_computed_from_others() -> None:
    """A record that lacks a part does not get the key; braces can be written; nothing is evaluated."""
    step = Step(compute={"ref": "{{{source}#{page}}}", "who": "{@collection}/{@id}"})
    given = [{"source": "a.pdf", "page": 3}, {"source": "b.pdf"}, {"source": "c", "page": [1]}]
    assert metadata(step, of=given) == [
        {"source": "a.pdf", "page": 3, "ref": "{a.pdf#3}", "who": "docs/r0"},
        {"source": "b.pdf", "who": "docs/r1"},
        {"source": "c", "page": [1], "who": "docs/r2"},
    ]


@pytest.mark.parametrize("template", ["{", "{}", "{a!r}", "{a:>9}", "{@page}"])
def test_templates_are_names_and_nothing_else(template: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Step(compute={"x": template}).check()
    assert caught.value.hint


def test_an_attribute_in_a_template_is_a_plain_key() -> None:
    assert metadata(Step(compute={"x": "{a.__class__}"}), of=[{"a": 1}]) == [{"a": 1}]
    assert metadata(Step(compute={"x": "{a.b}"}), of=[{"a.b": 1}]) == [{"a.b": 1, "x": "1"}]


def test_ids_are_rewritten_and_become_text() -> None:
    """Integers too; a record that lacks a part of its new id is set aside; a template without the old id is refused."""
    spec = CollectionSpec(name="docs", id_kind=IdKind.INT, vectors=SPEC.vectors)
    made = chain(Step(ids="{lang}:{@id}"), spec=spec)
    kept, aside = through(made, [record("7", {"lang": "de"}), record("8", {})], spec)
    assert ([one.id for one in kept], made.spec.id_kind, made.new_ids) == (["de:7"], IdKind.TEXT, True)
    assert [(one.id, one.reason) for one in aside] == [("8", "Its metadata lacks a part of the new id.")]
    with pytest.raises(ConfigError, match="hold the old ones"):
        Step(ids="{lang}").check()


@pytest.mark.parametrize(
    "where,wanted",
    [
        ({"n": 1}, ["r0"]),
        ({"n": {"$gte": 1}}, ["r0", "r1"]),
        ({"n": {"$gt": 0, "$lt": 2}}, ["r0"]),
        ({"$or": [{"n": 1}, {"l": {"$contains": "x"}}]}, ["r0", "r2"]),
        ({"n": {"$exists": False}}, ["r2", "r3"]),
        ({"$not": {"n": {"$in": [1, 2]}}}, ["r2", "r3"]),
        ({"n": {"$nin": [1]}}, ["r1", "r2", "r3"]),
        ({"n": {"$ne": 1}, "l": {"$not_contains": "x"}}, ["r1", "r3"]),
    ],
)
def test_a_filter_leaves_out_without_setting_aside(where: dict[str, Any], wanted: list[str]) -> None:
    """Chroma's form, with `$exists` and `$not`; the negation of a comparison matches a missing key."""
    records = [record("r0", {"n": 1}), record("r1", {"n": 2}), record("r2", {"l": ["x"]}), record("r3")]
    kept, aside = through(chain(Step(filter=where)), records)
    assert [one.id for one in kept] == wanted
    assert aside == []


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"$xor": []},
        {"a": {"$like": 1}},
        {"a": {"$gt": "x"}},
        {"$and": []},
        {"a": None},
        {"a": {"$in": 1}},
        {"a": {}},
    ],
)
def test_a_filter_that_says_nothing_is_refused(where: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Step(filter=where).check()
    assert caught.value.hint


@pytest.mark.parametrize(
    "step", [Step(), Step(drop=("a",), rename={"b": "c"}), Step(constant={"at": datetime.now(UTC)})]
)
def test_a_step_does_one_thing_that_json_can_say(step: Step) -> None:
    with pytest.raises(ConfigError) as caught:
        step.check()
    assert caught.value.hint


def test_steps_follow_each_other() -> None:
    """Each sees what the one before has made, also past a filter; the count is unknown behind a filter alone."""
    steps = [
        Step(rename={"a": "b"}),
        Step(cast={"b": Kind.INT}),
        Step(filter={"b": {"$gt": 1}}),
        Step(compute={"c": "n{b}"}),
        Step(drop=("b",)),
    ]
    assert metadata(*steps, of=[{"a": "1"}, {"a": "2"}, {"a": "3", "z": None}]) == [{"c": "n2"}, {"c": "n3", "z": None}]
    counted = CollectionSpec(name="d", vectors=SPEC.vectors, count=3)
    assert chain(*steps, spec=counted).spec.count is None
    assert chain(steps[0], spec=counted).spec.count == 3
