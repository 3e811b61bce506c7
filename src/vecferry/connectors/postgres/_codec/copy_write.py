"""Arrow columns as a stream of `COPY … FROM STDIN (FORMAT binary)`. Pure.

The stream is PostgreSQL's (its manual, COPY, "Binary Format"): a header, then per row a count of fields (int16) and
per field its length (int32, -1 for NULL) and its bytes, all big-endian, and a trailer. The bytes of a field are those
that the type's `recv` function takes; for pgvector's types: vector.c, halfvec.c and sparsevec.c.

Every encoder returns *cells*: Arrow arrays of type large_binary that stand behind one another in each row, the length
first. Joining all of them row by row is one call of Arrow's, so that no row and no component is touched in Python.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"

Cells = tuple[pa.LargeBinaryArray, ...]
"""Parts of one field of every row, in their order; each of shape (rows,), without nulls."""


def stream(fields: Sequence[Cells], rows: int) -> memoryview:
    """A whole COPY stream of `rows` rows, of which each has these fields."""
    if not rows:
        return memoryview(HEADER + TRAILER)
    count = len(fields).to_bytes(2, "big")
    first = _cells(HEADER + count * rows, [len(HEADER) + 2, *[2] * (rows - 1)])
    last = _cells(TRAILER, [*[0] * (rows - 1), len(TRAILER)])
    empty = pa.scalar(b"", pa.large_binary())
    return _bytes(pc.binary_join_element_wise(first, *(part for cells in fields for part in cells), last, empty))


# --------------------------------------------------------------------------- scalars


def text(array: pa.Array) -> Cells:
    """`text`, `varchar`, `json`, and with bytes `bytea`: the bytes as they are."""
    return _prefixed(array.cast(pa.large_binary()))


def jsonb(array: pa.Array) -> Cells:
    """`jsonb`: a version byte, 1, and the text."""
    raw = array.cast(pa.large_binary())
    if not raw.null_count:
        head = np.empty(len(raw), [("length", ">i4"), ("version", "u1")])
        head["length"], head["version"] = pc.binary_length(raw).to_numpy(zero_copy_only=False) + 1, 1
        return _strings(head), raw
    version = pa.scalar(b"\x01", pa.large_binary())
    return _prefixed(pc.binary_join_element_wise(version, raw, pa.scalar(b"", pa.large_binary())))


def uuid(array: pa.Array) -> Cells:
    """`uuid`, from its canonical text: 16 bytes."""
    digits = pc.replace_substring(array.drop_null(), "-", "").cast(pa.large_binary())
    raw = np.frombuffer(binascii.unhexlify(_bytes(digits)), "V16")
    return _fixed(_spread(raw, array), array)


def number(array: pa.Array, dtype: str) -> Cells:
    """Integers, floats and `bool`, from an Arrow array of numbers; `dtype` is numpy's for the wire."""
    values = array.drop_null().to_numpy(zero_copy_only=False).astype(dtype)
    return _fixed(_spread(values, array), array)


def bigint(array: pa.Array) -> Cells:
    """`int8`, from decimal text in [-2**63, 2**64): what is past 2**63 is kept as its two's complement.

    Raises:
        pa.ArrowInvalid: no such number.
    """
    negative = pc.starts_with(array, "-").fill_null(False)
    zeros = pa.scalar("0")
    below = pc.if_else(negative, array, zeros).cast(pa.int64()).to_numpy(zero_copy_only=False)
    above = pc.if_else(negative, zeros, array.fill_null("0")).cast(pa.uint64()).to_numpy(zero_copy_only=False)
    return _fixed((below + above.view(np.int64)).astype(">i8"), array)


# --------------------------------------------------------------------------- vectors


def dense(values: NDArray[Any], present: NDArray[np.bool_], dtype: str) -> Cells:
    """`vector` (dtype ">f4") and `halfvec` (">f2"), of values of shape (rows, dim): int16 dim, int16 0, the numbers."""
    rows, dim = values.shape
    width = dim * np.dtype(dtype).itemsize
    if present.all() and width:
        head = (4 + width).to_bytes(4, "big") + dim.to_bytes(2, "big") + bytes(2)
        return _constant(head, rows), _strings(values.astype(dtype).view(f"V{width}").reshape(-1))
    made = np.empty(rows, [("dim", ">i2"), ("unused", ">i2"), ("values", dtype, (dim,))])
    made["dim"], made["unused"], made["values"] = dim, 0, values
    return _fixed(made, present)


