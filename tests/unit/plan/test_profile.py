"""The profile: every record is looked at, in bounded memory, and what is odd about it is found."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.making import CHROMA_LIKE, SPEC, Held, profiled, record, with_metadata
from vecferry.arrow import build, from_records
from vecferry.events import Event, Progress, StageFinished, StageStarted
from vecferry.limits import Shape
from vecferry.model import (
    Chunk,
    CollectionSpec,
    Element,
    IdKind,
    Metric,
    Partition,
    PartitionId,
    Position,
    Record,
    Rejection,
    VectorKind,
    VectorSpec,
)
from vecferry.planning.model import Seen
from vecferry.planning.profile import profile


@pytest.mark.parametrize(
    "shape,value",
    [
        (Shape.NULL_VALUE, None),
        (Shape.NESTED_OBJECT, {"a": 1}),
        (Shape.EMPTY_LIST, []),
        (Shape.MIXED_LIST, [1, "a"]),
        (Shape.MIXED_LIST, [1, 1.0]),
        (Shape.MIXED_LIST, [None]),
        (Shape.MIXED_LIST, [[1]]),
        (Shape.LIST, ["a", "b"]),
        (Shape.UINT64, 2**63),
        (Shape.UINT64, {"deep": [{"in": 2**64 - 1}]}),
        (Shape.BIG_INT, 2**64),
        (Shape.BIG_INT, -(2**63) - 1),
        (Shape.NEGATIVE_ZERO, -0.0),
        (Shape.NEGATIVE_ZERO, [1.5, -0.0]),
        (Shape.TAGGED, datetime(2026, 1, 1, tzinfo=UTC)),
        (Shape.TAGGED, float("nan")),
        (Shape.TAGGED, {"bytes": b"\x00"}),
        (Shape.NUL_IN_TEXT, "a\x00b"),
    ],
)
def test_a_shape_of_a_value_is_counted_with_the_record_that_has_it(shape: Shape, value: object) -> None:
    """Each odd value is found among ordinary ones, once, and the example names record and key."""
    found = profiled(with_metadata({"key": "plain"}, {"key": value}, {"other": 1.0}, None)).shapes[shape]
    assert found.count == 1
    assert found.examples[0].startswith("r1")


@pytest.mark.parametrize("value", [1, 0, -(2**63), 2**63 - 1, 1.0, 0.0, True, "text", ""])
def test_ordinary_values_have_no_shape(value: object) -> None:
    """What every store holds is not reported as odd."""
    shapes = set(profiled(with_metadata({"key": value})).shapes)
    assert shapes <= {Shape.NO_DOCUMENT, Shape.COSINE_LENGTH, Shape.NEGATIVE_ZERO} - {Shape.NEGATIVE_ZERO}


def test_shapes_of_vectors_are_told_apart() -> None:
    """Missing, zero, NaN, infinite, long, unit: each record falls into the right class, extremes of float32 too."""
    records = [
        record("none", None),
        record("zero", (0, 0, -0.0)),
        record("nan", (1, float("nan"), 0)),
        record("inf", (float("-inf"), 0, 0)),
        record("huge", (3e38, 3e38, 3e38)),
        record("tiny", (1e-45, 0, 0)),
        record("unit", (1, 0, 0)),
        record("long", (3, 4, 0)),
    ]
    found = profiled(records)
    assert found.shapes[Shape.NO_VECTOR].examples == ("none",)
    assert found.shapes[Shape.ZERO_VECTOR].examples == ("zero",)
    assert found.shapes[Shape.NON_FINITE_VECTOR].examples == ("nan", "inf")
    assert set(found.shapes[Shape.COSINE_LENGTH].examples) >= {"long", "tiny"}
    assert "unit" not in found.shapes[Shape.COSINE_LENGTH].examples
    assert found.shapes[Shape.COSINE_LENGTH].count == 3
    assert found.dimensions == {"": {3: 7}}
    assert found.norms[""].high == pytest.approx(3e38 * 3**0.5)


def test_a_length_matters_only_under_cosine() -> None:
    """Euclidean vectors have their length as a matter of course."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=3, metric=Metric.L2),))
    assert Shape.COSINE_LENGTH not in profiled([record("a", (3, 4, 0))], spec).shapes


@pytest.mark.parametrize("element", [Element.FLOAT16, Element.UINT8, Element.INT8])
def test_other_number_types_are_measured(element: Element) -> None:
    """Norms of half floats and bytes do not overflow in their own type."""
    spec = replace(SPEC, vectors=(VectorSpec(dim=3, element=element),))
    vector = np.array([100, 100, 100], element.value)
    found = profiled([Record(id="a", vectors={"": vector})], spec)
    assert found.norms[""].high == pytest.approx(100 * 3**0.5, rel=1e-3)


