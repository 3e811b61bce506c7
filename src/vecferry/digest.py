"""The canonical record and its keyed digest: one byte string per record, the same whatever store it came from. Pure.

    H = BLAKE2b-256(key, TLV(version, context, id kind, id, vectors, document, uri, metadata, tags))

TLV: a one-byte type, a four-byte little-endian length, the bytes; a null has the type alone, with length 0xFFFFFFFF.
Vectors stand in the order of their names, each as its name, its class (kind, element, dim) and its little-endian
bytes. Metadata and tags are canonical JSON already (`vecferry.tags`). `seq` is not part of it: order is checked apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import column, dense, id_kinds, present, utf8
from vecferry.ids import kind_of
from vecferry.model import CollectionSpec, VectorKind, VectorSpec

VERSION = b"\x01"
WIDTH = 32
"""Bytes of a digest."""
_NULL = b"\xff\xff\xff\xff"


def tlv(kind: bytes, value: bytes | None) -> bytes:
    """One field: type, length, bytes."""
    return kind + _NULL if value is None else kind + len(value).to_bytes(4, "little") + value


def digests(batch: pa.RecordBatch, spec: CollectionSpec, *, key: bytes, context: bytes = b"") -> NDArray[np.uint8]:
    """The digest of each record, shape (rows, 32).

    `key` (at most 64 bytes) keeps digests of one migration from being compared with another's; `context` is a text
    that both sides share, such as the tenant.
    """
    seed = hashlib.blake2b(tlv(b"\x00", VERSION) + tlv(b"\x01", context), digest_size=WIDTH, key=key)
    out = bytearray()
    for parts in _fields(batch, spec):
        h = seed.copy()
        h.update(b"".join(parts))
        out += h.digest()
    return np.frombuffer(out, np.uint8).reshape(batch.num_rows, WIDTH)


def id_digests(batch: pa.RecordBatch, spec: CollectionSpec, *, key: bytes) -> NDArray[np.uint8]:
    """A 16-byte digest of each record's id and kind, shape (rows, 16)."""
    out = bytearray()
    for fields in _id_fields(batch, spec):
        out += hashlib.blake2b(fields, digest_size=16, key=key).digest()
    return np.frombuffer(out, np.uint8).reshape(batch.num_rows, 16)


def _id_fields(batch: pa.RecordBatch, spec: CollectionSpec) -> Iterator[bytes]:
    for kind, text in zip(id_kinds(batch, spec), utf8(batch, "id"), strict=True):
        raw = text or b""
        yield tlv(b"\x02", kind_of(kind, raw).encode()) + tlv(b"\x03", raw)


def _fields(batch: pa.RecordBatch, spec: CollectionSpec) -> Iterator[tuple[bytes, ...]]:
    vectors = [list(_vector(batch, vector)) for vector in sorted(spec.vectors, key=lambda v: v.name)]
    texts = [
        [tlv(kind, value) for value in utf8(batch, name)]
        for kind, name in ((b"\x05", "document"), (b"\x06", "uri"), (b"\x07", "metadata"), (b"\x08", "tags"))
    ]
    return zip(_id_fields(batch, spec), *vectors, *texts, strict=True)


def _vector(batch: pa.RecordBatch, vector: VectorSpec) -> Iterator[bytes]:
    """The vector field of each record."""
    head = tlv(b"\x09", vector.name.encode()) + tlv(
        b"\x0a", f"{vector.kind}:{vector.element}:{vector.dim or 0}".encode()
    )
    null = head + tlv(b"\x0b", None)
    if vector.kind is not VectorKind.DENSE:
        for cell in batch.column(column(vector)).to_pylist():
            yield null if cell is None else head + tlv(b"\x0b", _cell(cell, vector))
        return
    values = dense(batch, vector)
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    width = values.shape[1] * values.itemsize
    raw, head = values.tobytes(), head + b"\x0b" + width.to_bytes(4, "little")
    for row, there in enumerate(present(batch, vector)):
        yield head + raw[row * width : (row + 1) * width] if there else null


def _cell(cell: Any, vector: VectorSpec) -> bytes:
    if vector.kind is VectorKind.BITS:
        return bytes(cell)
    if vector.kind is VectorKind.SPARSE:
        return np.asarray(cell["indices"], "<u4").tobytes() + np.asarray(cell["values"], "<f4").tobytes()
    return np.asarray(cell, np.dtype(vector.element.value).newbyteorder("<")).tobytes()
