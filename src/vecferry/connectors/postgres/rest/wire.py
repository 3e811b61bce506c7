"""Rows of JSON as rows of a binary COPY, so that a table reads the same over either interface. Pure.

Every value is asked for as PostgreSQL's own text (`column::text`), which loses no digit, where JSON would; save for
vectors, which PostgREST sends as text anyway, and arrays, which `_codec.columns` wants as JSON. The text then becomes
the field that COPY would have sent (`_codec.copy_read` says its form).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vecferry.connectors.postgres._codec.columns import type_of
from vecferry.connectors.postgres._codec.records import Reading
from vecferry.connectors.postgres.rest.query import name
from vecferry.errors import CorruptData
from vecferry.tables import Form, Table, envelope
from vecferry.tables.keys import fill, template
from vecferry.tables.types import is_int, is_text, is_uuid, vector_type

Cells = list[bytes | None]
_AS_JSON = type_of("integer[]").select
_TIME = re.compile(
    r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?: (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?"
    r"(?P<zone>[+-]\d\d(?::\d\d){0,2})?(?P<bc> BC)?"
)
_INFINITY = {"infinity": 1, "-infinity": 0}
_NULL = struct.pack(">i", -1)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a row: what it is asked for as, and how a column of answers becomes bytes."""

    select: str
    encode: Callable[[list[Any]], Cells]


class Wire:
    """The rows of one table on their way from JSON to COPY."""

    def __init__(self, reading: Reading, *, matched: Sequence[str] = (), joined: Sequence[Field] = ()) -> None:
        """Settle what is asked for: one field for each of `reading.parts`.

        Args:
            reading: how the rows become records.
            matched: columns that name a parent, asked for as `m0`, `m1` …
            joined: how a parent's values become fields; a row is given them as `j0`, `j1` …
        """
        table, form = reading.table, reading.form
        self._fields = list(_fields(table, form, own=len(reading.parts) != _plain_parts(form)))
        self._matched, self._joined = matched, joined
        self._template = template(form.id) if form.id else ()
        self._keys = len(form.key)
        self._named = sorted({part.column for part in self._template if part.column})

    @property
    def select(self) -> str:
        """What `select` says: `c0`, `c1` … are the fields, `n0` … what an id of its own shape is made of."""
        fields = [f"c{n}:{field.select}" for n, field in enumerate(self._fields)]
        fields += [f"n{n}:{name(column)}::text" for n, column in enumerate(self._named)]
        return ",".join([*fields, *(f"m{n}:{name(column)}::text" for n, column in enumerate(self._matched))])

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """The rows of an answer, each as COPY would have sent it.

        Raises:
            CorruptData: a value is not what its column's type promises.
        """
        try:
            columns = [field.encode([row[f"c{n}"] for row in answers]) for n, field in enumerate(self._fields)]
            columns += [field.encode([row[f"j{n}"] for row in answers]) for n, field in enumerate(self._joined)]
            if self._template:
                columns.insert(self._keys, [self._id(row) for row in answers])
        except (KeyError, ValueError, TypeError, AttributeError, struct.error, pa.ArrowInvalid) as error:
            raise CorruptData(
                f"A value that came over REST is not what its column's type says: {type(error).__name__}.",
                hint="Use postgresql:// instead; if that reads it, please report this as a fault of vecferry.",
            ) from error
        head = struct.pack(">h", len(columns))
        return [head + b"".join(map(_cell, cells)) for cells in zip(*columns, strict=True)]

    def _id(self, row: Mapping[str, Any]) -> bytes:
        values = {column: row[f"n{n}"] or "" for n, column in enumerate(self._named)}  # concat() takes NULL for ""
        return fill(self._template, values).encode()


def _cell(value: bytes | None) -> bytes:
    return _NULL if value is None else struct.pack(">i", len(value)) + value


def _plain_parts(form: Form) -> int:
    """How many parts a row has that is not of a table of ours."""
    texts = [column for column in (form.document, form.uri, form.metadata) if column is not None]
    return len(form.key) + bool(form.id) + len(form.vectors) + len(texts) + len(form.keys)


def _fields(table: Table, form: Form, *, own: bool) -> Iterator[Field]:
    """The fields in the order of `Reading.parts`, without the id that a template makes."""
    for column in form.key:
        kind = table.column(column).type
        known = is_int(kind) or is_uuid(kind) or is_text(kind)
        yield typed(column, kind if known else "")
    for column in form.vectors.values():
        yield Field(name(column), _VECTORS[(vector_type(table.column(column).type) or ("vector", None))[0]])
    for named in (form.document, form.uri, form.metadata, *([envelope.COLUMN] if own else []), *form.own.values()):
        if named is not None:
            yield typed(named, table.column(named).type)


def typed(column: str, kind: str) -> Field:
    """How a column of a type is asked for and encoded: as `_codec.columns.type_of` reads it."""
    if type_of(kind).select == _AS_JSON:
        return Field(name(column), _each(orjson.dumps))
    plain = re.sub(r"\s*\([^)]*\)", "", kind)
    return Field(f"{name(column)}::text", _each(_SCALARS.get(plain, str.encode)))


