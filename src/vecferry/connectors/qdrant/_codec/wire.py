"""The few bytes of protobuf that we need: variable-length integers, length-delimited fields, a reader. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES = 0, 1, 2


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = [_varint(number) for number in range(1 << 14)]


def varint(number: int) -> bytes:
    """An unsigned integer as a varint; those below 16,384 come from a table."""
    return _SMALL[number] if 0 <= number < 1 << 14 else _varint(number)


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field: text, bytes or a message."""
    return varint(number << 3 | BYTES) + varint(len(body)) + body


def head(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of a length-delimited field."""
    return varint(number << 3 | BYTES) + varint(length)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, position behind it)."""
    number = data[at]
    if number < 128:
        return number, at + 1
    number &= 127
    shift = 7
    while (byte := data[at := at + 1]) > 127:
        number |= (byte & 127) << shift
        shift += 7
    return number | byte << shift, at + 1


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of each field of a message; a varint's value is given as `start`, with end -1."""
    while at < end:
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
            yield tag >> 3, value, -1
            continue
        size, at = read_varint(data, at) if kind == BYTES else (8 if kind == FIXED64 else 4, at)
        yield tag >> 3, at, at + size
        at += size


def packed_varints(numbers: NDArray[np.uint32], offsets: NDArray[np.int64]) -> list[bytes]:
    """The varints of each share `numbers[offsets[i]:offsets[i + 1]]`, without a loop over the numbers."""
    wide = numbers.astype(np.uint64)[:, None] >> np.arange(0, 35, 7, dtype=np.uint64)
    used = np.concatenate([np.ones((len(wide), 1), bool), wide[:, 1:] > 0], axis=1)
    more = np.concatenate([wide[:, 1:] > 0, np.zeros((len(wide), 1), bool)], axis=1)
    raw = ((wide & np.uint64(127)) | (more * np.uint64(128))).astype(np.uint8)[used].tobytes()
    ends = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int64)[offsets]
    return [raw[ends[row] : ends[row + 1]] for row in range(len(offsets) - 1)]


def unpack_varints(raw: bytes) -> NDArray[np.uint32]:
    """The numbers of a packed field of 32-bit varints."""
    data = np.frombuffer(raw, np.uint8)
    if not len(data):
        return np.empty(0, np.uint32)
    ends = np.flatnonzero(data < 128) + 1
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    shift = (np.arange(len(data)) - np.repeat(starts, ends - starts)) * 7
    parts = (data & 127).astype(np.uint64) << shift.astype(np.uint64)
    return np.add.reduceat(parts, starts).astype(np.uint32)
