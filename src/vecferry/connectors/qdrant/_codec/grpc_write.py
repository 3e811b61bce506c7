"""A batch as the bytes of Qdrant's `UpsertPoints`, put together straight from column buffers. Pure.

Payloads are built column by column (each column becomes a list of ready fragments) and joined once per record; a
vector is never touched: one constant head, then its bytes as they lie in memory. Field numbers: Qdrant's
`points.proto` and `json_with_int.proto`, unchanged from 1.7 to 1.19.
docs/reference and benchmarks/qdrant_ceiling.py say where each microsecond goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec.cells import Cells
from vecferry.connectors.qdrant._codec.form import Form, Rows
from vecferry.connectors.qdrant._codec.grpc_read import shard_selector
from vecferry.connectors.qdrant._codec.values import (
    PAYLOAD_ENTRY,
    STRUCT_ENTRY,
    all_entries,
    entries,
    entry,
    integer_entries,
    number_entries,
    object_entries,
    text_entries,
)
from vecferry.connectors.qdrant._codec.wire import field, head, packed_varints, varint
from vecferry.layouts import ENVELOPE
from vecferry.model import VectorKind

# UpsertPoints
_COLLECTION, _WAIT, _POINTS, _SHARD = 1, 2, 3, 5
# PointStruct; Vectors; Vector; DenseVector, SparseVector, MultiDenseVector
_VECTORS = 4
_ONE, _NAMED = 1, 2
_DENSE, _SPARSE, _MULTI = 101, 102, 103
_UUID_HEAD = b"\x0a\x26\x12\x24"
"""PointStruct.id (38 bytes) { PointId.uuid (36 bytes) }"""


Point = tuple[bytes, bytes | memoryview]
"""One record as the repeated field `points` of `UpsertPoints`, in two parts: all but the vector's floats, and those."""


def upsert(collection: str, points: Sequence[Point], shard: str | int | None = None) -> bytes:
    """The whole message; the server answers when the points are durable and visible. The one copy of every vector."""
    head = field(_COLLECTION, collection.encode()) + b"\x10\x01" + shard_selector(_SHARD, shard)
    return b"".join((head, *chain.from_iterable(points)))


def points(rows: Rows, form: Form) -> list[Point]:
    """Each record as a point.

    Raises:
        Unsayable: a value that gRPC cannot carry; REST can.
    """
    bodies = zip(_ids(rows.ids), _payloads(rows, form), _vectors(rows), strict=True)
    out: list[Point] = []
    for point_id, payload, (vector_head, vector) in bodies:
        size = len(point_id) + len(payload) + len(vector_head) + len(vector)
        out.append((b"".join((b"\x1a", varint(size), point_id, payload, vector_head)), vector))
    return out


def _ids(ids: list[bytes]) -> list[bytes]:
    return [_UUID_HEAD + point if len(point) == 36 else field(1, b"\x08" + varint(int(point))) for point in ids]


# --------------------------------------------------------------------------- payload


def _payloads(rows: Rows, form: Form) -> list[bytes]:
    layout, envelopes = form.layout, _envelopes(rows)
    columns = [text_entries(PAYLOAD_ENTRY, key, texts) for key, texts in rows.texts(layout)]
    if rows.lifted is not None:
        columns.append([b"" if values is None else entries(PAYLOAD_ENTRY, values) for values in rows.lifted])
    if layout.inner_envelope:
        columns.append(_metadata(rows, layout.metadata_key, object_entries(STRUCT_ENTRY, ENVELOPE, envelopes)))
    else:
        columns += [_metadata(rows, layout.metadata_key), object_entries(PAYLOAD_ENTRY, ENVELOPE, envelopes)]
    used = [column for column in columns if any(column)]
    return [b"".join(parts) for parts in zip(*used, strict=True)] if used else [b""] * len(rows.ids)


def _metadata(rows: Rows, key: str | None, inner: list[bytes] | None = None) -> list[bytes]:
    """The metadata as entries of the payload; `inner` are further entries of the object under `key`."""
    number, depth = (PAYLOAD_ENTRY, 0) if key is None else (STRUCT_ENTRY, 1)
    bodies = all_entries(number, rows.metadata, depth)
    if key is None:
        return [body or b"" for body in bodies]
    if inner is not None:
        bodies = [(body or b"") + more for body, more in zip(bodies, inner, strict=True)]
    return object_entries(PAYLOAD_ENTRY, key, bodies)


