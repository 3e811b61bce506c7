"""How the values of a MariaDB column are asked for, and what they become in a record's metadata. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import pyarrow as pa

from vecferry.tables.cells import Cells, count_keys, exactly, floats_say
from vecferry.tables.types import is_int, is_json
from vecferry.tags import canonical, pack

_BINARY = re.compile(
    r"(tiny|medium|long)?blob|(var)?binary\(\d+\)|geometry|point|linestring|polygon|multi\w+|geometry\w*"
)
_LONG = re.compile(rb"[\d.]{16}|\d[eE]")
"""Finds every number in JSON text that 64 bits may not hold, and some that they do."""
_COLON = re.compile(rb'"\s*:')
"""Finds every key in JSON text, and some places inside of texts."""
ZERO = re.compile(r"^0000|^\d{4}-00|^\d{4}-\d\d-00")
_KEPT = frozenset({"datetime", "timestamp", "date"})
Values = Sequence[bytes | None]


def base(kind: str) -> str:
    """`decimal` of `decimal(30,10) unsigned`."""
    return re.split(r"[( ]", kind, maxsplit=1)[0]


def is_binary(kind: str) -> bool:
    """A type of bytes, shapes on a map among them (their WKB with a prefix, as the server keeps them)."""
    return _BINARY.fullmatch(kind) is not None


def selected(kind: str, sql: str) -> str:
    """`sql`, a column of type `kind`, so that the text of its values is exact.

    A FLOAT is printed with six digits; as a DOUBLE with all that it has. A BIT becomes a number.
    """
    name = base(kind)
    if name == "float":
        return f"CAST({sql} AS DOUBLE)"
    return f"{sql} + 0" if name == "bit" else sql


@dataclass(frozen=True, slots=True)
class Read:
    """One column as metadata, and what its rows say of their types beside the column's tag.

    Attributes:
        untagged: rows whose date is none of the calendar's (0000-00-00): texts.
        tags: row -> {pointer within the value: tag}, of JSON with numbers past 64 bits.
        unreadable: row -> why its value can be no metadata.
    """

    cells: Cells
    untagged: Sequence[int] = ()
    tags: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    unreadable: Mapping[int, str] = field(default_factory=dict)


def cells(key: str, kind: str, values: Values) -> Read:
    """The values of a column, as `selected` asked for them, as metadata under `key`."""
    name = base(kind)
    if is_int(kind) or name in ("bit", "year"):
        wide = "unsigned" in kind or name == "bit"
        return Read(Cells(key, _texts(values).cast(pa.uint64() if wide else pa.int64())))
    if name in ("float", "double"):
        return Read(Cells(key, _texts(values).cast(pa.float64())))
    if name in ("decimal", "numeric"):
        return Read(Cells(key, _texts(values), tag="decimal"))
    if name in _KEPT:
        return _dates(key, name, values)
    if is_binary(kind) or name == "vector":
        return Read(Cells(key, _texts([None if v is None else b64encode(v) for v in values]), tag="bytes"))
    if is_json(kind):
        return _documents(key, values)
    return Read(Cells(key, _texts(values)))


def _texts(values: Values) -> pa.Array:
    return pa.array(values, pa.string())


def _documents(key: str, values: Values) -> Read:
    """A column of JSON as canonical JSON; numbers keep every digit, as tagged texts where they must."""
    texts: list[bytes | None] = [None] * len(values)
    tags: dict[int, Mapping[str, str]] = {}
    unreadable: dict[int, str] = {}
    for row, value in enumerate(values):
        if value is None:
            continue
        try:
            texts[row], told = _document(value)
        except ValueError as error:
            unreadable[row] = f"its JSON column '{key}' cannot be read: {error}"
        else:
            if told is not None:
                tags[row] = {pointer[1:]: tag for pointer, tag in orjson.loads(told).items()}
    return Read(Cells(key, _texts(texts), json=True), tags=tags, unreadable=unreadable)


def _document(value: bytes) -> tuple[bytes, bytes | None]:
    """(canonical JSON of a JSON text, its tags under the key "").

    Raises:
        ValueError: it is JSON to MariaDB alone (`{"a": 1.}`), or has a key twice.
    """
    if not _LONG.search(value) or floats_say(value.decode()):
        found = orjson.loads(value)
        if len(_COLON.findall(value)) == count_keys(found):
            return canonical(found), None
    text, told = pack({"": exactly(value.decode())})
    return text[len(b'{"":') : -1], told


def _dates(key: str, name: str, values: Values) -> Read:
    shown = _SHOWN[name]
    texts = [None if value is None else shown(value) for value in values]
    zero = [row for row, text in enumerate(texts) if text is not None and ZERO.match(text)]
    return Read(Cells(key, pa.array(texts, pa.string()), tag="date" if name == "date" else "datetime"), zero)


def _datetime(value: bytes) -> str:
    """As `datetime.isoformat` writes it: six digits of a second, or none."""
    seconds, _, fraction = value.decode().partition(".")
    digits = fraction.ljust(6, "0") if fraction.strip("0") else ""
    return f"{seconds.replace(' ', 'T')}{'.' + digits if digits else ''}"


_SHOWN: dict[str, Callable[[bytes], str]] = {
    "datetime": _datetime,
    "timestamp": lambda value: f"{_datetime(value)}+00:00",  # the session's time zone is UTC
    "date": lambda value: value.decode(),
}
