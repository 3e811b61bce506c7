"""The canonical batch: one Arrow schema for every store. Pure.

| column                    | type                                                 | meaning                           |
|---------------------------|------------------------------------------------------|-----------------------------------|
| `id`                      | string                                               | canonical text of the source's id |
| `id_kind`                 | string; only where the spec says `mixed`             | `int`, `uuid` or `text`           |
| `seq`                     | int64, null where the source has no order            | rises in the source's order       |
| `vector`, `vector.<name>` | fixed_size_list<float32·float16·uint8·int8>          | dense; null where there is none   |
| `sparse`, `sparse.<name>` | struct<indices: list<uint32>, values: list<float32>> | indices ascending                 |
| `multi`, `multi.<name>`   | list<fixed_size_list<…>>                             | row order kept                    |
| `bits`, `bits.<name>`     | fixed_size_binary(ceil(dim / 8))                     | most significant bit first        |
| `document`, `uri`         | large_string                                         | null is not ""                    |
| `metadata`                | arrow.json, canonical text (`vecferry.tags`)         | null is not {}                    |
| `tags`                    | arrow.json                                           | JSON Pointer -> type of the value |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vecferry.errors import DataError
from vecferry.model import CollectionSpec, Element, IdKind, Record, VectorKind, VectorSpec
from vecferry.tags import pack, unpack

JSON = pa.json_(pa.string())
_ELEMENTS = {
    Element.FLOAT32: pa.float32(),
    Element.FLOAT16: pa.float16(),
    Element.UINT8: pa.uint8(),
    Element.INT8: pa.int8(),
}
_PREFIX = {VectorKind.DENSE: "vector", VectorKind.SPARSE: "sparse", VectorKind.MULTI: "multi", VectorKind.BITS: "bits"}
_MEND = "Mend these records in the source, or take them out."
_LONG = 256
"""Bytes of a value from which on a copy is quicker by Python, whose memory is used again, than by Arrow."""
SPARSE = pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])


def column(vector: VectorSpec) -> str:
    """The name of a vector's column."""
    prefix = _PREFIX[vector.kind]
    return f"{prefix}.{vector.name}" if vector.name else prefix