def bits(values: NDArray[np.uint8], present: NDArray[np.bool_], length: int) -> Cells:
    """`bit(length)`, from bytes of shape (rows, ceil(length / 8)), the most significant bit first: int32 length, bytes.

    Bits behind the last are set to 0, as PostgreSQL wants them.
    """
    rows, width = values.shape
    made = np.empty(rows, [("length", ">i4"), ("values", "u1", (width,))])
    made["length"], made["values"] = length, values
    if length % 8:
        made["values"][:, -1] &= (0xFF << (8 - length % 8)) & 0xFF
    return _fixed(made, present)


def sparse(
    indices: NDArray[np.uint32],
    values: NDArray[np.float32],
    lengths: NDArray[np.int64],
    present: NDArray[np.bool_],
    dim: int,
) -> Cells:
    """`sparsevec(dim)`: int32 dim, int32 nnz, int32 0, then nnz int32 indices from 0, then nnz float32 values.

    Args:
        indices: rising within each row, below `dim`; shape (all values,).
        values: none of them 0; shape (all values,).
        lengths: values per row, 0 where a row has no vector; shape (rows,).
    """
    words = 3 + 2 * lengths
    ends = np.cumsum(words)
    starts = ends - words
    made = np.zeros(int(ends[-1]) if len(ends) else 0, ">i4")
    made[starts], made[starts + 1] = dim, lengths
    first = np.cumsum(lengths) - lengths
    place = np.arange(len(indices)) - np.repeat(first, lengths) + np.repeat(starts + 3, lengths)
    made[place] = indices
    made.view(">f4")[place + np.repeat(lengths, lengths)] = values
    offsets = np.concatenate(([0], 4 * ends)).astype(np.int64)
    array = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(made.view(np.uint8))]
    )
    return _prefixed(pc.if_else(pa.array(present), array, pa.scalar(None, pa.large_binary())))


# --------------------------------------------------------------------------- parts


def _prefixed(array: pa.LargeBinaryArray) -> Cells:
    """Cells of values of any length; null becomes NULL."""
    if array.null_count == len(array):
        return (_constant(_NULL, len(array)),)
    lengths = pc.binary_length(array).fill_null(-1).to_numpy(zero_copy_only=False).astype(">i4")
    return _strings(lengths), array.fill_null(b"")


def _fixed(values: NDArray[Any], there: pa.Array | NDArray[np.bool_]) -> Cells:
    """Cells of values that all have one width, shape (rows,); `there` says which are not NULL."""
    mask = there if isinstance(there, np.ndarray) else there.is_valid().to_numpy(zero_copy_only=False)
    if mask.all():
        made = np.empty(len(values), [("length", ">i4"), ("value", values.dtype)])
        made["length"], made["value"] = values.dtype.itemsize, values
        return (_strings(made),)
    return _prefixed(pc.if_else(pa.array(mask), _strings(values), pa.scalar(None, pa.large_binary())))


def _spread(values: NDArray[Any], like: pa.Array) -> NDArray[Any]:
    """Values of the rows of `like` that are not null, at their places; zeros stand between them."""
    if not like.null_count:
        return values
    made = np.zeros(len(like), values.dtype)
    made[like.is_valid().to_numpy(zero_copy_only=False)] = values
    return made


def _strings(values: NDArray[Any]) -> pa.LargeBinaryArray:
    """The bytes of each element of an array of shape (rows,)."""
    offsets = np.arange(len(values) + 1, dtype=np.int64) * values.dtype.itemsize
    data = pa.py_buffer(np.ascontiguousarray(values).view(np.uint8).reshape(-1) if len(values) else b"")
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(values), [None, pa.py_buffer(offsets), data])


def _constant(value: bytes, rows: int) -> pa.LargeBinaryArray:
    return _cells(value * rows, [len(value)] * rows)


def _cells(data: bytes, lengths: Sequence[int]) -> pa.LargeBinaryArray:
    """Values that stand behind one another in `data`."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lengths), buffers)


def _bytes(array: pa.LargeBinaryArray) -> memoryview:
    """The data of an array without nulls, one value behind the other."""
    offsets = np.frombuffer(array.buffers()[1], np.int64, len(array) + 1, array.offset * 8)
    data = array.buffers()[2]
    return memoryview(data)[int(offsets[0]) : int(offsets[-1])] if data is not None else memoryview(b"")
