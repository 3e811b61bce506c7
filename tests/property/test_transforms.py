"""Each transform with its inverse, over records of every kind: what is undone is as it was, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import assume, given
from hypothesis import strategies as st

from vecferry.arrow import from_records, to_records, validate
from vecferry.filters import And, Compare, Contains, Exists, Filter, Not, OneOf, Op, Or, matches
from vecferry.filters.where import parse_where
from vecferry.model import CollectionSpec, IdKind, Record, Rejection
from vecferry.testing import strategies
from vecferry.transforms import Cache, Embedders, Kind, Step
from vecferry.transforms.chain import Chain

Collection = tuple[CollectionSpec, list[Record]]
SPEC = CollectionSpec(name="docs")
few_keys = st.one_of(st.sampled_from(["a", "b", ""]), strategies.keys)
documents = st.lists(
    st.one_of(st.none(), st.dictionaries(few_keys, strategies.values(), min_size=1, max_size=4)), min_size=1, max_size=4
)
"""Metadata of some records."""


def recorded(values: Sequence[Any]) -> list[Record]:
    return [Record(id=str(number), vectors={}, metadata=value) for number, value in enumerate(values)]


def chain(spec: CollectionSpec, *steps: Step) -> Chain:
    for step in steps:
        step.check()
    return Chain(steps, spec, Embedders(Cache(Path("unused"))))


def through(spec: CollectionSpec, batch: pa.RecordBatch, *steps: Step) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
    made = chain(spec, *steps)
    changed, aside = made.apply(batch)
    validate(changed, made.spec)
    assert changed.num_rows + len(aside) <= batch.num_rows
    return changed, aside


def keys_of(records: Sequence[Record]) -> list[str]:
    return sorted({key for record in records for key in record.metadata or {}})


@given(documents, st.data())
def test_a_rename_is_undone_by_the_rename_back(values: list[Any], data: st.DataObject) -> None:
    spec, records = SPEC, recorded(values)
    keys = keys_of(records)
    assume(keys)
    old = data.draw(st.sampled_from(keys))
    new = data.draw(strategies.keys.filter(lambda key: key not in keys))
    batch = from_records(spec, records)
    there, aside = through(spec, batch, Step(rename={old: new}))
    assert aside == ()
    assert through(spec, there, Step(rename={new: old})) == (batch, ())


@given(documents, st.data())
def test_a_rename_sets_aside_what_it_could_not_undo(values: list[Any], data: st.DataObject) -> None:
    """Whatever the keys are: the records that go on are undone, and the others are exactly those with both keys."""
    spec, records = SPEC, recorded(values)
    keys = keys_of(records)
    assume(len(keys) > 1)
    old, new = data.draw(st.lists(st.sampled_from(keys), min_size=2, max_size=2, unique=True))
    batch = from_records(spec, records)
    there, aside = through(spec, batch, Step(rename={old: new}))
    both = {one.id for one in records if one.metadata is not None and old in one.metadata and new in one.metadata}
    assert {one.id for one in aside} == both
    kept = [one for one in records if one.metadata is None or not (old in one.metadata and new in one.metadata)]
    back, _ = through(spec, there, Step(rename={new: old}))
    renamed = [one for one in kept if one.metadata is None or new not in one.metadata]
    assert back.num_rows == len(kept)
    if len(renamed) == len(kept):
        assert back == from_records(spec, kept)


@given(documents, st.dictionaries(st.text(min_size=1, max_size=8), st.integers(-5, 5), min_size=1, max_size=3))
def test_a_constant_is_undone_by_a_drop(values: list[Any], constants: dict[str, int]) -> None:
    """Save that a record without metadata has an empty object then."""
    spec, records = SPEC, recorded(values)
    assume(not set(constants) & set(keys_of(records)))
    batch = from_records(spec, records)
    there, aside = through(spec, batch, Step(constant=constants))
    assert aside == ()
    back, _ = through(spec, there, Step(drop=tuple(constants)))
    assert back == from_records(spec, [replace(one, metadata=one.metadata or {}) for one in records])


@given(st.lists(st.one_of(st.integers(), st.none(), st.lists(st.integers(), max_size=3)), max_size=6))
def test_integers_survive_as_text(values: list[Any]) -> None:
    assert _cast_and_back(values, Kind.INT) == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_floats_survive_as_text(values: list[float]) -> None:
    """To the bit: -0.0 too."""
    assert [value.hex() for value in _cast_and_back(values, Kind.FLOAT)] == [value.hex() for value in values]


@given(st.lists(st.one_of(st.booleans(), st.none()), max_size=6))
def test_booleans_survive_as_text(values: list[Any]) -> None:
    assert _cast_and_back(values, Kind.BOOL) == values


@given(st.lists(strategies.moments, max_size=6))
def test_moments_survive_as_text(values: list[Any]) -> None:
    found = _cast_and_back(values, Kind.DATETIME)
    assert [(one, one.utcoffset()) for one in found] == [(one, one.utcoffset()) for one in values]


def _cast_and_back(values: list[Any], kind: Kind) -> list[Any]:
    spec, records = SPEC, recorded([{"k": value} for value in values])
    steps = (Step(cast={"k": Kind.STR}), Step(cast={"k": kind}))
    changed, aside = through(spec, from_records(spec, records), *steps)
    assert aside == ()
    return [(one.metadata or {})["k"] for one in to_records(changed, spec)]


@given(strategies.collections(max_size=3))
def test_ids_that_hold_the_old_ones_stay_different(collection: Collection) -> None:
    """And everything else of the record stays as it is."""
    spec, records = collection
    assume(spec.id_kind is not IdKind.MIXED)
    batch = from_records(spec, records)
    there, _ = through(spec, batch, Step(ids="{@collection}:{@id}"))
    assert there.column("id").to_pylist() == [f"{spec.name}:{one.id}" for one in records]
    for name in set(there.schema.names) - {"id"}:
        assert there.column(name) == batch.column(name)


# --------------------------------------------------------------------------- filters

_scalars = st.one_of(st.text(max_size=3), st.integers(-3, 3), st.sampled_from([0.5, 1.0, -2.0]), st.booleans())
_numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 1.0]))
_keys = st.sampled_from(["a", "b", "c d"])
_leaves = st.one_of(
    st.builds(Compare, _keys, st.just(Op.EQ), _scalars),
    st.builds(Compare, _keys, st.sampled_from([Op.GT, Op.GTE, Op.LT, Op.LTE]), _numbers),
    st.builds(OneOf, _keys, st.lists(_scalars, min_size=1, max_size=3).map(tuple)),
    st.builds(Contains, _keys, _scalars),
    st.builds(Exists, _keys),
)
filters = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=6,
)
_values = st.one_of(_scalars, st.none(), st.lists(_scalars, max_size=3))
metadata = st.one_of(st.none(), st.dictionaries(_keys, _values))


def written(node: Filter) -> dict[str, Any]:
    """A filter as a person would write it."""
    match node:
        case And(parts):
            return {"$and": [written(part) for part in parts]}
        case Or(parts):
            return {"$or": [written(part) for part in parts]}
        case Not(part):
            return {"$not": written(part)}
        case Exists(key):
            return {key: {"$exists": True}}
        case OneOf(key, values):
            return {key: {"$in": list(values)}}
        case Contains(key, value):
            return {key: {"$contains": value}}
        case Compare(key, op, value):
            return {key: {{"==": "$eq", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}[op.value]: value}}


@given(filters)
def test_a_filter_is_read_as_it_was_written(node: Filter) -> None:
    """An object with one entry is that entry; `$and` of one stays one."""
    assert parse_where(written(node)) == node


@given(filters, st.lists(metadata, max_size=8))
def test_a_filter_and_its_negation_share_out_the_records(node: Filter, values: list[Any]) -> None:
    """Each record goes one way, the one that the reference evaluator says; so a split loses and doubles nothing."""
    spec = SPEC
    batch = from_records(spec, recorded(values))
    kept, _ = through(spec, batch, Step(filter=written(node)))
    others, _ = through(spec, batch, Step(filter={"$not": written(node)}))
    assert kept.column("id").to_pylist() == [str(n) for n, value in enumerate(values) if matches(node, value)]
    assert sorted([*kept.column("id").to_pylist(), *others.column("id").to_pylist()]) == sorted(
        map(str, range(len(values)))
    )