def vector_type(vector: VectorSpec) -> pa.DataType:
    """The Arrow type of a vector's column. A dimension that is not known yet counts as 0."""
    dim = vector.dim or 0
    if vector.kind is VectorKind.SPARSE:
        return SPARSE
    if vector.kind is VectorKind.BITS:
        return pa.binary((dim + 7) // 8)
    dense = pa.list_(_ELEMENTS[vector.element], dim)
    return dense if vector.kind is VectorKind.DENSE else pa.list_(dense)


def schema(spec: CollectionSpec) -> pa.Schema:
    """The canonical schema of `spec`'s batches."""
    fields = [pa.field("id", pa.string(), nullable=False)]
    if spec.id_kind is IdKind.MIXED:
        fields.append(pa.field("id_kind", pa.string(), nullable=False))
    fields.append(pa.field("seq", pa.int64()))
    fields += [pa.field(column(vector), vector_type(vector)) for vector in spec.vectors]
    fields += [pa.field("document", pa.large_string()), pa.field("uri", pa.large_string())]
    fields += [pa.field("metadata", JSON), pa.field("tags", JSON)]
    return pa.schema(fields)


def build(spec: CollectionSpec, columns: Mapping[str, Any]) -> pa.RecordBatch:
    """A canonical batch from columns by name; each is an Arrow array, a 2-d float array (dense), or a list.

    A column that is not given is all null. `metadata` and `tags` take canonical JSON as str or bytes.
    """
    wanted = schema(spec)
    rows = len(columns["id"])
    arrays = [
        as_array(columns[field.name], field.type) if columns.get(field.name) is not None else pa.nulls(rows, field.type)
        for field in wanted
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def as_array(values: Any, kind: pa.DataType) -> pa.Array:
    """`values` as an Arrow array of type `kind`, without a copy where the memory allows it."""
    if isinstance(values, pa.Array):
        return values if values.type == kind else values.cast(kind)
    if isinstance(values, np.ndarray) and pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    if kind == JSON:
        return pa.ExtensionArray.from_storage(JSON, pa.array(values, pa.string()))
    return pa.array(values, kind)


def empty(spec: CollectionSpec) -> pa.RecordBatch:
    """A canonical batch without rows."""
    return build(spec, {"id": []})


def dense(batch: pa.RecordBatch, vector: VectorSpec) -> NDArray[Any]:
    """The values of a dense column, shape (rows, dim), zero-copy; the rows of null vectors hold anything."""
    array = batch.column(column(vector))
    dim, dtype = array.type.list_size, np.dtype(array.type.value_type.to_pandas_dtype())
    flat = array.values  # its buffer is read as it is: the children of a null cell may be null themselves
    start = (flat.offset + array.offset * dim) * dtype.itemsize
    values: NDArray[Any] = np.frombuffer(flat.buffers()[1] or b"", dtype, len(array) * dim, start)
    return values.reshape(len(array), dim)


def present(batch: pa.RecordBatch, vector: VectorSpec) -> NDArray[np.bool_]:
    """Which records have this vector, shape (rows,)."""
    mask: NDArray[np.bool_] = batch.column(column(vector)).is_valid().to_numpy(zero_copy_only=False)
    return mask


def utf8(batch: pa.RecordBatch, name: str) -> list[bytes | None]:
    """A text or JSON column as UTF-8 bytes per record."""
    array = batch.column(name)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    wide = pa.types.is_large_string(array.type)
    raw: list[bytes | None] = array.cast(pa.large_binary() if wide else pa.binary()).to_pylist()
    return raw


def cut(data: bytes | bytearray, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> pa.LargeBinaryArray:
    """The bytes of `data` from each of `starts` to its end, copied; each begins behind the one before."""
    rows = len(starts)
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum(ends - starts, out=offsets[1:])
    if offsets[-1] >= _LONG * rows:
        view = memoryview(data)
        joined = bytearray().join([view[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
        return pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(joined)]
        )
    # To Arrow the data are a column of bytes, of which every other value is what lies between two of ours.
    places = np.empty(2 * rows, np.int64)
    places[::2], places[1::2] = starts, ends
    buffers = [None, pa.py_buffer(places), pa.py_buffer(data)]
    whole = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 2 * rows - 1, buffers)
    return whole.take(pa.array(np.arange(0, 2 * rows, 2)))


def id_kinds(batch: pa.RecordBatch, spec: CollectionSpec) -> list[IdKind]:
    """The kind of each record's id."""
    if spec.id_kind is not IdKind.MIXED:
        return [spec.id_kind] * batch.num_rows
    return [IdKind(kind) for kind in batch.column("id_kind").to_pylist()]


def split(batch: pa.RecordBatch, *, max_rows: int, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Slices of `batch`, in order, each of at most `max_rows` rows and about `max_bytes` bytes, never empty.

    Sizes are estimated from the mean row of each slice and halved until they fit; one row may exceed the limit.
    """
    if batch.num_rows > max_rows:
        for start in range(0, batch.num_rows, max_rows):
            yield from split(batch.slice(start, max_rows), max_rows=max_rows, max_bytes=max_bytes)
    elif batch.num_rows > 1 and batch.nbytes > max_bytes:
        half = batch.num_rows // 2
        for part in (batch.slice(0, half), batch.slice(half)):
            yield from split(part, max_rows=max_rows, max_bytes=max_bytes)
    elif batch.num_rows:
        yield batch


def validate(batch: pa.RecordBatch, spec: CollectionSpec) -> None:
    """Check that `batch` is a canonical batch of `spec`.

    Raises:
        DataError: another schema; an id that is null or empty; a vector that holds null, NaN or infinity; sparse
            indices that do not rise, or are not as many as their values.
    """
    wanted = schema(spec)
    if not batch.schema.equals(wanted):
        raise DataError(
            f"The batch has the schema\n{batch.schema}\nwhere {spec.name} has\n{wanted}",
            hint="Build batches with `vecferry.arrow.build`, from the spec that they are for.",
        )
    if batch.column("id").null_count or any(not text for text in batch.column("id").to_pylist()):
        raise DataError(f"A record of {spec.name} has no id.", hint="Give every record of the source an id.")
    for vector in spec.vectors:
        _VALIDATE[vector.kind](batch, vector)


def _validate_dense(batch: pa.RecordBatch, vector: VectorSpec) -> None:
    array = batch.column(column(vector))
    if array.values.null_count:  # the slots of null vectors may hold nulls; `flatten` leaves them out
        _refuse_nulls(array.flatten(), vector)
    if vector.element in _FLOATS:
        finite = np.isfinite(dense(batch, vector)).all(axis=1)
        _refuse(batch, ~finite & present(batch, vector), "vectors hold NaN or infinity")


def _validate_sparse(batch: pa.RecordBatch, vector: VectorSpec) -> None:
    indices, values = batch.column(column(vector)).flatten()
    lengths = [pc.list_value_length(part).fill_null(0).to_numpy(zero_copy_only=False) for part in (indices, values)]
    _refuse(batch, lengths[0] != lengths[1], "sparse vectors have other numbers of indices than of values")
    flat = [part.flatten() for part in (indices, values)]
    for part in flat:
        _refuse_nulls(part, vector)
    rows = np.repeat(np.arange(batch.num_rows), lengths[0])
    rising = np.diff(flat[0].to_numpy().astype(np.int64)) > 0
    falling = rows[1:][~rising & (rows[1:] == rows[:-1])]
    _refuse(batch, _rows(falling, batch), "sparse vectors have indices that do not rise")
    _refuse(batch, _rows(rows[~np.isfinite(flat[1].to_numpy())], batch), "sparse vectors hold NaN or infinity")


def _validate_multi(batch: pa.RecordBatch, vector: VectorSpec) -> None:
    array = batch.column(column(vector))
    inner = array.flatten()
    flat = inner.flatten()
    if inner.null_count or flat.null_count:
        raise DataError(f"A multi-vector '{vector.name}' holds null.", hint=_MEND)
    if vector.element in _FLOATS:
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        rows = np.repeat(np.arange(batch.num_rows), lengths * (vector.dim or 0))
        bad = rows[~np.isfinite(flat.to_numpy(zero_copy_only=False))]
        _refuse(batch, _rows(bad, batch), "multi-vectors hold NaN or infinity")


def _validate_bits(_: pa.RecordBatch, __: VectorSpec) -> None:
    """Their type says it all."""


_FLOATS = (Element.FLOAT32, Element.FLOAT16)
_VALIDATE = {
    VectorKind.DENSE: _validate_dense,
    VectorKind.SPARSE: _validate_sparse,
    VectorKind.MULTI: _validate_multi,
    VectorKind.BITS: _validate_bits,
}


def _rows(numbers: NDArray[np.int64], batch: pa.RecordBatch) -> NDArray[np.bool_]:
    mask = np.zeros(batch.num_rows, np.bool_)
    mask[numbers] = True
    return mask


def _refuse(batch: pa.RecordBatch, bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        ids = [batch.column("id")[int(row)].as_py() for row in np.flatnonzero(bad)[:5]]
        raise DataError(f"{int(bad.sum())} {problem}.", ids=ids, hint=_MEND)


def _refuse_nulls(array: pa.Array, vector: VectorSpec) -> None:
    if array.null_count:
        raise DataError(f"A vector '{vector.name}' holds null.", hint=_MEND)


# --------------------------------------------------------------------------- records, for small numbers of them


def from_records(spec: CollectionSpec, records: Sequence[Record]) -> pa.RecordBatch:
    """A canonical batch of Python records."""
    packed = [pack(record.metadata) if record.metadata is not None else (None, None) for record in records]
    columns: dict[str, Any] = {
        "id": [record.id for record in records],
        "id_kind": [record.id_kind for record in records],
        "seq": [record.seq for record in records],
        "document": [record.document for record in records],
        "uri": [record.uri for record in records],
        "metadata": [text.decode() if text is not None else None for text, _ in packed],
        "tags": [tags.decode() if tags is not None else None for _, tags in packed],
    }
    for vector in spec.vectors:
        columns[column(vector)] = [_to_arrow(record.vectors.get(vector.name)) for record in records]
    return build(spec, columns)


def _to_arrow(value: Any) -> Any:
    if isinstance(value, tuple):
        return {"indices": value[0], "values": value[1]}
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return list(value)
    return value


def to_records(batch: pa.RecordBatch, spec: CollectionSpec) -> list[Record]:
    """The records of a canonical batch as Python values."""
    metadata, tags = utf8(batch, "metadata"), utf8(batch, "tags")
    vectors = {vector.name: _from_arrow(batch.column(column(vector)), vector) for vector in spec.vectors}
    return [
        Record(
            id=batch.column("id")[row].as_py(),
            id_kind=kind,
            seq=batch.column("seq")[row].as_py(),
            vectors={name: values[row] for name, values in vectors.items()},
            document=batch.column("document")[row].as_py(),
            uri=batch.column("uri")[row].as_py(),
            metadata=None if (text := metadata[row]) is None else unpack(text, tags[row]),
        )
        for row, kind in enumerate(id_kinds(batch, spec))
    ]


def _from_arrow(array: pa.Array, vector: VectorSpec) -> list[Any]:
    dtype = np.dtype(vector.element.value)
    if vector.kind is VectorKind.BITS:
        return list(array.to_pylist())
    if vector.kind is VectorKind.SPARSE:
        return [
            None if cell is None else (np.array(cell["indices"], np.uint32), np.array(cell["values"], np.float32))
            for cell in array.to_pylist()
        ]
    shape = (-1, vector.dim or 0) if vector.kind is VectorKind.MULTI and vector.dim else (-1,)
    return [None if cell is None else np.array(cell, dtype).reshape(shape) for cell in array.to_pylist()]
