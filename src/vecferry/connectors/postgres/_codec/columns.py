"""What each type of column is selected as, and what becomes of its fields: Arrow arrays for `vecferry.tables`. Pure.

| type                                             | selected as      | becomes                                        |
|--------------------------------------------------|------------------|------------------------------------------------|
| `smallint`, `integer`, `bigint`                  | as it is         | int64                                          |
| `double precision`, `boolean`                    | as it is         | float64, bool                                  |
| `real`                                           | `::text`         | float64 of its shortest decimals               |
| `text`, `varchar`, `char`, `name`, `uuid`        | as it is         | text                                           |
| `json`, `jsonb`                                  | as it is         | JSON                                           |
| arrays of integers, booleans, texts, UUIDs, floats | `to_json`      | JSON lists; text where one does not begin at 1 |
| `timestamp`, `timestamptz`, `date`               | as it is         | ISO 8601, tagged; text where Python has none   |
| `numeric`                                        | `::text`         | text, tagged `decimal`                         |
| `bytea`                                          | as it is         | base64, tagged `bytes`                         |
| anything else: ranges, enums, `interval`, `inet` | `::text`         | PostgreSQL's own text                          |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from vecferry.connectors.postgres._codec import copy_read
from vecferry.connectors.postgres._codec.copy_read import Fields
from vecferry.tables.cells import count_keys, exactly
from vecferry.tags import canonical

_ARRAY = re.compile(
    r"(?:(?P<float>real|double precision)|smallint|integer|bigint|boolean|uuid|text|character varying(?:\(\d+\))?)\[\]"
)
_LONG = re.compile(rb"[\d.]{17}|\d[eE]")
"""Finds every JSON text with a number that 64 bits may not hold, and some without."""
_COLON = re.compile(rb'"\s*:')
"""Finds every key in JSON text, and some places inside of texts."""


@dataclass(frozen=True, slots=True)
class Values:
    """A column of values that JSON can say, shape (rows,).

    Attributes:
        tag: what every text really is (`vecferry.tags`).
        json: the texts are canonical JSON.
        plain: rows whose text has no tag after all: an infinite date.
        long: row -> its JSON, where that holds a number that may need a tag; null in `array`.
        unreadable: row -> why its JSON cannot be read; null in `array`.
    """

    array: pa.Array
    tag: str | None = None
    json: bool = False
    plain: tuple[int, ...] = ()
    long: Mapping[int, bytes] = field(default_factory=dict)
    unreadable: Mapping[int, str] = field(default_factory=dict)


Decode = Callable[[Fields, int], Values]


@dataclass(frozen=True, slots=True)
class Type:
    """How columns of one type are read; `select` takes the SQL of the column."""

    decode: Decode
    select: str = "{}"


def type_of(kind: str) -> Type:
    """How a column with the type text `kind` (`format_type`'s) is read."""
    if kind.endswith("[]"):
        found = _ARRAY.fullmatch(kind)
        return AS_TEXT if found is None else _FLOATS if found["float"] else _LIST
    plain = re.sub(r"\s*\([^)]*\)", "", kind)
    return _TYPES.get(plain, AS_TEXT)


def _numbers(dtype: str, made: pa.DataType) -> Decode:
    return lambda fields, at: Values(pa.array(copy_read.numbers(fields, at, dtype), made))


def _texts(fields: Fields, at: int) -> Values:
    return Values(pa.array(copy_read.texts(fields, at), pa.string()))


def _reals(fields: Fields, at: int) -> Values:
    return Values(pa.array(copy_read.reals(fields, at), pa.float64()))


def _uuids(fields: Fields, at: int) -> Values:
    return Values(pa.array(copy_read.uuids(fields, at), pa.string()))


def _tagged(read: Callable[..., Any], tag: str, **options: Any) -> Decode:
    def decode(fields: Fields, at: int) -> Values:
        found = read(fields, at, **options)
        values, odd = found if isinstance(found, tuple) else (found, {})
        return Values(pa.array(values, pa.string()), tag=tag, plain=tuple(odd))

    return decode


def _json(
    read: Callable[[Fields, int], list[bytes | None]],
    change: Callable[[Any], Any] | None = None,
    *,
    doubles: bool = False,
) -> Decode:
    """`change` is of values without long numbers; `doubles`: the type keeps a key that stands twice (`json`)."""

    def decode(fields: Fields, at: int) -> Values:
        texts = read(fields, at)
        made: list[str | None] = [None] * len(texts)
        long: dict[int, bytes] = {}
        unreadable: dict[int, str] = {}
        for row, text in enumerate(texts):
            if text is None:
                continue
            try:
                if change is None and _LONG.search(text):
                    exactly(text.decode())
                    long[row] = text
                else:
                    made[row] = _canonical(text, change, doubles=doubles)
            except (ValueError, RecursionError) as error:
                unreadable[row] = str(error).partition("\n")[0]
        return Values(pa.array(made, pa.string()), json=True, long=long, unreadable=unreadable)

    return decode


def _canonical(text: bytes, change: Callable[[Any], Any] | None, *, doubles: bool) -> str:
    """Canonical JSON.

    Raises:
        ValueError: it is nested too deeply, or a key stands in it twice.
    """
    value = orjson.loads(text)
    if doubles and len(_COLON.findall(text)) != count_keys(value):
        exactly(text.decode())
    return canonical(value if change is None else change(value)).decode()


def _as_floats(value: Any) -> Any:
    """`to_json` writes the float 1.0 as 1, and NaN as text."""
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) else value


AS_TEXT = Type(_texts, "{}::text")
_PLAIN_TEXT = Type(_texts)
_ARRAY_SQL = "CASE WHEN array_dims({0}) ~ '[[](?!1:)' THEN to_json({0}::text) ELSE to_json({0}) END"
"""A list has no place for bounds: an array that does not begin at 1 is PostgreSQL's own text, `[0:1]={7,8}`."""
_LIST = Type(_json(copy_read.jsons), _ARRAY_SQL)
_FLOATS = Type(_json(copy_read.jsons, _as_floats), _ARRAY_SQL)
_TYPES = {
    "smallint": Type(_numbers(">i2", pa.int64())),
    "integer": Type(_numbers(">i4", pa.int64())),
    "bigint": Type(_numbers(">i8", pa.int64())),
    "boolean": Type(_numbers("?", pa.bool_())),
    "double precision": Type(_numbers(">f8", pa.float64())),
    "real": Type(_reals, "{}::text"),
    "text": _PLAIN_TEXT,
    "character varying": _PLAIN_TEXT,
    "character": _PLAIN_TEXT,
    "name": _PLAIN_TEXT,
    "uuid": Type(_uuids),
    "json": Type(_json(copy_read.jsons, doubles=True)),
    "jsonb": Type(_json(copy_read.jsonbs)),
    "bytea": Type(_tagged(copy_read.binaries, "bytes")),
    "numeric": Type(_tagged(copy_read.decimals, "decimal"), "{}::text"),
    "date": Type(_tagged(copy_read.dates, "date")),
    "timestamp without time zone": Type(_tagged(copy_read.timestamps, "datetime", zone="")),
    "timestamp with time zone": Type(_tagged(copy_read.timestamps, "datetime", zone="+00:00")),
}
