"""JSON values as Qdrant's protobuf `Value`, and back. Pure.

Where the time goes: a metadata value that was met before under its key costs three dictionary look-ups (0.2
microseconds), a new one about one microsecond. So the fragments of short values are kept, up to a bound per key: the
keys of real metadata either repeat (language, file, tenant) or never do (hashes, time stamps).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import orjson

from vecferry.connectors.qdrant._codec.native import native
from vecferry.connectors.qdrant._codec.wire import field, fields, head, read_varint, varint

STRUCT_ENTRY, PAYLOAD_ENTRY = 1, 3
"""Field numbers of a map entry in `Struct.fields` and in `PointStruct.payload`."""
_MAX_DEPTH = 24
"""Nesting that protobuf carries: three messages a level, where Qdrant's decoder stops at 100."""
_LONG = 64
_KEYS_KEPT, _VALUES_KEPT = 512, 4096
_INT64 = 1 << 63
_UINT64 = 1 << 64
_DOUBLE = struct.Struct("<d")
_PACK, _UNPACK = _DOUBLE.pack, _DOUBLE.unpack_from


class _Floats:
    """Map entries of floats under one key: the same bytes before each number. Looks like a dict of all of them."""

    def __init__(self, number: int, key: str) -> None:
        name = field(1, key.encode()) + b"\x12\x09\x11"
        self._start = head(number, len(name) + 8) + name

    def get(self, value: float) -> bytes:
        return self._start + _PACK(value)


Fragments = dict[str, dict[type, dict[Any, bytes] | _Floats]]
"""key -> type of the value (1, 1.0 and True are equal, and three things) -> value -> map entry"""
_KEPT: dict[int, Fragments] = {STRUCT_ENTRY: {}, PAYLOAD_ENTRY: {}}


class Unsayable(Exception):
    """A value that JSON can say and Qdrant's gRPC cannot: an integer past int64, or nesting too deep."""


def entries(number: int, values: Mapping[str, Any], depth: int = 0) -> bytes:
    """The map entries of a JSON object, one behind the other, each as field `number` of its message.

    Raises:
        Unsayable: gRPC cannot carry a value; JSON can.
    """
    out = []
    kept = _KEPT[number]
    for key, value in values.items():
        kinds = kept.get(key)
        known = kinds.get(type(value)) if kinds is not None else None
        fragment = known.get(value) if known is not None else None
        out.append(_new_entry(number, key, value, depth) if fragment is None else fragment)
    return b"".join(out)


def entry(number: int, key: str, value: Any, depth: int = 0) -> bytes:
    """One map entry, as field `number` of its message; nothing is kept."""
    raw = key.encode()
    return field(number, b"\x0a" + varint(len(raw)) + raw + field(2, _value(value, depth)))


def _new_entry(number: int, key: str, value: Any, depth: int) -> bytes:
    made = entry(number, key, value, depth)
    kind = type(value)
    kept = _KEPT[number]
    if key not in kept and len(kept) >= _KEYS_KEPT:
        return made
    if kind is float:
        kept.setdefault(key, {})[float] = _Floats(number, key)
    elif (kind is str and len(value) <= _LONG) or kind is int or kind is bool or value is None:
        known = kept.setdefault(key, {}).setdefault(kind, {})
        if type(known) is dict and len(known) < _VALUES_KEPT:
            known[value] = made
    return made


def _value(value: Any, depth: int) -> bytes:
    kind = type(value)
    if kind is str:
        raw: bytes = value.encode()
        return b"\x22" + varint(len(raw)) + raw
    if kind is int:
        return b"\x18" + _integer(value)
    if kind is float:
        return b"\x11" + _DOUBLE.pack(value)
    if kind is bool:
        return b"\x28\x01" if value else b"\x28\x00"
    if value is None:
        return b"\x08\x00"
    return _nested(value, depth + 1)


def _integer(value: int) -> bytes:
    if value >= _INT64:
        raise Unsayable("an integer past 2**63 - 1")
    return varint(value & _UINT64 - 1)


def _nested(value: Any, depth: int) -> bytes:
    if depth > _MAX_DEPTH:
        raise Unsayable(f"nesting deeper than {_MAX_DEPTH}")
    if type(value) is dict:
        return field(6, entries(STRUCT_ENTRY, value, depth))
    return field(7, b"".join([field(1, _value(item, depth)) for item in value]))


# --------------------------------------------------------------------------- columns


def all_entries(number: int, texts: list[bytes | None], depth: int) -> list[bytes | None]:
    """The `entries` of a column of JSON objects, given as their texts; None gives None.

    Raises:
        Unsayable: gRPC cannot carry a value; JSON can.
    """
    loads = orjson.loads
    if native is None:
        return [None if text is None else entries(number, loads(text), depth) for text in texts]
    made: list[bytes | None]
    made, odd = native.entries(number, texts, depth)
    for row in odd:
        made[row] = entries(number, loads(texts[row] or b""), depth)
    return made


def text_entries(number: int, key: str, texts: list[bytes | None]) -> list[bytes]:
    """A column of texts (UTF-8) as map entries; None gives no bytes."""
    return _wrapped(number, key, b"\x22", texts)


def object_entries(number: int, key: str, bodies: list[bytes | None]) -> list[bytes]:
    """A column of JSON objects, each given as its `entries`, as map entries; None gives no bytes."""
    return _wrapped(number, key, b"\x32", bodies)


