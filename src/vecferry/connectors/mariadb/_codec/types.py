"""How the values of a MariaDB column are asked for, and what they become in a record's metadata. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from vecferry.tables.cells import Cells
from vecferry.tables.types import is_int, is_json
from vecferry.tags import canonical, loads

_BINARY = re.compile(
    r"(tiny|medium|long)?blob|(var)?binary\(\d+\)|geometry|point|linestring|polygon|multi\w+|geometry\w*"
)
_DATETIME = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")
_ZERO = re.compile(r"^0000|^\d{4}-00|^\d{4}-\d\d-00")
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
    """One column as metadata, and the rows whose date is none of the calendar's (0000-00-00): text without a tag."""

    cells: Cells
    untagged: Sequence[int] = ()


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
        return Read(Cells(key, _texts([None if v is None else _json(v) for v in values]), json=True))
    return Read(Cells(key, _texts(values)))


def _texts(values: Values) -> pa.Array:
    return pa.array(values, pa.string())


def _json(text: bytes) -> bytes:
    """Canonical JSON of a value; as a text where it holds what canonical JSON cannot say."""
    try:
        return canonical(loads(text))
    except (ValueError, TypeError):
        return canonical(text.decode())


def _dates(key: str, name: str, values: Values) -> Read:
    shown = _SHOWN[name]
    texts = [None if value is None else shown(value) for value in values]
    zero = [row for row, text in enumerate(texts) if text is not None and _ZERO.match(text)]
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
