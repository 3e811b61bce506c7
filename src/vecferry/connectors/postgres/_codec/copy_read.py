"""Rows of `COPY … TO STDOUT (FORMAT binary)` as Arrow and Python columns. Pure.

The stream is PostgreSQL's (its manual, COPY, "Binary Format"; `copy_write` says more). libpq gives one message per row,
the header before the first; the bytes of a field are those of the type's `send` function, all big-endian.

Rows are put behind one another, the lengths of their fields are read column by column, and Arrow gathers the bytes of
a field: nothing is done for each row in Python. Every function takes the `Fields` of a block and the number of one
field.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.arrow import SPARSE
from vecferry.errors import CorruptData

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
TRAILER = b"\xff\xff"
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 (PostgreSQL's time begins there, in the time zone of the column)
_FIRST_DAY = date(2000, 1, 1).toordinal()
_DAY_US = 86_400_000_000
_CYCLE_DAYS = 146_097
_INFINITE = {2**31 - 1: "infinity", 2**63 - 1: "infinity", -(2**31): "-infinity", -(2**63): "-infinity"}


def without_header(message: bytes) -> bytes:
    """What follows the header in the first message of a stream; nothing, where it stands alone.

    Raises:
        CorruptData: it is no such stream.
    """
    if not message.startswith(SIGNATURE) or len(message) < len(SIGNATURE) + 8:
        raise _torn("it does not begin as one")
    extension = int.from_bytes(message[len(SIGNATURE) + 4 : len(SIGNATURE) + 8], "big")
    return message[len(SIGNATURE) + 8 + extension :]


class Rows:
    """A block of rows, one behind the other: each is copied once, while it is fresh in the processor's cache."""

    __slots__ = ("data", "ends")

    def __init__(self, rows: Iterable[bytes] = ()) -> None:
        self.data = bytearray()
        self.ends: list[int] = []
        for row in rows:
            self.add(row)

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, row: bytes | memoryview) -> None:
        """One more row."""
        self.data += row
        self.ends.append(len(self.data))

    def last(self) -> Rows:
        """The last row alone."""
        start = self.ends[-2] if len(self.ends) > 1 else 0
        return Rows([bytes(self.data[start:])])


class Fields:
    """The fields of a block of rows: where each begins and how long it is."""

    def __init__(self, rows: Rows, fields: int) -> None:
        """Take `rows` apart, each of `fields` fields.

        Raises:
            CorruptData: a row has another number of fields, or a field ends outside of its row.
        """
        self._data = rows.data
        ends = np.array(rows.ends, np.int64)
        starts = np.concatenate(([0], ends[:-1])).astype(np.int64)
        self._starts = np.empty((fields, len(rows)), np.int64)
        self._lengths = np.empty((fields, len(rows)), np.int64)
        if (self._gather(starts, ends, ">i2") != fields).any():
            raise _torn(f"a row has not {fields} fields")
        place = starts + 2
        for field in range(fields):
            self._lengths[field] = self._gather(place, ends, ">i4")
            self._starts[field] = place + 4
            place = self._starts[field] + np.maximum(self._lengths[field], 0)
        if (place != ends).any():
            raise _torn("a field ends outside of its row")

    def __len__(self) -> int:
        return self._starts.shape[1]

    def valid(self, field: int) -> NDArray[np.bool_]:
        """Which rows are not NULL; shape (rows,)."""
        mask: NDArray[np.bool_] = self._lengths[field] >= 0
        return mask

    def lengths(self, field: int) -> NDArray[np.int64]:
        """Bytes of each row's value, -1 for NULL; shape (rows,)."""
        lengths: NDArray[np.int64] = self._lengths[field]
        return lengths

    def raw(self, field: int, *, skip: int = 0) -> list[bytes | None]:
        """The bytes of each row's value without the first `skip`, None for NULL."""
        found: list[bytes | None] = self._gathered(field, self.valid(field), skip).to_pylist()
        return _with_nulls(self, field, found)

    def joined(self, field: int, wanted: NDArray[np.bool_] | None = None, *, skip: int = 0) -> memoryview:
        """The bytes of the `wanted` rows' values without the first `skip`, one behind the other; NULL has none."""
        data = self._gathered(field, self.valid(field) if wanted is None else wanted, skip).buffers()[2]
        return memoryview(data if data is not None else bytearray())

    def fixed(self, field: int, dtype: str) -> NDArray[Any]:
        """Values of one width that are not NULL, in their order."""
        mask, width = self.valid(field), np.dtype(dtype).itemsize
        if (self._lengths[field][mask] != width).any():
            raise _torn(f"a value is not {width} bytes wide")
        return self._numbers(self._starts[field][mask], dtype)

    def _gathered(self, field: int, wanted: NDArray[np.bool_], skip: int) -> pa.LargeBinaryArray:
        """The bytes of `wanted` values, each without the first `skip`."""
        starts, lengths = self._starts[field][wanted], self._lengths[field][wanted]
        return arrow.cut(self._data, starts + np.minimum(skip, lengths), starts + lengths)

    def _gather(self, places: NDArray[np.int64], ends: NDArray[np.int64], dtype: str) -> NDArray[np.int64]:
        """The number that stands at each of `places`, before `ends`."""
        if (places + np.dtype(dtype).itemsize > ends).any():
            raise _torn("a row ends early")
        return self._numbers(places, dtype).astype(np.int64)

    def _numbers(self, places: NDArray[np.int64], dtype: str) -> NDArray[Any]:
        """The values at `places`: of an array that has one at every byte of the block."""
        if not len(places):
            return np.zeros(0, dtype)
        everywhere = len(self._data) - np.dtype(dtype).itemsize + 1
        found: NDArray[Any] = np.ndarray((everywhere,), dtype, self._data, strides=(1,))[places]
        return found


