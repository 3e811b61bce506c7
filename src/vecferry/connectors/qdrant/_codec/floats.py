"""Floats that Qdrant's own storage moves by a unit in the last place, found and written down. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from vecferry.connectors.qdrant._codec.form import Rows

_EXACT_CHARACTERS = 16
_NINES = bytes.maketrans(b"0123456789.", b"9" * 11)
_LONG, _EXPONENT = b"9" * _EXACT_CHARACTERS, b"9e"
"""With digits and points written as 9, each JSON text that holds a fragile float holds one of these; others may."""


def guard(rows: Rows) -> None:
    """Write down the floats that Qdrant's JSON storage would not give back bit for bit."""
    if not _suspect(b"\n".join(filter(None, rows.metadata))):  # all at once: most collections have none
        return
    for row, text in enumerate(rows.metadata):
        if text is not None and _suspect(text) and (fragile := dict(fragile_floats(rows.parse(row)))):
            rows.note("f", row, fragile)


def _suspect(text: bytes) -> bool:
    nines = text.translate(_NINES)
    return _LONG in nines or _EXPONENT in nines


def fragile_floats(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """(JSON Pointer, text) of each float below `value` that Qdrant 1.16 may move by a unit in the last place.

    It keeps payloads as JSON text and parses them with serde_json's fast reader, which is exact for up to 15 digits
    and small exponents; every re-reading (optimisation, restart) may move the value again.
    """
    if type(value) is dict:
        pairs: Iterable[tuple[Any, Any]] = value.items()
    elif type(value) is list:
        pairs = enumerate(value)
    else:
        return
    for key, item in pairs:
        kind = type(item)
        if kind is float and is_fragile(item):
            yield f"{pointer}/{_escape(str(key))}", repr(item)
        elif kind is dict or kind is list:
            yield from fragile_floats(item, f"{pointer}/{_escape(str(key))}")


def is_fragile(value: float) -> bool:
    """True for a float whose shortest JSON text has more digits than Qdrant reads exactly, or an exponent."""
    text = orjson.dumps(value)
    return len(text) > _EXACT_CHARACTERS or b"e" in text


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
