"""The codec is exact: what any record becomes on the wire is read back as what `expect` foretold, in every wire layout.

Qdrant's own protobuf classes stand between our writer and our reader, in place of the server (tests/integration has
the server): they parse what we wrote, and write what we read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client.grpc import points_pb2 as pb

from vecferry import arrow
from vecferry.connectors.qdrant._codec import columns, grpc_read, grpc_write, rest, restore
from vecferry.connectors.qdrant._codec.cells import Cells
from vecferry.connectors.qdrant._codec.floats import is_fragile
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.values import STRUCT_ENTRY, EntryReader, Unsayable, entries
from vecferry.errors import CorruptData
from vecferry.layouts import LAYOUTS
from vecferry.model import (
    Card,
    CollectionSpec,
    Element,
    IdKind,
    Keep,
    Metric,
    Record,
    VectorKind,
    VectorSpec,
)
from vecferry.tags import pack
from vecferry.testing.contracts.compare import assert_same

DIM = 3
POINT = "id", "vector", "payload"
KEYS = st.one_of(
    st.sampled_from(["", "a", "a.b", "document", "page_content", "uri", "metadata", "_vf", "id", 'q"\\', "/~", "ä"]),
    st.sampled_from(["text", "meta", "content", "tenant_id", "blob", "_haystack", "_node_content"]),
    st.text(max_size=8),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=200),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
METADATA = st.none() | st.dictionaries(KEYS, VALUES, max_size=4)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
DENSE = st.none() | st.lists(FLOATS, min_size=DIM, max_size=DIM).map(lambda v: np.array(v, np.float32))
HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
NO_KIND = st.none()
IDS = st.text(min_size=1, max_size=20) | st.uuids().map(str) | st.integers(0, 2**64 - 1).map(str)


def spec_of(*vectors: VectorSpec, layout: str = "plain", keep: Keep = Keep.RESTORE, kind: IdKind = IdKind.TEXT) -> Any:
    card = Card(id_kind=kind, vectors=vectors, layout=layout, exact_vectors=keep)
    return CollectionSpec(name="codec", id_kind=kind, vectors=vectors, card=card)


def answer(upsert: bytes, wire: str) -> bytes:
    """What a server would send back for what was written: `VectorOutput` in one of its three layouts."""
    points = pb.UpsertPoints.FromString(upsert).points
    parts = []
    for point in points:
        found = pb.RetrievedPoint(id=point.id, payload=point.payload)
        raw = found.SerializeToString() + field(4, vectors_output(point.vectors, wire))
        parts.append(field(2, raw))
    return b"".join(parts) + b"\x19" + bytes(8)


def vectors_output(vectors: pb.Vectors, wire: str) -> bytes:
    if vectors.HasField("vector"):
        return field(1, vector_output(vectors.vector, wire))
    named = [
        field(1, field(1, n.encode()) + field(2, vector_output(v, wire))) for n, v in vectors.vectors.vectors.items()
    ]
    return field(2, b"".join(named))


def vector_output(vector: pb.Vector, wire: str) -> bytes:
    if wire == "dense":  # since 1.17
        return pb.VectorOutput(
            dense=vector.dense if vector.HasField("dense") else None,
            sparse=vector.sparse if vector.HasField("sparse") else None,
            multi_dense=vector.multi_dense if vector.HasField("multi_dense") else None,
        ).SerializeToString()
    tail = b""
    if vector.HasField("multi_dense"):
        numbers = [number for row in vector.multi_dense.vectors for number in row.data]
        tail = b"\x18" + bytes([len(vector.multi_dense.vectors)])
    elif vector.HasField("sparse"):
        numbers = list(vector.sparse.values)
        indices = pb.VectorOutput(indices=pb.SparseIndices(data=vector.sparse.indices))
        tail = indices.SerializeToString()
    else:
        numbers = list(vector.dense.data)
    raw = np.array(numbers, "<f4").tobytes()
    if wire == "packed":
        return (field(1, raw) if raw else b"") + tail
    return b"".join(b"\x0d" + raw[at : at + 4] for at in range(0, len(raw), 4)) + tail  # up to 1.16


def field(number: int, body: bytes) -> bytes:
    def varint(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

    return varint(number << 3 | 2) + varint(len(body)) + body


def over_grpc(form: Form, batch: pa.RecordBatch, wire: str = "unpacked") -> pa.RecordBatch:
    sent = grpc_write.upsert("codec", grpc_write.points(form.rows(batch), form))
    data = answer(sent, wire)
    page = grpc_read.page(data, EntryReader())
    cells = {v.name: grpc_read.cells(page.data, page.spans, v) for v in form.read_vectors}
    found = restore.batch(form, page.ids, page.payloads, cells)
    if columns.Reader.possible(form) and (short := columns.Reader(form).read(data, 0, rows=len(data))):
        assert columns.Reader(form).batch(short[1]).equals(found)
    return found


def over_rest(form: Form, batch: pa.RecordBatch) -> pa.RecordBatch:
    body = orjson.loads(rest.upsert(rest.points(form.rows(batch), form)))
    columns = body["batch"].values() if "batch" in body else [[p[key] for p in body["points"]] for key in POINT]
    points = [dict(zip(POINT, row, strict=True)) for row in zip(*columns, strict=True)]
    page = rest.scroll_page(orjson.dumps({"result": {"points": points, "next_page_offset": None}}))
    cells = {v.name: rest.cells(page, v) for v in form.read_vectors}
    return restore.batch(form, page.ids, page.payloads, cells)


def assert_round_trip(spec: CollectionSpec, records: Sequence[Record], wire: str = "unpacked") -> None:
    form = Form(spec)
    batch = arrow.from_records(spec, records)
    expected = form.expect(batch)
    for found in (over_grpc(form, batch, wire), over_rest(form, batch)):
        assert_same(arrow.to_records(expected, spec), arrow.to_records(found, spec))
        assert found.column("seq").to_pylist() == batch.column("seq").to_pylist()
        for name in ("metadata", "tags"):
            assert arrow.utf8(found, name) == arrow.utf8(batch, name)


def records_of(vectors: dict[str, Any], kinds: Any = NO_KIND) -> Any:
    one = st.builds(
        Record,
        id=IDS,
        id_kind=kinds,
        seq=st.none() | st.integers(0, 2**40),
        vectors=st.fixed_dictionaries(vectors),
        document=st.none() | st.text(max_size=300),
        uri=st.none() | st.text(max_size=20),
        metadata=METADATA,
    )
    return st.lists(one, min_size=1, max_size=4, unique_by=lambda record: record.id)


@pytest.mark.parametrize("wire", ["unpacked", "packed", "dense"])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.L2])
@settings(max_examples=12, deadline=None)
@given(records=records_of({"": DENSE}))
def test_any_record_comes_back(records: list[Record], layout: str, wire: str, metric: Metric) -> None:
    """Ids, nulls, metadata of every type and key, -0.0, vectors of any length: as `expect` says, in every layout."""
    assert_round_trip(spec_of(VectorSpec(dim=DIM, metric=metric), layout=layout), records, wire)


@pytest.mark.parametrize("wire", ["unpacked", "packed", "dense"])
@settings(max_examples=12, deadline=None)
@given(
    records=records_of(
        {
            "": DENSE,
            "half": st.none() | st.lists(HALVES, min_size=DIM, max_size=DIM).map(lambda v: np.array(v, np.float16)),
            "bytes": st.none()
            | st.lists(st.integers(0, 255), min_size=2, max_size=2).map(lambda v: np.array(v, np.uint8)),
            "signed": st.none()
            | st.lists(st.integers(-128, 127), min_size=2, max_size=2).map(lambda v: np.array(v, np.int8)),
            "rows": st.none()
            | st.lists(st.lists(FLOATS, min_size=2, max_size=2), max_size=3).map(
                lambda v: np.array(v, np.float32).reshape(-1, 2)
            ),
            "words": st.none()
            | st.dictionaries(st.integers(0, 2**32 - 1), FLOATS, max_size=4).map(
                lambda d: (np.array(sorted(d), np.uint32), np.array([d[k] for k in sorted(d)], np.float32))
            ),
        }
    ),
    keep=st.sampled_from(list(Keep)),
)
def test_every_kind_of_vector_comes_back(records: list[Record], wire: str, keep: Keep) -> None:
    """Several named vectors at once, each of another kind and element, scaled or not, some missing."""
    vectors = (
        VectorSpec(dim=DIM),
        VectorSpec(name="half", dim=DIM, element=Element.FLOAT16),
        VectorSpec(name="bytes", dim=2, element=Element.UINT8),
        VectorSpec(name="signed", dim=2, element=Element.INT8),
        VectorSpec(name="rows", dim=2, kind=VectorKind.MULTI),
        VectorSpec(name="words", kind=VectorKind.SPARSE, metric=Metric.IP),
    )
    assert_round_trip(spec_of(*vectors, keep=keep), records, wire)


@settings(max_examples=20, deadline=None)
@given(records=records_of({"": DENSE}, kinds=st.sampled_from([IdKind.INT, IdKind.UUID, IdKind.TEXT])))
def test_mixed_ids_keep_their_kind(records: list[Record]) -> None:
    """5 the number and "5" the text are two records, and come back as what they were."""
    for record in records:
        assert record.id_kind is not None
    assert_round_trip(spec_of(VectorSpec(dim=DIM, metric=Metric.L2), kind=IdKind.MIXED), records)


@settings(max_examples=100, deadline=None)
@given(vector=st.lists(FLOATS, min_size=DIM, max_size=DIM))
def test_restored_vectors_are_within_one_step(vector: list[float]) -> None:
    """Any float32 vector, down to the smallest subnormals, is restored to within one unit in the last place."""
    spec = spec_of(VectorSpec(dim=DIM))
    original = np.array(vector, np.float32)
    batch = arrow.from_records(spec, [Record(id="a", vectors={"": original})])
    back = arrow.dense(Form(spec).expect(batch), spec.vectors[0])[0]
    assert (np.abs(original.view(np.int32).astype(np.int64) - back.view(np.int32).astype(np.int64)) <= 1).all()


def test_exact_vectors_keep_sends_the_bits_beside() -> None:
    """`exact_vectors: keep` gives a second vector that nothing scales, and reading asks for that one alone."""
    spec = spec_of(VectorSpec(dim=DIM), keep=Keep.BITS)
    form = Form(spec)
    batch = arrow.from_records(spec, [Record(id="a", vectors={"": np.array([3, 4, 0.1], np.float32)})])
    assert form.expect(batch) is batch
    assert [vector.name for vector in form.read_vectors] == ["_vf"]
    assert over_grpc(form, batch).equals(batch)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 123, 124, 125, 126, 127, 128, 129, 16_370, 16_380, 16_384, 16_390])
def test_lengths_around_the_limits_of_varints(size: int) -> None:
    """Texts whose lengths need one, two and three bytes, in documents, keys, ids and nested values."""
    text = "x" * size
    metadata = {"t": text, "o": {"n": {"t": text}}, "l": [text, [text]], f"k{text}": 1}
    record = Record(id=f"i{text}", vectors={"": None}, document=text, uri=text, metadata=metadata, seq=size)
    assert_round_trip(spec_of(VectorSpec(dim=DIM)), [record])


@settings(max_examples=60, deadline=None)
@given(value=st.dictionaries(KEYS, VALUES, max_size=5))
def test_values_are_what_the_vendor_reads(value: dict[str, Any]) -> None:
    """Our `Struct` bytes, read by Qdrant's own classes and by our reader, are the object; twice: fragments are kept."""
    from qdrant_client.grpc.json_with_int_pb2 import Struct

    for _ in range(2):
        raw = entries(STRUCT_ENTRY, value)
        assert repr(_vendor(Struct.FromString(raw))) == repr(_sorted(value))
        reader = EntryReader()
        for _ in range(2):
            assert repr(_sorted(reader.struct(raw, 0, len(raw)))) == repr(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _vendor(struct: Any) -> dict[str, Any]:
    return {key: _vendor_value(struct.fields[key]) for key in sorted(struct.fields)}


def _vendor_value(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _vendor(value.struct_value)
        case "list_value":
            return [_vendor_value(item) for item in value.list_value.values]
        case "null_value" | None:
            return None
        case kind:
            return getattr(value, kind)


def test_what_grpc_cannot_say_is_refused() -> None:
    """Integers past int64 and deep nesting are not bent: the sink sends such a batch over REST."""
    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"d": deep}
    for value in ({"n": 2**63}, {"l": [2**64 - 1]}, deep):
        with pytest.raises(Unsayable):
            entries(STRUCT_ENTRY, value)


def test_a_foreign_payload_of_another_shape_loses_nothing() -> None:
    """In somebody else's collection, a payload that does not fit the layout is metadata as a whole."""
    spec = CollectionSpec(name="foreign", id_kind=IdKind.INT, vectors=())
    payloads = [
        {"page_content": "a", "metadata": {"k": 1}},
        {"page_content": "b", "metadata": {}, "group": 7},
        {"page_content": None, "metadata": {}},
        {"page_content": "d", "metadata": None},
        {},
    ]
    found = restore.batch(Form(spec, foreign_layout="langchain"), list("12345"), [dict(p) for p in payloads], {})
    assert found.column("document").to_pylist() == ["a", None, None, None, None]
    read = [None if text is None else json.loads(text) for text in arrow.utf8(found, "metadata")]
    assert read == [{"k": 1}, *payloads[1:4], None]


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_note_about_a_value_that_was_changed_since_says_nothing(layout: str) -> None:
    """An application that changes one value leaves our envelope as it is; what it wrote counts."""
    form = Form(spec_of(VectorSpec(dim=DIM), layout=layout))
    odd = np.array([1e-30, 3.0, 1e-38], np.float32)  # comes back from its length and direction only nearly
    record = Record(id="a", vectors={"": odd}, metadata={"share": 0.12345678901234567, "gone": 1e300}, document=None)
    rows = form.rows(arrow.from_records(form.spec, [record]))
    (payload,) = form.payloads(rows)
    metadata = payload if form.layout.metadata_key is None else payload[form.layout.metadata_key]
    metadata["share"] = 0.5
    metadata["gone"] = "now a text"
    payload[form.layout.document_key] = "New."
    written = Cells("", VectorKind.DENSE, np.array([[0.0, 0.6, 0.8]], np.float32), np.array([True]))
    found = restore.batch(form, [rows.ids[0].decode()], [payload], {"": written})
    assert found.column("id").to_pylist() == ["a"]
    assert found.column("document").to_pylist() == ["New."]
    assert json.loads(arrow.utf8(found, "metadata")[0] or b"") == {"share": 0.5, "gone": "now a text"}
    direction = arrow.dense(found, form.spec.vectors[0])[0]
    np.testing.assert_allclose(direction / np.linalg.norm(direction), [0.0, 0.6, 0.8], rtol=1e-6)


def test_an_envelope_of_somebody_else_is_named() -> None:
    """A damaged `_vf` is an error that names the point, not a wrong record."""
    form = Form(spec_of(VectorSpec(dim=DIM)))
    cells = grpc_read.cells(b"", [{}], form.spec.vectors[0])
    for damage in ({"n": "long"}, {"f": {"/nowhere/0": "1"}}, "text", {"t": 5, "id": 3}):
        with pytest.raises(CorruptData) as caught:
            restore.batch(form, ["7"], [{"metadata": {"a": 1}, "_vf": damage}], {"": cells})
        assert caught.value.ids == ("7",)


@settings(max_examples=200)
@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_floats_that_stay_are_short(number: float) -> None:
    """A float that is not written down apart is a whole number below 2**53 by a power of ten up to 22: read exactly."""
    if not is_fragile(number):
        mantissa, _, fraction = orjson.dumps(abs(number)).decode().partition(".")
        assert int(mantissa + fraction) < 2**53
        assert len(fraction) <= 22
        assert int(mantissa + fraction) / 10 ** len(fraction) == abs(number)


def test_negative_zero_is_not_zero() -> None:
    """Fragments are kept by value and type; 0.0 == -0.0 must not make one of them."""
    spec = spec_of(VectorSpec(dim=DIM))
    records = [Record(id=str(n), vectors={"": None}, metadata={"z": z}) for n, z in enumerate([0.0, -0.0, 0, False])]
    found = arrow.to_records(over_grpc(Form(spec), arrow.from_records(spec, records)), spec)
    assert [repr(record.metadata) for record in found] == ["{'z': 0.0}", "{'z': -0.0}", "{'z': 0}", "{'z': False}"]
    assert math.copysign(1, found[1].metadata["z"]) == -1


def test_slices_are_encoded_from_their_own_rows() -> None:
    """A slice shares its parent's memory: every offset must be honoured, in sparse and multi vectors too."""
    vectors = (
        VectorSpec(dim=DIM),
        VectorSpec(name="rows", dim=2, kind=VectorKind.MULTI, metric=Metric.L2),
        VectorSpec(name="words", kind=VectorKind.SPARSE, metric=Metric.IP),
    )
    spec = spec_of(*vectors)
    random = np.random.default_rng(0)
    records = [
        Record(
            id=f"r{n}",
            vectors={
                "": random.standard_normal(DIM).astype(np.float32),
                "rows": None if n % 4 == 1 else random.standard_normal((n % 3 + 1, 2)).astype(np.float32),
                "words": None if n % 5 == 2 else (np.arange(n % 4, dtype=np.uint32), np.ones(n % 4, np.float32) * n),
            },
            metadata={"n": n},
        )
        for n in range(20)
    ]
    batch = arrow.from_records(spec, records)
    form = Form(spec)
    whole = grpc_write.points(form.rows(batch), form)
    for start in range(0, 20, 3):
        part = batch.slice(start, 3)
        assert grpc_write.points(form.rows(part), form) == whole[start : start + 3]
        assert_same(arrow.to_records(form.expect(part), spec), arrow.to_records(over_grpc(form, part), spec))


def test_tags_travel() -> None:
    """What JSON cannot say comes back under its type."""
    spec = spec_of(VectorSpec(dim=DIM), layout="flat")
    metadata = {"big": 10**30, "nan": math.nan, "raw": b"\x00\xff", "document": b"x"}
    text, tags = pack(metadata)
    batch = arrow.from_records(spec, [Record(id="a", vectors={"": None}, metadata=metadata)])
    found = over_grpc(Form(spec), batch)
    assert (arrow.utf8(found, "metadata"), arrow.utf8(found, "tags")) == ([text], [tags])


def test_a_card_replaced_keeps_other_names_apart() -> None:
    """Another tenant, another point: the id rule reads the card."""
    spec = spec_of(VectorSpec(dim=DIM))
    assert spec.card is not None
    other = replace(spec, card=replace(spec.card, tenant="b"))
    assert Form(spec).point_ids(["x"]).keys() != Form(other).point_ids(["x"]).keys()
