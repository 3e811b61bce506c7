"""The canonical record and its keyed digest: one byte string per record, the same whatever store it came from. Pure.

    H = BLAKE2b-256(key, TLV(version, context, id kind, id, vectors, document, uri, metadata, tags))

TLV: a one-byte type, a four-byte little-endian length, the bytes; a null has the type alone, with length 0xFFFFFFFF.
Vectors stand in the order of their names, each as its name, its class (kind, element, dim) and its little-endian
bytes. Metadata and tags are canonical JSON already (`vecferry.tags`). `seq` is not part of it: order is checked apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from vecferry.arrow import column, dense, id_kinds, present, utf8
from vecferry.ids import kind_of
from vecferry.model import CollectionSpec, IdKind, VectorKind, VectorSpec

VERSION = b"\x01"
WIDTH = 32
"""Bytes of a digest."""
_NULL = b"\xff\xff\xff\xff"
Part = bytes | memoryview


def tlv(kind: bytes, value: bytes | None) -> bytes:
    """One field: type, length, bytes."""
    return kind + _NULL if value is None else kind + len(value).to_bytes(4, "little") + value


_KINDS = {kind: tlv(b"\x02", kind.encode()) + b"\x03" for kind in IdKind}
_UUID_LENGTH = 36


def digests(batch: pa.RecordBatch, spec: CollectionSpec, *, key: bytes, context: bytes = b"") -> NDArray[np.uint8]:
    """The digest of each record, shape (rows, 32).

    `key` (at most 64 bytes) keeps digests of one migration from being compared with another's; `context` is a text
    that both sides share, such as the tenant.
    """
    return _hash(_fields(batch, spec, _id_fields(batch, spec)), key=key, context=context)


def fingerprints(
    batch: pa.RecordBatch, spec: CollectionSpec, *, seed: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Each record's id and kind, and the record whole, as XXH3-128 under `seed`; each of shape (rows, 2).

    For comparing two readings with each other, under a random seed below 2**64 that nobody knows beforehand
    (docs/adr/0011): a twentieth of the time of `digests`. What is stored, or must withstand intent, takes `digests`.
    """
    ids = _id_fields(batch, spec)
    return _xxh3(ids, seed), _xxh3(map(b"".join, _fields(batch, spec, ids)), seed)


def _xxh3(texts: Iterable[bytes], seed: int) -> NDArray[np.uint64]:
    xxh3 = xxhash.xxh3_128_digest
    return np.frombuffer(b"".join([xxh3(text, seed) for text in texts]), np.uint64).reshape(-1, 2)


def _hash(records: Iterable[Sequence[Part]], *, key: bytes, context: bytes) -> NDArray[np.uint8]:
    # A new object each, not a copy of a prepared one: that takes a lock for long texts, and half as long again.
    start = tlv(b"\x00", VERSION) + tlv(b"\x01", context)
    blake2b, join = hashlib.blake2b, b"".join
    found = [blake2b(join((start, *parts)), digest_size=WIDTH, key=key).digest() for parts in records]
    return np.frombuffer(join(found), np.uint8).reshape(-1, WIDTH)


def _id_fields(batch: pa.RecordBatch, spec: CollectionSpec) -> list[bytes]:
    """Kind and text of each record's id."""
    texts = [text or b"" for text in utf8(batch, "id")]
    if spec.id_kind is not IdKind.MIXED and spec.id_kind is not IdKind.TEXT:
        head = _KINDS[spec.id_kind]
        return [head + len(text).to_bytes(4, "little") + text for text in texts]
    pairs = zip(id_kinds(batch, spec), texts, strict=True)
    return [_KINDS[_kind(kind, text)] + len(text).to_bytes(4, "little") + text for kind, text in pairs]


def _kind(kind: IdKind, text: bytes) -> IdKind:
    """`kind_of`, asked only for texts that are as long as a UUID."""
    return kind if len(text) != _UUID_LENGTH else kind_of(kind, text)


def _fields(batch: pa.RecordBatch, spec: CollectionSpec, ids: Iterable[bytes]) -> Iterator[tuple[Part, ...]]:
    vectors = [column for vector in sorted(spec.vectors, key=lambda v: v.name) for column in _vector(batch, vector)]
    texts = [
        _texts(batch, kind, name)
        for kind, name in ((b"\x05", "document"), (b"\x06", "uri"), (b"\x07", "metadata"), (b"\x08", "tags"))
    ]
    return zip(ids, *vectors, *texts, strict=True)


def _texts(batch: pa.RecordBatch, kind: bytes, name: str) -> Iterable[bytes]:
    """The field of each record of a text column."""
    null = tlv(kind, None)
    if batch.column(name).null_count == batch.num_rows:
        return [null] * batch.num_rows
    values = utf8(batch, name)
    return [null if value is None else kind + len(value).to_bytes(4, "little") + value for value in values]


def _vector(batch: pa.RecordBatch, vector: VectorSpec) -> tuple[Iterable[bytes], Iterable[Part]]:
    """The vector field of each record, in two parts: what stands before its numbers, and those."""
    head = tlv(b"\x09", vector.name.encode()) + tlv(
        b"\x0a", f"{vector.kind}:{vector.element}:{vector.dim or 0}".encode()
    )
    null = head + tlv(b"\x0b", None)
    if vector.kind is not VectorKind.DENSE:
        cells = batch.column(column(vector)).to_pylist()
        fields = [null if cell is None else head + tlv(b"\x0b", _cell(cell, vector)) for cell in cells]
        return fields, repeat(b"", len(fields))
    values = dense(batch, vector)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    width = values.shape[1] * values.itemsize
    head += b"\x0b" + width.to_bytes(4, "little")
    raw = values.reshape(-1).view(np.uint8).data if width else memoryview(b"")
    starts = range(0, len(raw), width) if width else [0] * batch.num_rows
    if batch.column(column(vector)).null_count == 0:
        return repeat(head, batch.num_rows), [raw[start : start + width] for start in starts]
    there = present(batch, vector).tolist()
    parts = [raw[start : start + width] if one else b"" for start, one in zip(starts, there, strict=True)]
    return [head if one else null for one in there], parts


def _cell(cell: Any, vector: VectorSpec) -> bytes:
    if vector.kind is VectorKind.BITS:
        return bytes(cell)
    if vector.kind is VectorKind.SPARSE:
        return np.asarray(cell["indices"], "<u4").tobytes() + np.asarray(cell["values"], "<f4").tobytes()
    return np.asarray(cell, np.dtype(vector.element.value).newbyteorder("<")).tobytes()
