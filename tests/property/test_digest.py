"""The digest of a record: equal for equal records however they travel, different for any single change."""

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import assume, given
from hypothesis import strategies as st

from vecferry.arrow import build, from_records
from vecferry.digest import digests, fingerprints
from vecferry.model import CollectionSpec, IdKind, Record, VectorKind, VectorSpec
from vecferry.tags import pack
from vecferry.testing import strategies as vst
from vecferry.testing.contracts.compare import same

KEY = b"test"


def field(kind: int, value: bytes | None) -> bytes:
    """A field as the module's first lines describe it."""
    return struct.pack("<BI", kind, 0xFFFFFFFF) if value is None else struct.pack("<BI", kind, len(value)) + value


def oracle(record: Record, spec: CollectionSpec, *, key: bytes = KEY, context: bytes = b"") -> bytes:
    """A second implementation, written from the description, over Python values instead of Arrow columns."""
    kind = record.id_kind or spec.id_kind
    canonical = is_uuid(record.id)
    kind = IdKind.UUID if kind is IdKind.TEXT and canonical else kind
    message = field(0, b"\x01") + field(1, context) + field(2, kind.value.encode()) + field(3, record.id.encode())
    for vector in sorted(spec.vectors, key=lambda one: one.name):
        form = f"{vector.kind.value}:{vector.element.value}:{vector.dim or 0}"
        message += field(9, vector.name.encode()) + field(10, form.encode())
        message += field(11, raw(record.vectors.get(vector.name)))
    metadata, tags = (None, None) if record.metadata is None else pack(record.metadata)
    for number, value in ((5, record.document), (6, record.uri)):
        message += field(number, None if value is None else value.encode())
    return hashlib.blake2b(message + field(7, metadata) + field(8, tags), digest_size=32, key=key).digest()


def is_uuid(text: str) -> bool:
    """The canonical form, by hand."""
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and set("".join(parts)) <= set("0123456789abcdef")


def raw(value: object) -> bytes | None:
    """A vector's little-endian bytes."""
    if isinstance(value, tuple):
        return b"".join(raw(part) or b"" for part in value)
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("<")).tobytes()
    return value if isinstance(value, bytes) else None


@given(vst.collections(), st.binary(max_size=64), st.binary(max_size=8))
def test_two_implementations_agree(case, key, context):
    """Every field, null and form of vector."""
    spec, records = case
    found = digests(from_records(spec, records), spec, key=key, context=context)
    assert [row.tobytes() for row in found] == [oracle(r, spec, key=key, context=context) for r in records]


@given(vst.collections(), st.data())
def test_slicing_and_joining_change_nothing(case, data):
    """The digest belongs to the record, not to the batch that carries it."""
    spec, records = case
    batch = from_records(spec, records)
    whole, cut = digests(batch, spec, key=KEY), data.draw(st.integers(0, len(records)))
    parts = [digests(piece, spec, key=KEY) for piece in (batch.slice(0, cut), batch.slice(cut))]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(
        digests(pa.concat_batches([batch.slice(cut), batch.slice(0, cut)]), spec, key=KEY)[: len(parts[1])], parts[1]
    )


@given(st.data())
def test_any_change_changes_it(data):
    """Two records have one digest exactly if they are the same, `seq` aside."""
    spec, records = data.draw(vst.collections(max_size=1))
    assume(records)
    left, other = records[0], data.draw(vst.records(spec))
    name = data.draw(st.sampled_from(["document", "uri", "metadata", "vectors", "id", "seq"]))
    right = replace(left, **{name: getattr(other, name)})
    equal = name == "seq" or same(getattr(left, name), getattr(right, name))
    found = digests(from_records(spec, [left, right]), spec, key=KEY)
    assert np.array_equal(found[0], found[1]) == equal


@given(vst.collections())
def test_vectors_may_stand_in_any_order(case):
    """The spec's order of vectors is no property of a record."""
    spec, records = case
    other = replace(spec, vectors=spec.vectors[::-1])
    assert np.array_equal(
        digests(from_records(spec, records), spec, key=KEY), digests(from_records(other, records), other, key=KEY)
    )


@given(st.lists(st.text(min_size=1), unique=True), st.sampled_from([IdKind.INT, IdKind.TEXT]))
def test_ids_of_different_records_differ(texts, kind):
    """Fingerprints tell ids, and kinds of ids, apart; a seed makes them others."""
    spec = CollectionSpec(name="x", id_kind=kind)
    batch = build(spec, {"id": texts})
    found = {row.tobytes() for row in fingerprints(batch, spec, seed=7)[0]}
    assert len(found) == len(texts)
    assert found.isdisjoint(row.tobytes() for row in fingerprints(batch, spec, seed=8)[0])


@given(vst.collections())
def test_fingerprints_agree_with_digests_on_what_is_the_same(case):
    """They are two hashes of one byte string: records equal under the one are equal under the other."""
    spec, records = case
    batch = from_records(spec, [*records, *records])
    short, long = fingerprints(batch, spec, seed=7)[1], digests(batch, spec, key=KEY)
    assert len({row.tobytes() for row in short}) == len({row.tobytes() for row in long})
    assert np.array_equal(short[: len(records)], short[len(records) :])


def test_what_lies_under_a_null_does_not_count():
    """A null vector's slot may hold anything in memory."""
    spec = CollectionSpec(name="x", vectors=(VectorSpec(dim=2),))
    kind = pa.list_(pa.float32(), 2)
    dirty = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0], pa.float32()), type=kind, mask=pa.array([True]))
    clean = pa.nulls(1, kind)
    rows = [digests(build(spec, {"id": ["a"], "vector": array}), spec, key=KEY) for array in (dirty, clean)]
    assert np.array_equal(*rows)


def test_the_known_answer():
    """Stored digests must stay comparable: this value never changes within version 1."""
    spec = CollectionSpec(name="x", vectors=(VectorSpec(dim=2), VectorSpec(name="s", kind=VectorKind.SPARSE)))
    record = Record(
        id="a",
        vectors={"": np.array([1, -0.0], np.float32), "s": (np.array([3], np.uint32), np.array([0.5], np.float32))},
        document="text",
        metadata={"b": 1, "a": None},
    )
    found = digests(from_records(spec, [record]), spec, key=b"key", context=b"tenant")[0].tobytes().hex()
    assert found == "772021f7dcdd6f5c95c598814821cdb861dd324487a2eafb1cbb9fc0a755abee"