def _torn(what: str) -> CorruptData:
    return CorruptData(
        f"This is no binary COPY stream that we know: {what}.",
        hint="Is it PostgreSQL that answers there? If so, this is a fault of vecferry: please report it.",
    )


# --------------------------------------------------------------------------- columns of Python values, None for NULL


def _with_nulls(fields: Fields, field: int, values: list[Any]) -> list[Any]:
    mask = fields.valid(field)
    if mask.all():
        return values
    rest = iter(values)
    return [next(rest) if there else None for there in mask.tolist()]


def numbers(fields: Fields, field: int, dtype: str) -> list[Any]:
    """`int2`, `int4`, `int8`, `float8` and `bool` as Python's numbers; `dtype` is numpy's for the wire."""
    return _with_nulls(fields, field, fields.fixed(field, dtype).tolist())


def texts(fields: Fields, field: int) -> list[str | None]:
    """`text` and `varchar`, and whatever was selected as `::text`.

    Raises:
        UnicodeDecodeError: the database has no encoding (SQL_ASCII) and holds what is no UTF-8.
    """
    return [None if value is None else value.decode() for value in fields.raw(field)]


def jsons(fields: Fields, field: int) -> list[bytes | None]:
    """`json`: the text."""
    return fields.raw(field)


def jsonbs(fields: Fields, field: int) -> list[bytes | None]:
    """`jsonb`: a version byte, 1, and the text."""
    return fields.raw(field, skip=1)


def uuids(fields: Fields, field: int) -> list[str | None]:
    """`uuid` in its canonical form."""
    digits = fields.joined(field).hex()
    texts = [digits[at : at + 32] for at in range(0, len(digits), 32)]
    return _with_nulls(fields, field, [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts])


def timestamps(fields: Fields, field: int, *, zone: str) -> tuple[list[str | None], dict[int, str | None]]:
    """`timestamp` (zone "") and `timestamptz` (zone "+00:00") in ISO 8601, and the rows whose value is no datetime.

    Those, before year 1, past 9999 or infinite, are as PostgreSQL would write them.
    """

    def outside(microseconds: int) -> str:
        days, rest = divmod(microseconds, _DAY_US)
        clock = (_EPOCH + timedelta(microseconds=rest)).time().isoformat()
        return _far_day(days, f" {clock}{zone}")

    return _times(fields, fields.fixed(field, ">i8").tolist(), field, lambda value: _moment(value) + zone, outside)


def dates(fields: Fields, field: int) -> tuple[list[str | None], dict[int, str | None]]:
    """`date` in ISO 8601, and the rows whose value is no date of Python's."""
    return _times(fields, fields.fixed(field, ">i4").tolist(), field, _day, _far_day)


def _times(
    fields: Fields, values: list[int], field: int, write: Callable[[int], str], outside: Callable[[int], str]
) -> tuple[list[str | None], dict[int, str | None]]:
    made: list[str | None] = []
    odd: list[bool] = []
    for value in values:
        try:
            made.append(write(value))
            odd.append(False)
        except (OverflowError, ValueError):
            made.append(_INFINITE.get(value) or outside(value))
            odd.append(True)
    if not any(odd):
        return _with_nulls(fields, field, made), {}
    rows = np.flatnonzero(fields.valid(field))[np.array(odd)]
    return _with_nulls(fields, field, made), dict.fromkeys(rows.tolist())