def _envelopes(rows: Rows) -> list[bytes | None]:
    if not rows.envelope:
        return [None] * len(rows.ids)
    columns = [_envelope_column(key, values) for key, values in rows.envelope.items()]
    return [b"".join(parts) or None for parts in zip(*columns, strict=True)]


def _envelope_column(key: str, values: list[Any]) -> list[bytes]:
    """One key of the envelope. Those that almost every record has are of one simple type and have short cuts."""
    column = _COLUMNS.get(frozenset(map(type, values)) - {type(None)})
    if column is not None:
        return column(STRUCT_ENTRY, key, values)
    return [b"" if value is None else entry(STRUCT_ENTRY, key, _text(value), 1) for value in values]


_COLUMNS: dict[frozenset[type], Callable[[int, str, list[Any]], list[bytes]]] = {
    frozenset({bytes}): text_entries,
    frozenset({float}): number_entries,
    frozenset({int}): integer_entries,
}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


# --------------------------------------------------------------------------- vectors


def _vectors(rows: Rows) -> list[tuple[bytes, bytes | memoryview]]:
    """`PointStruct.vectors` of each record, as (head, the rest)."""
    if len(rows.vectors) == 1 and not rows.vectors[0].name and rows.vectors[0].kind is VectorKind.DENSE:
        return _unnamed_dense(rows.vectors[0])
    columns = [_named(cells) for cells in rows.vectors]
    out: list[tuple[bytes, bytes | memoryview]] = []
    for parts in zip(*columns, strict=True) if columns else [()] * len(rows.ids):
        body = b"".join(parts)
        named = field(_NAMED, body)
        out.append((head(_VECTORS, len(named)), named))
    return out


def _unnamed_dense(cells: Cells) -> list[tuple[bytes, bytes | memoryview]]:
    """The common case: one constant head, and the vector's own memory."""
    raw, width = _raw(cells.values)
    start = _dense_head(width)
    start = head(_ONE, len(start) + width) + start
    start = head(_VECTORS, len(start) + width) + start
    without = field(_VECTORS, field(_NAMED, b"")), b""
    if cells.present.all():
        return [(start, raw[at : at + width]) for at in range(0, len(raw), width)]
    return [
        (start, raw[row * width : (row + 1) * width]) if there else without
        for row, there in enumerate(cells.present.tolist())
    ]


def _dense_head(width: int) -> bytes:
    """Vector.dense { DenseVector.data } before `width` bytes of floats."""
    start = head(1, width)
    return head(_DENSE, len(start) + width) + start


def _raw(values: NDArray[Any]) -> tuple[memoryview, int]:
    """(bytes of float32 values as they lie in memory, bytes per row)."""
    little = np.ascontiguousarray(values, "<f4")
    return memoryview(little.reshape(-1).data).cast("B"), values.shape[1] * 4


def _named(cells: Cells) -> list[bytes]:
    """One vector of each record as an entry of `NamedVectors.vectors`; no bytes where a record has none."""
    bodies = {VectorKind.DENSE: _dense, VectorKind.MULTI: _multi, VectorKind.SPARSE: _sparse}[cells.kind](cells)
    name = field(1, cells.name.encode())
    return [
        field(1, name + field(2, body)) if there else b""
        for body, there in zip(bodies, cells.present.tolist(), strict=True)
    ]


def _dense(cells: Cells) -> list[bytes]:
    raw, width = _raw(cells.values)
    start = _dense_head(width)
    return [start + raw[row * width : (row + 1) * width] for row in range(len(cells.values))]


def _multi(cells: Cells) -> list[bytes]:
    """MultiDenseVector { vectors: DenseVector { data } … }: each row of floats behind the same few bytes."""
    raw, width = _raw(cells.values)
    start = head(1, width)
    start = head(1, len(start) + width) + start
    rows = [start + raw[at : at + width] for at in range(0, len(raw), width)]
    return [field(_MULTI, b"".join(rows[cells.share(record)])) for record in range(len(cells.present))]


def _sparse(cells: Cells) -> list[bytes]:
    assert cells.offsets is not None
    assert cells.indices is not None
    weights = np.ascontiguousarray(cells.values, "<f4").tobytes()
    indices = packed_varints(cells.indices, cells.offsets)
    bounds = (cells.offsets * 4).tolist()
    return [
        field(_SPARSE, field(1, weights[bounds[record] : bounds[record + 1]]) + field(2, indices[record]))
        for record in range(len(cells.present))
    ]