def _wrapped(number: int, key: str, tag: bytes, bodies: list[bytes | None]) -> list[bytes]:
    """`number` { 1: key, 2: Value { tag: body } } for each body."""
    start, name = varint(number << 3 | 2), field(1, key.encode())
    middle, fixed = name + b"\x12", len(name) + 1
    out = []
    for body in bodies:
        if body is None:
            out.append(b"")
            continue
        size = varint(len(body))
        inner = 1 + len(size) + len(body)
        width = varint(inner)
        out.append(b"".join((start, varint(fixed + len(width) + inner), middle, width, tag, size, body)))
    return out


def number_entries(number: int, key: str, values: list[float | None]) -> list[bytes]:
    """A column of floats as map entries; None gives no bytes."""
    made = _Floats(number, key).get
    return [b"" if value is None else made(value) for value in values]


def integer_entries(number: int, key: str, values: list[int | None]) -> list[bytes]:
    """A column of integers as map entries; None gives no bytes."""
    name = field(1, key.encode()) + b"\x12"
    starts = [head(number, len(name) + 2 + size) + name + varint(1 + size) + b"\x18" for size in range(11)]
    raws = [None if value is None else _integer(value) for value in values]
    return [b"" if raw is None else starts[len(raw)] + raw for raw in raws]


# --------------------------------------------------------------------------- reading


class EntryReader:
    """Reads map entries into (key, value) pairs; small scalar entries are parsed once and kept by their bytes.

    Nested values that come out are fresh, except that kept scalars are shared (they are immutable).
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[str, Any]] = {}
        self._counts: dict[str, int] = {}
        self.wide = 0
        """How many doubles lay in [2**63, 2**64): over gRPC an unsigned integer of that size looks the same."""

    def pair(self, raw: bytes) -> tuple[str, Any]:
        """The key and value of one map entry, given as its bytes without tag and length."""
        return (self._kept.get(raw) or self._parse(raw)) if len(raw) <= _LONG else self._parse(raw)

    def _parse(self, raw: bytes) -> tuple[str, Any]:
        """`1: key` (left out where it is empty), `2: value`. Lengths below 128, the rule, are read in place."""
        if raw[:1] != b"\x0a" or raw[1] > 127:
            return self._parse_odd(raw)
        at = raw[1] + 2
        key = raw[2:at].decode()
        at = at + 2 if raw[at + 1] < 128 else read_varint(raw, at + 1)[1]
        tag = raw[at]
        if tag == 0x22:
            value: Any = raw[at + 2 if raw[at + 1] < 128 else read_varint(raw, at + 1)[1] :].decode()
        elif tag == 0x32:
            return key, self.struct(raw, *_span(raw, at + 1))
        elif tag == 0x3A:
            return key, self._list(raw, *_span(raw, at + 1))
        else:
            value = self._number(raw, at + 1, tag)
        if len(raw) <= _LONG:
            self._keep(raw, key, value)
        return key, value

    def _parse_odd(self, raw: bytes) -> tuple[str, Any]:
        """An entry with an empty key, a long one, or without value."""
        key, value = "", None
        for number, start, end in fields(raw, 0, len(raw)):
            if number == 1:
                key = raw[start:end].decode()
            else:
                value = self._value(raw, start, end)
        return key, value

    def _keep(self, raw: bytes, key: str, value: Any) -> None:
        """Keep a scalar for the next record, unless its key has too many values (ids, hashes) to be worth it."""
        count = self._counts.get(key, 0)
        if count < _VALUES_KEPT and len(self._counts) < _KEYS_KEPT and not _is_wide(value):
            self._counts[key] = count + 1
            self._kept[raw] = key, value

    def _value(self, raw: bytes, at: int, end: int) -> Any:
        if at == end:
            return None
        tag = raw[at]
        if tag == 0x22:
            size = raw[at + 1]
            at += 2
            if size > 127:
                size, at = read_varint(raw, at - 1)
            return raw[at : at + size].decode()
        if tag == 0x32:
            return self.struct(raw, *_span(raw, at + 1))
        if tag == 0x3A:
            return self._list(raw, *_span(raw, at + 1))
        return self._number(raw, at + 1, tag)

    def _number(self, raw: bytes, at: int, tag: int) -> Any:
        if tag == 0x11:
            value: float = _UNPACK(raw, at)[0]
            if value >= _INT64:
                self.wide += _is_wide(value)
            return value
        number = raw[at] if raw[at] < 128 else read_varint(raw, at)[0]
        if tag == 0x18:
            return number - _UINT64 if number >= _INT64 else number
        return bool(number) if tag == 0x28 else None

    def struct(self, raw: bytes, at: int, end: int) -> dict[str, Any]:
        """The fields of a `Struct` message that stands in raw[at:end]."""
        pairs = []
        kept, parse = self._kept.get, self._parse
        while at < end:
            size = raw[at + 1]
            at += 2
            if size > 127:
                size, at = read_varint(raw, at - 1)
            piece = raw[at : at + size]
            at += size
            pairs.append((kept(piece) or parse(piece)) if size <= _LONG else parse(piece))
        return dict(pairs)

    def _list(self, raw: bytes, at: int, end: int) -> list[Any]:
        items = []
        while at < end:
            size, at = read_varint(raw, at + 1)
            items.append(self._value(raw, at, at + size))
            at += size
        return items


def _span(raw: bytes, at: int) -> tuple[int, int]:
    """(start, end) of the bytes whose length stands at `at`."""
    size, at = read_varint(raw, at)
    return at, at + size


def _is_wide(value: Any) -> bool:
    return type(value) is float and _INT64 <= value <= _UINT64
