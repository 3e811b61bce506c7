"""The canonical batch: records survive it, however it was built, cut and joined again."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecferry.arrow import (
    as_array,
    build,
    column,
    dense,
    empty,
    from_records,
    present,
    schema,
    split,
    to_records,
    validate,
)
from vecferry.model import CollectionSpec, VectorKind, VectorSpec
from vecferry.testing import strategies as vst
from vecferry.testing.contracts import assert_same


@given(vst.collections())
def test_records_survive(case):
    """`to_records` undoes `from_records`, bit for bit, for every form of vector and every type of metadata."""
    spec, records = case
    batch = from_records(spec, records)
    validate(batch, spec)
    found = to_records(batch, spec)
    assert_same(records, found) if spec.id_kind == "mixed" else assert_same(records, found, kinds=False)
    assert [record.seq for record in found] == [record.seq for record in records]


@given(vst.collections(max_size=12), st.integers(1, 5), st.integers(1, 400))
def test_splitting_keeps_rows_and_order(case, rows, size):
    """The pieces, joined, are the batch; each has rows, and not too many."""
    spec, records = case
    batch = from_records(spec, records)
    pieces = list(split(batch, max_rows=rows, max_bytes=size))
    assert all(0 < piece.num_rows <= rows for piece in pieces)
    assert all(piece.num_rows == 1 or piece.nbytes <= size for piece in pieces)
    if pieces:
        assert pa.concat_batches(pieces).equals(batch)


@given(vst.collections(), st.data())
def test_a_slice_is_a_batch_of_its_own(case, data):
    """Offsets are honoured when reading a slice, in every column."""
    spec, records = case
    start = data.draw(st.integers(0, len(records)))
    piece = from_records(spec, records).slice(start, 3)
    assert_same(records[start : start + 3], to_records(piece, spec), kinds=False)


@given(vst.collections(), st.data())
def test_dense_values_are_the_vectors(case, data):
    """The zero-copy view and the mask agree with the records, also behind an offset."""
    spec, records = case
    start = data.draw(st.integers(0, len(records)))
    piece = from_records(spec, records).slice(start)
    for vector in spec.vectors:
        if vector.kind is VectorKind.DENSE:
            values, there = dense(piece, vector), present(piece, vector)
            for record, row, is_there in zip(records[start:], values, there, strict=True):
                wanted = record.vectors[vector.name]
                assert is_there == (wanted is not None)
                assert not is_there or row.tobytes() == wanted.tobytes()


@given(vst.collections())
def test_columns_rebuild_the_batch(case):
    """`build` takes back its own columns, and plain storage for JSON, as files and databases give them."""
    spec, records = case
    batch = from_records(spec, records)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    assert build(spec, columns).equals(batch)
    plain = {name: c.storage if isinstance(c, pa.ExtensionArray) else c for name, c in columns.items()}
    assert build(spec, plain).equals(batch)


@given(vst.specs())
def test_an_empty_batch_is_canonical(spec):
    """Without rows, for every spec; columns have different names."""
    batch = empty(spec)
    validate(batch, spec)
    assert batch.num_rows == 0
    assert len(set(schema(spec).names)) == len(schema(spec).names)
    assert to_records(batch, spec) == []


def test_a_dimension_that_is_not_known_yet():
    """A collection without records may not know its dimension: batches without rows, and rows without vectors."""
    spec = CollectionSpec(name="new", vectors=(VectorSpec(),))
    batch = build(spec, {"id": ["a", "b"]})
    validate(batch, spec)
    assert dense(batch, spec.vectors[0]).shape == (2, 0)
    assert not present(batch, spec.vectors[0]).any()
    assert dense(empty(spec), spec.vectors[0]).shape == (0, 0)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_columns_of_any_width_are_taken(kind):
    """A store may hand over wide or narrow strings."""
    spec = CollectionSpec(name="x", vectors=(VectorSpec(dim=1),))
    batch = build(
        spec, {"id": pa.array(["a"], kind), "document": pa.array(["d"], kind), "metadata": pa.array(["{}"], kind)}
    )
    assert to_records(batch, spec)[0].metadata == {}
    assert (
        as_array(pa.array(["{}"], kind), batch.schema.field("metadata").type).type
        == batch.schema.field("metadata").type
    )


def test_columns_have_one_name_each():
    """A vector called like another's column cannot shadow it."""
    named = [VectorSpec(name=name, kind=kind, dim=8) for name in ("", "a", "a.b") for kind in VectorKind]
    assert len({column(vector) for vector in named}) == len(named)
