"""Rows of an answer as they came, and their columns as Arrow arrays. Pure.

The text protocol sends each row as a packet, each value with its length before it (MariaDB's knowledge base: "Resultset
row", "Protocol data types"). The rows of a block stand behind one another; lengths are read column by column, and Arrow
gathers the bytes of a column: nothing is done for each row in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.errors import CorruptData

Row = tuple[bytes | None, ...]
Places = NDArray[np.int64]
_NULL = 0xFB
_WIDE = ((0xFC, 2), (0xFD, 3), (0xFE, 8))
"""The first byte of a length of so many bytes; one below `_NULL` is the length itself."""


class Block:
    """Some rows of one answer, one or more."""

    def __init__(self, data: bytearray, starts: Sequence[int], ends: Sequence[int], fields: int) -> None:
        """Take rows apart that stand in `data` from each of `starts` up to its end, each of `fields` values.

        Raises:
            CorruptData: a value ends outside of its row.
        """
        self._data = data
        self._starts = np.empty((fields, len(starts)), np.int64)
        self._ends = np.empty((fields, len(starts)), np.int64)
        self._valid = np.empty((fields, len(starts)), np.bool_)
        place, limits = np.array(starts, np.int64), np.array(ends, np.int64)
        for field in range(fields):
            begin, length, self._valid[field] = self._value(place, limits)
            place = begin + length
            self._starts[field], self._ends[field] = begin, place
        if (place != limits).any():
            raise _torn()

    def __len__(self) -> int:
        return self._starts.shape[1]

    @property
    def columns(self) -> list[pa.LargeBinaryArray]:
        """The values of each column, null for NULL."""
        return [self._column(field) for field in range(len(self._starts))]

    def rows(self) -> list[Row]:
        """The rows as tuples."""
        return list(zip(*[column.to_pylist() for column in self.columns], strict=True))

    def _column(self, field: int) -> pa.LargeBinaryArray:
        found = arrow.cut(self._data, self._starts[field], self._ends[field])
        valid = self._valid[field]
        if valid.all():
            return found
        nulls = pa.py_buffer(np.packbits(valid, bitorder="little"))
        return pa.Array.from_buffers(pa.large_binary(), len(found), [nulls, *found.buffers()[1:]])

    def _value(self, place: Places, limits: Places) -> tuple[Places, Places, NDArray[np.bool_]]:
        """(where the value at each of `place` begins, its length, whether it is one at all)."""
        length = self._numbers(place, limits, 1)
        begin, valid = place + 1, length != _NULL
        if (length < _NULL).all():
            return begin, length, valid
        first = length.copy()
        length[~valid] = 0
        for sign, width in _WIDE:
            rows = np.flatnonzero(first == sign)
            length[rows] = self._numbers(begin[rows], limits[rows], width)
            begin[rows] += width
        return begin, length, valid

    def _numbers(self, places: Places, limits: Places, width: int) -> Places:
        """The numbers of `width` bytes at `places`, before `limits`; the least significant byte is the first."""
        if (places + width > limits).any():
            raise _torn()
        data: NDArray[Any] = np.frombuffer(self._data, np.uint8)
        found = np.zeros(len(places), np.int64)
        for byte in range(width):
            found |= data[places + byte].astype(np.int64) << (8 * byte)
        return found


def _torn() -> CorruptData:
    return CorruptData(
        "MariaDB sent a row that is none: a value ends outside of it.",
        hint="Is it MariaDB that answers there? If so, this is a fault of vecferry: please report it.",
    )
