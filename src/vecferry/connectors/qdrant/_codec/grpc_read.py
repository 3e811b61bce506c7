"""Qdrant's `ScrollResponse` and `GetResponse`, from bytes to columns. Pure.

Vectors come in three layouts: up to 1.16 as the unpacked, deprecated `VectorOutput.data` (a tag byte before each
float), in between packed, and from 1.17 as `dense { data packed }`. Each is read by numpy in one go for a whole page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec import wire
from vecferry.connectors.qdrant._codec.cells import Cells
from vecferry.connectors.qdrant._codec.values import EntryReader
from vecferry.connectors.qdrant._codec.wire import fields, read_varint, unpack_varints
from vecferry.model import VectorKind, VectorSpec

Span = tuple[int, int]
_TAGGED_FLOAT = np.dtype([("tag", "u1"), ("value", "<f4")])
PART_ROWS = 128
"""Points decoded at a time: what becomes of them stays in the CPU's cache until it is digested or sent."""
_BLOCK = 64
"""Vectors gathered at a time, to stay in the CPU's cache."""


@dataclass(slots=True)
class Page:
    """Points as they came, vectors still as places in `data`.

    Attributes:
        ids: point ids as text.
        payloads: Python objects, fresh.
        spans: per point: vector name -> where its `VectorOutput` stands.
        wide: indices of points with a double in [2**63, 2**64], which may have been an unsigned integer.
    """

    data: bytes
    ids: list[str] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Span]] = field(default_factory=list)
    wide: list[int] = field(default_factory=list)


def next_id(data: bytes) -> str | None:
    """The first point behind a page, read from the front of a `ScrollResponse`; None at the end."""
    return _point_id(data, 2, 2 + data[1]) if data[:1] == b"\x0a" else None


def page(data: bytes, reader: EntryReader, *, result: int = 2) -> Page:
    """All points of a `ScrollResponse` (field `result` = 2) or a `GetResponse` (1)."""
    return part(data, 0, reader, result=result, rows=len(data))[0]


def part(data: bytes, at: int, reader: EntryReader, *, result: int = 2, rows: int = PART_ROWS) -> tuple[Page, int]:
    """(the next points of an answer from byte `at` on, at most `rows`; the byte behind them)."""
    out = Page(data)
    for number, start, end in fields(data, at, len(data)):
        if number == result:
            _point(out, start, end, reader)
            if len(out.ids) == rows:
                return out, end
    return out, len(data)


def _point_id(data: bytes, at: int, end: int) -> str:
    if at == end:
        return "0"
    return data[at + 2 : end].decode() if data[at] == 0x12 else str(read_varint(data, at + 1)[0])


def _point(out: Page, at: int, end: int, reader: EntryReader) -> None:
    """One `RetrievedPoint`: id, payload entries, vectors. The loop that every record goes through."""
    data, pair = out.data, reader.pair
    pairs = []
    spans: dict[str, Span] = {}
    wide = reader.wide
    while at < end:
        tag = data[at]
        size = data[at + 1]
        at += 2
        if size > 127:
            size, at = read_varint(data, at - 1)
        if tag == 0x12:
            pairs.append(pair(data[at : at + size]))
        elif tag == 0x0A:
            out.ids.append(_point_id(data, at, at + size))
        elif tag == 0x22:
            spans = _spans(data, at, at + size)
        at += size
    if reader.wide > wide:
        out.wide.append(len(out.payloads))
    out.payloads.append(dict(pairs))
    out.spans.append(spans)


def _spans(data: bytes, at: int, end: int) -> dict[str, Span]:
    """Where each vector of one point stands: `VectorsOutput { vector | vectors { name -> VectorOutput } }`."""
    if at == end:
        return {}
    size, start = read_varint(data, at + 1)
    if data[at] == 0x0A:
        return {"": (start, start + size)}
    found = {}
    for _, entry_start, entry_end in fields(data, start, start + size):
        name, span = "", (entry_end, entry_end)
        for number, inner, inner_end in fields(data, entry_start, entry_end):
            if number == 1:
                name = data[inner:inner_end].decode()
            else:
                span = inner, inner_end
        found[name] = span
    return found


def cells(data: bytes, spans: Sequence[dict[str, Span]], vector: VectorSpec) -> Cells:
    """One vector of every point of a page, float32."""
    places = [names.get(vector.name) for names in spans]
    present = np.array([place is not None for place in places], bool)
    if vector.kind is VectorKind.DENSE:
        values = _dense(data, [place for place in places if place is not None], vector.dim or 0)
        if len(values) < len(places):
            spread = np.zeros((len(places), vector.dim or 0), np.float32)
            spread[present] = values
            values = spread
        return Cells(vector.name, vector.kind, values, present)
    read = _multi if vector.kind is VectorKind.MULTI else _sparse
    return read(data, places, vector, present)


def _dense(data: bytes, places: list[Span], dim: int) -> NDArray[np.float32]:
    """Dense vectors, shape (places, dim). One layout for all (the rule) is read by two numpy calls a block."""
    width = 5 * dim
    values = np.empty((len(places), dim), np.float32)
    if all(end - start == width and data[start] == 0x0D for start, end in places):
        for first in range(0, len(places), _BLOCK):
            joined = b"".join([data[start:end] for start, end in places[first : first + _BLOCK]])
            values[first : first + _BLOCK] = np.frombuffer(joined, _TAGGED_FLOAT)["value"].reshape(-1, dim)
    else:
        for row, (start, end) in enumerate(places):
            values[row] = _floats(data, start, end)
    return values