def _moment(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


def _day(days: int) -> str:
    return date.fromordinal(_FIRST_DAY + days).isoformat()


def _far_day(days: int, clock: str = "") -> str:
    """A day past Python's calendar as PostgreSQL reads it: `0044-03-15 BC`. The calendar repeats each 400 years."""
    cycles, rest = divmod(_FIRST_DAY - 1 + days, _CYCLE_DAYS)
    day = date.fromordinal(rest + 1)
    year = day.year + 400 * cycles
    return f"{year if year > 0 else 1 - year:04}-{day:%m-%d}{clock}{'' if year > 0 else ' BC'}"


def binaries(fields: Fields, field: int) -> list[str | None]:
    """`bytea` in base64, as its tag has it."""
    return [None if value is None else b64encode(value).decode() for value in fields.raw(field)]


def decimals(fields: Fields, field: int) -> list[str | None]:
    """`numeric`, selected as text, in the form that Python's Decimal writes."""
    return [None if value is None else str(Decimal(value.decode())) for value in fields.raw(field)]


def reals(fields: Fields, field: int) -> list[float | None]:
    """`float4`, selected as text: the number that its shortest decimals say, which is the same float4."""
    return [None if value is None else float(value) for value in fields.raw(field)]


# --------------------------------------------------------------------------- Arrow columns


def large_strings(fields: Fields, field: int) -> pa.LargeStringArray:
    """A column of text as Arrow has it.

    Raises:
        pa.ArrowInvalid: what the database holds is no UTF-8.
    """
    mask = fields.valid(field)
    offsets = np.concatenate(([0], np.cumsum(np.maximum(fields.lengths(field), 0)))).astype(np.int64)
    nulls = None if mask.all() else pa.py_buffer(np.packbits(mask, bitorder="little"))
    buffers = [nulls, pa.py_buffer(offsets), pa.py_buffer(fields.joined(field))]
    return pa.Array.from_buffers(pa.large_string(), len(fields), buffers)


def dense(fields: Fields, field: int, dim: int, *, half: bool) -> tuple[pa.Array, NDArray[np.int64]]:
    """`vector(dim)` or, `half`, `halfvec(dim)`, and the rows whose vector has another dimension: null in the array.

    The wire: int16 dim, int16 0, the components (vector.c and halfvec.c, `*_send`).
    """
    wire, kind = (np.dtype(">f2"), pa.float16()) if half else (np.dtype(">f4"), pa.float32())
    fits = fields.lengths(field) == 4 + dim * wire.itemsize
    values = np.frombuffer(fields.joined(field, fits, skip=4), wire)
    values = values.byteswap(inplace=True).view(wire.newbyteorder())  # in the bytes just made, without another copy
    if fits.all():
        return pa.FixedSizeListArray.from_arrays(pa.array(values), type=pa.list_(kind, dim)), np.zeros(0, np.int64)
    made = np.zeros((len(fields), dim), values.dtype)
    made[fits] = values.reshape(-1, dim)
    array = pa.FixedSizeListArray.from_arrays(pa.array(made.ravel()), type=pa.list_(kind, dim), mask=pa.array(~fits))
    return array, np.flatnonzero(fields.valid(field) & ~fits)


def bits(fields: Fields, field: int, dim: int) -> tuple[pa.Array, NDArray[np.int64]]:
    """`bit(dim)`, and the rows of another length: int32 length, the bits, the most significant first."""
    mask, width = fields.valid(field), (dim + 7) // 8
    raw = [value if value is None or int.from_bytes(value[:4], "big") == dim else b"" for value in fields.raw(field)]
    wrong = np.flatnonzero(mask & np.array([value == b"" for value in raw], np.bool_))
    return pa.array([value[4:] if value else None for value in raw], pa.binary(width)), wrong


def sparse(fields: Fields, field: int) -> pa.StructArray:
    """`sparsevec`: int32 dim, int32 n, int32 0, n indices from 0 (int32, ascending), n values (float32)."""
    mask = fields.valid(field)
    words = np.frombuffer(fields.joined(field), ">i4")
    widths = fields.lengths(field)[mask] // 4
    starts = np.cumsum(widths) - widths
    counts = words[starts + 1].astype(np.int64)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts) + np.repeat(starts + 3, counts)
    indices = words[place].astype(np.uint32)
    values = words[place + np.repeat(counts, counts)].view(">f4").astype(np.float32)
    ends = np.zeros(len(fields) + 1, np.int32)
    per_row = np.zeros(len(fields), np.int64)
    per_row[mask] = counts
    ends[1:] = np.cumsum(per_row)
    lists = [pa.ListArray.from_arrays(pa.array(ends), pa.array(part)) for part in (indices, values)]
    lists = [part.cast(kind.type) for part, kind in zip(lists, SPARSE, strict=True)]
    return pa.StructArray.from_arrays(lists, fields=list(SPARSE), mask=None if mask.all() else pa.array(~mask))