def test_sparse_and_multi_vectors_are_counted() -> None:
    """Vectors that have no single length are present or not, and nothing else is claimed of them."""
    spec = CollectionSpec(
        name="docs",
        vectors=(
            VectorSpec(name="s", kind=VectorKind.SPARSE, metric=Metric.IP),
            VectorSpec(name="m", kind=VectorKind.MULTI, dim=2),
        ),
    )
    sparse = (np.array([1], np.uint32), np.array([2.0], np.float32))
    records = [
        Record(id="a", vectors={"s": sparse, "m": np.ones((2, 2), np.float32)}),
        Record(id="b", vectors={"s": sparse}),
    ]
    found = profiled(records, spec)
    assert found.dimensions == {"s": {0: 2}, "m": {2: 1}}
    assert Shape.NO_VECTOR not in found.shapes


def test_texts_are_measured() -> None:
    """Documents, uris and ids: sizes in UTF-8 bytes, what is absent, what holds a NUL."""
    records = [
        record("a", document="äöü", uri="file:///a"),
        record("bb", document=""),
        record("ccc", document="x\x00y"),
        record("dddd"),
    ]
    found = profiled(records)
    assert (found.document_bytes.low, found.document_bytes.high) == (0, 6)
    assert found.id_bytes.mean == 2.5
    assert found.shapes[Shape.NO_DOCUMENT].examples == ("dddd",)
    assert found.shapes[Shape.URI].examples == ("a",)
    assert found.shapes[Shape.NUL_IN_TEXT].examples == ("ccc",)
    assert found.largest["id"][0] == (4, "dddd")


def test_empty_metadata_is_not_no_metadata() -> None:
    """`{}` is a shape of its own; None is the usual thing."""
    found = profiled(with_metadata({}, None, {"a": 1}))
    assert found.shapes[Shape.EMPTY_METADATA].examples == ("r0",)
    assert found.shapes[Shape.EMPTY_METADATA].count == 1


def test_types_are_counted_per_key() -> None:
    """True is not 1, 1 is not 1.0, null is not missing; values of equal hash are kept apart."""
    found = profiled(
        with_metadata({"k": True}, {"k": 1}, {"k": 1.0}, {"k": "1"}, {"k": None}, {"k": [1]}, {"k": {}}, {})
    )
    assert found.keys["k"].types == {
        "bool": 1, "float": 1, "int": 1, "list[int]": 1, "null": 1, "object": 1, "str": 1,
    }  # fmt: skip
    assert found.keys["k"].distinct == 4
    assert sorted(map(repr, (value for value, _ in found.keys["k"].values))) == ["'1'", "1", "1.0", "True"]


def test_the_most_frequent_values_come_first() -> None:
    """Values are counted exactly while there are few different ones."""
    found = profiled(with_metadata(*({"lang": lang} for lang in ["en"] * 5 + ["de"] * 3 + ["fr"])))
    assert found.keys["lang"].values == (("en", 5), ("de", 3), ("fr", 1))
    assert found.keys["lang"].distinct == 3


def test_too_many_values_are_not_counted() -> None:
    """Past the limit `distinct` is None, and what is listed is still counted right."""
    found = profiled(with_metadata(*({"n": number % 5 if number % 2 else number} for number in range(6000))))
    assert found.keys["n"].distinct is None
    counts = Counter(number % 5 if number % 2 else number for number in range(6000))
    assert all(count <= counts[value] for value, count in found.keys["n"].values)
    assert (found.keys["n"].low, found.keys["n"].high) == (0, 5998)


def test_long_texts_are_not_kept_as_values() -> None:
    """A metadata value of megabytes must not live on in the profile."""
    found = profiled(with_metadata({"t": "x" * 1_000_000}, {"t": "short"}))
    assert found.keys["t"].values == (("short", 1),)
    assert found.keys["t"].distinct is None


def test_ten_thousand_keys_in_one_record() -> None:
    """Wide metadata is profiled up to the limit, and what lies past it is counted."""
    wide = {f"key-{number:05}": number for number in range(10_050)}
    found = profiled(with_metadata(wide, wide, {"key-99999": None}))
    assert len(found.keys) == 10_000
    assert found.untracked_keys == 101
    assert found.shapes[Shape.NULL_VALUE].examples == ("r2: key-99999",)


def test_facts_about_keys_are_counted_past_the_keys_that_are_listed() -> None:
    """An empty key always; what only a target minds, where the target is known."""
    limits = replace(CHROMA_LIKE, metadata_keys=10_001, list_elements=5)
    wide = {f"!key-{number:05}": number for number in range(10_000)}
    records = with_metadata(
        wide, {**wide, "": 1, "_vf": 2, "chroma:x": 3}, {"lists": [1, 2, 3], "more": ["a", "b", "c"]}
    )
    alone, planned = profiled(records), profiled(records, limits=limits)
    assert planned.shapes[Shape.EMPTY_KEY] == alone.shapes[Shape.EMPTY_KEY] == Seen(count=1, examples=("r1: ",))
    assert planned.shapes[Shape.RESERVED_KEY] == Seen(count=2, examples=("r1: _vf", "r1: chroma:x"))
    assert planned.shapes[Shape.MANY_KEYS] == Seen(count=1, examples=("r1 (10,003)",))
    assert planned.shapes[Shape.LONG_LISTS] == Seen(count=1, examples=("r2 (6)",))
    assert not {Shape.RESERVED_KEY, Shape.MANY_KEYS, Shape.LONG_LISTS} & alone.shapes.keys()