def _floats(data: bytes, start: int, end: int) -> NDArray[np.float32]:
    """The floats of one `VectorOutput` (or `DenseVector`) in any layout."""
    if end > start and data[start] == 0x0D:
        count = 0
        while start + 5 * count < end and data[start + 5 * count] == 0x0D:
            count += (end - start) // 5 if _all_tagged(data, start, end) else 1
        raw = np.frombuffer(data, _TAGGED_FLOAT, count, start)
        return raw["value"].astype(np.float32)
    for number, at, stop in fields(data, start, end):
        if number == 1:
            return np.frombuffer(data, "<f4", (stop - at) // 4, at).astype(np.float32)
        if number == 101:
            return _floats(data, at, stop)
    return np.empty(0, np.float32)


def _all_tagged(data: bytes, start: int, end: int) -> bool:
    return (end - start) % 5 == 0 and data[start:end:5].count(0x0D) == (end - start) // 5


def _multi(data: bytes, places: Sequence[Span | None], vector: VectorSpec, present: NDArray[np.bool_]) -> Cells:
    dim = vector.dim or 1
    rows = [
        np.empty((0, dim), np.float32) if place is None else _rows(data, *place).reshape(-1, dim) for place in places
    ]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    values = np.concatenate(rows) if rows else np.empty((0, dim), np.float32)
    return Cells(vector.name, vector.kind, values, present, offsets)


def _rows(data: bytes, start: int, end: int) -> NDArray[np.float32]:
    """All floats of one multi-vector, row behind row."""
    for number, at, stop in fields(data, start, end):
        if number == 103:
            parts = [_floats(data, inner, inner_end) for _, inner, inner_end in fields(data, at, stop)]
            return np.concatenate(parts) if parts else np.empty(0, np.float32)
    return _floats(data, start, end)


def _sparse(data: bytes, places: Sequence[Span | None], vector: VectorSpec, present: NDArray[np.bool_]) -> Cells:
    pairs = [(_NO_NUMBERS, _NO_WEIGHTS) if place is None else _sparse_pair(data, *place) for place in places]
    offsets = np.concatenate([[0], np.cumsum([len(weights) for _, weights in pairs])]).astype(np.int64)
    indices = np.concatenate([_NO_NUMBERS, *(numbers for numbers, _ in pairs)])
    values = np.concatenate([_NO_WEIGHTS, *(weights for _, weights in pairs)])
    return Cells(vector.name, vector.kind, values, present, offsets, indices)


_NO_NUMBERS, _NO_WEIGHTS = np.empty(0, np.uint32), np.empty(0, np.float32)


def _sparse_pair(data: bytes, start: int, end: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """(indices, values): `sparse { values, indices }` since 1.17, before that `data` and `indices { data }`."""
    numbers, weights = _NO_NUMBERS, _NO_WEIGHTS
    for number, at, stop in fields(data, start, end):
        if number == 102:
            parts = {inner: data[a:b] for inner, a, b in fields(data, at, stop)}
            return unpack_varints(parts.get(2, b"")), np.frombuffer(parts.get(1, b""), "<f4").astype(np.float32)
        if number == 2:
            parts = {inner: data[a:b] for inner, a, b in fields(data, at, stop)}
            numbers = unpack_varints(parts.get(1, b""))
        elif number == 1 and not len(weights):
            weights = _sparse_weights(data, start, end)
    return numbers, weights


def _sparse_weights(data: bytes, start: int, end: int) -> NDArray[np.float32]:
    spans = [(at, stop) for number, at, stop in fields(data, start, end) if number == 1]
    return np.frombuffer(b"".join([data[at:stop] for at, stop in spans]), "<f4").astype(np.float32)


# --------------------------------------------------------------------------- requests


def point_id(point: str) -> bytes:
    """A `PointId` message."""
    return wire.field(2, point.encode()) if len(point) == 36 else b"\x08" + wire.varint(int(point))


def shard_selector(number: int, key: str | int | None) -> bytes:
    """The field `number`, a `ShardKeySelector` of one key; nothing without a key."""
    if key is None:
        return b""
    told = wire.field(1, key.encode()) if isinstance(key, str) else b"\x10" + wire.varint(key)
    return wire.field(number, wire.field(1, told))


def scroll(
    collection: str, *, start: str | None, limit: int, vectors: Sequence[str], shard: str | int | None = None
) -> bytes:
    """A `ScrollPoints` message: payload whole, the vectors named."""
    parts = [wire.field(1, collection.encode())]
    if start is not None:
        parts.append(wire.field(3, point_id(start)))
    parts += [b"\x20", wire.varint(limit), _WITH_PAYLOAD, _with_vectors(7, vectors), shard_selector(9, shard)]
    return b"".join(parts)


def get(collection: str, points: Sequence[str], *, vectors: Sequence[str], shard: str | int | None = None) -> bytes:
    """A `GetPoints` message: payload whole, the vectors named."""
    ids = [wire.field(2, point_id(point)) for point in points]
    tail = (b"\x22\x02\x08\x01", _with_vectors(5, vectors), shard_selector(7, shard))
    return b"".join((wire.field(1, collection.encode()), *ids, *tail))


_WITH_PAYLOAD = b"\x32\x02\x08\x01"


def _with_vectors(number: int, names: Sequence[str]) -> bytes:
    if not names:
        return wire.field(number, b"\x08\x00")
    return wire.field(number, wire.field(2, b"".join([wire.field(1, name.encode()) for name in names])))
