"""Typed metadata: canonical JSON text, and type tags for what JSON cannot say. Pure.

A record's metadata is one JSON object in canonical text: keys sorted by their UTF-8 bytes, no white space, floats in
their shortest exact form, so that equal objects have equal bytes. `1` is not `1.0`, `true` is not `1`, null is not
missing. Values that JSON cannot say are replaced by text, and a second object, the *tags*, says what stood there:
a JSON Pointer (RFC 6901) -> tag. `unpack(*pack(value)) == value`; a datetime keeps its offset, not its zone's name.

    {"when": datetime(2026, 1, 1, tzinfo=UTC)}  ->  {"when": "2026-01-01T00:00:00+00:00"}   {"/when": "datetime"}
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from vecferry.errors import DataError

_INT64 = 1 << 63
_UINT64 = 1 << 64
_LONG = re.compile(rb"\d{19}")

_ENCODE: dict[type, tuple[str, Callable[[Any], str]]] = {
    datetime: ("datetime", lambda v: v.isoformat()),
    date: ("date", lambda v: v.isoformat()),
    Decimal: ("decimal", str),
    bytes: ("bytes", lambda v: base64.b64encode(v).decode()),
}
_DECODE: dict[str, Callable[[str], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "decimal": Decimal,
    "bytes": lambda v: base64.b64decode(v, validate=True),
    "float": float,
    "int": int,
}


def pack(value: Mapping[str, Any]) -> tuple[bytes, bytes | None]:
    """(canonical JSON, canonical JSON of the tags or None) of one metadata object.

    Raises:
        DataError: a value that has no tag, a key that is no text, text that is not valid Unicode, nesting past 250
            levels, or an integer of more than 4,300 digits.
    """
    tags: dict[str, str] = {}
    try:
        text = canonical(_pack(value, "", tags))
    except RecursionError as error:
        raise _unfit("Metadata is nested too deeply; no store can hold it.") from error
    except (TypeError, ValueError) as error:  # orjson's own limit on nesting; integers past Python's limit on digits
        raise _unfit(f"Metadata cannot be written as JSON: {error}.") from error
    return text, canonical(tags) if tags else None


def unpack(text: bytes, tags: bytes | None) -> dict[str, Any]:
    """The object that `pack` was given."""
    value: dict[str, Any] = loads(text)
    for pointer, tag in (orjson.loads(tags) if tags else {}).items():
        _restore(value, pointer, tag)
    return value


def canonical(value: object) -> bytes:
    """Canonical JSON of a value that JSON can say. Integers must lie in [-2**63, 2**64)."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def loads(text: bytes | str) -> Any:
    """Parse JSON without losing a digit: integers past 64 bits stay integers.

    orjson reads those as floats; a text with 19 digits in a row is left to the standard library.

    Raises:
        ValueError: not JSON (both parsers raise subclasses of it), or nested too deeply.
    """
    raw = text.encode() if isinstance(text, str) else text
    value = orjson.loads(raw)
    if not _LONG.search(raw):
        return value
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error


def _pack(value: Any, pointer: str, tags: dict[str, str]) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -_INT64 <= value < _UINT64 else _tag(str(value), "int", pointer, tags)
    if kind is float:
        return value if math.isfinite(value) else _tag(repr(value), "float", pointer, tags)
    if isinstance(value, Mapping):
        return {_key(key): _pack(item, f"{pointer}/{_escape(key)}", tags) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{pointer}/{index}", tags) for index, item in enumerate(value)]
    if kind in _ENCODE:
        tag, encode = _ENCODE[kind]
        return _tag(encode(value), tag, pointer, tags)
    raise _unfit(f"Metadata value at {pointer} is a {kind.__name__}, which no store can hold.")


def _unfit(message: str) -> DataError:
    return DataError(
        message,
        hint="Metadata is one object of text, numbers, booleans, null, lists, objects, dates and bytes: mend it there.",
    )


def _tag(text: str, tag: str, pointer: str, tags: dict[str, str]) -> str:
    tags[pointer] = tag
    return text


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise _unfit(f"Metadata key {key!r} is not text.")
    return key


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _restore(value: Any, pointer: str, tag: str) -> None:
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    slot: Any = int(last) if isinstance(value, list) else last
    value[slot] = _DECODE[tag](value[slot])