def test_metadata_nested_a_hundred_deep_is_walked() -> None:
    """No recursion: the depth of hostile metadata is not the depth of our stack."""
    value: Any = 2**63
    for _ in range(100):
        value = {"x": [value]}
    assert profiled(with_metadata({"deep": value})).shapes[Shape.UINT64].count == 1


def test_uuids_in_a_text_collection_are_told_apart() -> None:
    """A text id that is a canonical UUID stays as it is in Qdrant, so it counts as one; capitals do not."""
    names = ["6f1b8c1e-0000-4000-8000-000000000001", "6F1B8C1E-0000-4000-8000-000000000001", "x" * 36, "a"]
    assert profiled([record(name) for name in names]).id_kinds == {"uuid": 1, "text": 3}


def test_ids_of_mixed_collections_are_counted_by_kind() -> None:
    """Each record says what its id is."""
    spec = replace(SPEC, id_kind=IdKind.MIXED)
    records = [record("1", id_kind=IdKind.INT), record("2", id_kind=IdKind.INT), record("a", id_kind=IdKind.TEXT)]
    assert profiled(records, spec).id_kinds == {"int": 2, "text": 1}


def test_what_the_source_rejects_is_reported_by_reason() -> None:
    """Records that cannot be read are counted, not forgotten."""
    source = Held([from_records(SPEC, [record("a")])], rejected=[Rejection("b", "torn"), Rejection("c", "torn")])
    found = profile(source)
    assert found.records == 1
    assert found.rejected["torn"].count == 2
    assert found.rejected["torn"].examples == ("b", "c")


def test_an_empty_collection_has_an_empty_profile() -> None:
    """Nothing to see is nothing to fail on."""
    found = profiled([])
    assert (found.records, found.shapes, found.keys, found.norms) == (0, {}, {}, {})
    assert found.document_bytes is None


def test_progress_is_told() -> None:
    """An observer sees the stage begin, every batch, and the end."""
    seen: list[Event] = []
    batch = from_records(SPEC, [record("a"), record("b")])
    profile(Held([batch.slice(0, 1), batch.slice(1)]), seen.append)
    assert [type(event) for event in seen] == [StageStarted, Progress, Progress, StageFinished]
    assert sum(event.records for event in seen if isinstance(event, Progress)) == 2


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_RECORDS = st.lists(
    st.none() | st.dictionaries(st.sampled_from(["a", "b", "", "~/"]), _VALUES, max_size=4), max_size=12
)


@given(_RECORDS, st.integers(1, 5))
def test_how_the_records_are_cut_into_batches_does_not_matter(values: list[Any], rows: int) -> None:
    """The profile of slices is the profile of the whole."""
    batch = from_records(SPEC, with_metadata(*values))
    slices = [batch.slice(start, rows) for start in range(0, len(values), rows)]
    whole, parts = profile(Held([batch])), profile(Held(slices))
    assert _comparable(whole) == _comparable(parts)


def _comparable(found: Any) -> Any:
    counts = {shape: seen.count for shape, seen in found.shapes.items()}
    keys = {key: (dict(value.types), value.distinct, set(map(repr, value.values))) for key, value in found.keys.items()}
    return found.records, counts, keys, found.sizes["id"], found.sizes["document"], found.norms.keys()


class Endless:
    """A source of any number of records, made as they are read: what the profile keeps is the profile's own."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def describe(self) -> CollectionSpec:
        return replace(SPEC, count=self.rows)

    def partitions(self) -> list[Partition]:
        return [Partition(id=PartitionId("all"), bounds="")]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        step = 2_000
        for start in range(0, self.rows, step):
            numbers = range(start, start + step)
            columns = {
                "id": [f"record-{number}" for number in numbers],
                "vector": np.ones((step, 3), np.float32),
                "metadata": [f'{{"k{number % 15_000}":"{number}","u":"{number}"}}' for number in numbers],
            }
            yield Chunk(build(SPEC, columns), Position(str(start)))

    def close(self) -> None:
        pass


def test_memory_does_not_grow_with_the_collection() -> None:
    """Four times the records, all with keys, values and ids of their own: besides 16 bytes an id, nothing grows."""
    peaks = []
    for rows in (10_000, 40_000):
        tracemalloc.start()
        assert profile(Endless(rows)).records == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    ids = (40_000 - 10_000) * 16
    assert peaks[1] - peaks[0] < 8 * ids + 4_000_000