def _each(encode: Callable[[Any], bytes]) -> Callable[[list[Any]], Cells]:
    return lambda values: [None if value is None else encode(value) for value in values]


# --------------------------------------------------------------------------- values


def _number(form: str, parse: Callable[[str], int | float]) -> Callable[[str], bytes]:
    return lambda text: struct.pack(form, parse(text))


def _boolean(text: str) -> bytes:
    return {"true": b"\1", "false": b"\0"}[text]


def _uuid(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


def _jsonb(text: str) -> bytes:
    return b"\1" + text.encode()


def _bytea(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


def _date(text: str) -> bytes:
    """Days since 2000-01-01."""
    if text in _INFINITY:
        return struct.pack(">i", [-(2**31), 2**31 - 1][_INFINITY[text]])
    return struct.pack(">i", _days(_taken_apart(text)))


def _moment(text: str) -> bytes:
    """Microseconds since 2000-01-01, in UTC where the text has a zone."""
    if text in _INFINITY:
        return struct.pack(">q", [-(2**63), 2**63 - 1][_INFINITY[text]])
    found = _taken_apart(text)
    zone = (found["zone"] or "+00").split(":")
    seconds = int(found["hour"]) * 3600 + int(found["minute"]) * 60 + int(found["second"])
    ahead = sum(int(part) * 60 ** (2 - place) for place, part in enumerate([zone[0][1:], *zone[1:]]))
    seconds += _days(found) * 86_400 - (ahead if zone[0][0] == "+" else -ahead)
    return struct.pack(">q", seconds * 1_000_000 + int((found["fraction"] or "").ljust(6, "0")))


def _taken_apart(text: str) -> dict[str, str | Any]:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError
    return found.groupdict()


def _days(found: Mapping[str, str | Any]) -> int:
    """Days since 2000-01-01 in the Gregorian calendar, before its time too; March is the first month of its years."""
    year, month = int(found["year"]), int(found["month"])
    year = (1 - year if found["bc"] else year) - (month < 3)
    since_march = (153 * ((month + 9) % 12) + 2) // 5 + int(found["day"]) - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + since_march - _DAYS_TO_2000


_DAYS_TO_2000 = 730_425
"""From March 1st of the year 0 to 2000-01-01."""
_SCALARS: Mapping[str, Callable[[str], bytes]] = {
    "smallint": _number(">h", int),
    "integer": _number(">i", int),
    "bigint": _number(">q", int),
    "double precision": _number(">d", float),
    "boolean": _boolean,
    "uuid": _uuid,
    "jsonb": _jsonb,
    "bytea": _bytea,
    "date": _date,
    "timestamp without time zone": _moment,
    "timestamp with time zone": _moment,
}
"""Type -> its field from its text; of any other type the field is the text."""


# --------------------------------------------------------------------------- vectors


def _dense(dtype: str) -> Callable[[list[Any]], Cells]:
    """`[1,2.5]`: int16 dimension, int16 0, the components. Decimals become float32 at once, by way of no double."""

    def encode(texts: list[str | None]) -> Cells:
        lists = pc.split_pattern(pa.array([text[1:-1] for text in texts if text is not None], pa.string()), ",")
        raw = lists.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False).astype(dtype).tobytes()
        dims, width, place = iter(pc.list_value_length(lists).to_pylist()), np.dtype(dtype).itemsize, 0
        made: Cells = []
        for text in texts:
            if text is None:
                made.append(None)
                continue
            dim = next(dims)
            made.append(struct.pack(">HH", dim, 0) + raw[place : place + dim * width])
            place += dim * width
        return made

    return encode


def _sparse(text: str) -> bytes:
    """`{1:0.5,3:2}/5`, indices from 1: int32 dimension, int32 count, int32 0, indices from 0, values."""
    inside, _, dim = text.rpartition("/")
    pairs = [pair.split(":") for pair in inside[1:-1].split(",") if pair]
    indices = np.array([int(index) - 1 for index, _ in pairs], ">i4")
    values = pa.array([number for _, number in pairs], pa.string()).cast(pa.float32()).to_numpy(zero_copy_only=False)
    head = struct.pack(">iii", int(dim), len(pairs), 0)
    return b"".join((head, indices.tobytes(), values.astype(">f4").tobytes()))


def _bits(text: str) -> bytes:
    """`0101`: int32 length, the bits, the most significant first."""
    width = (len(text) + 7) // 8
    return struct.pack(">i", len(text)) + int(text.ljust(width * 8, "0"), 2).to_bytes(width, "big")


_VECTORS: Mapping[str, Callable[[list[Any]], Cells]] = {
    "vector": _dense(">f4"),
    "halfvec": _dense(">f2"),
    "sparsevec": _each(_sparse),
    "bit": _each(_bits),
}
