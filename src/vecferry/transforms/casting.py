"""Casting metadata values to another type, exactly or not at all. Pure.

| to       | from                                                                                           |
|----------|------------------------------------------------------------------------------------------------|
| int      | text as JSON writes integers, so neither `007` nor ` 7 `; a whole float; a boolean             |
| float    | text as JSON writes numbers; an integer that a float holds exactly                             |
| str      | any scalar, as JSON or ISO 8601 writes it                                                      |
| bool     | `true`, `false`, `yes`, `no`, `1`, `0` in any case; the numbers 1 and 0                        |
| datetime | text in ISO 8601; a number as seconds since 1970 (UTC)                                         |

Null stays null, a missing key stays missing, a list is cast element by element. A value that cannot be cast sets its
record aside. `str` then `int` gives back every integer, and so does `str` then `float` every finite float.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vecferry.transforms.model import Kind
from vecferry.transforms.rows import Aside, Change, Row
from vecferry.transforms.templates import as_text

# A text with zeros before it or spaces around it is a code (a postcode, a ticket): as a number it would not come back.
_INT = re.compile(r"0|-?[1-9][0-9]{0,3999}")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def cast(kinds: Mapping[str, Kind]) -> Change:
    """Metadata key -> kind of its values."""

    def change(row: Row) -> None:
        metadata = row.metadata
        if metadata is None:
            return
        new = {key: _cast(metadata[key], kind, key) for key, kind in kinds.items() if key in metadata}
        row.metadata = {**metadata, **new}

    return change


def _cast(value: Any, kind: Kind, key: str) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_cast(item, kind, key) for item in value]
    try:
        return _CASTS[kind](value)
    except (ValueError, OverflowError):
        raise Aside(f"The value under '{key}' cannot be cast to {kind}.") from None


def _int(value: Any) -> int:
    if isinstance(value, str) and _INT.fullmatch(value):
        return int(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise ValueError(value)


def _float(value: Any) -> float:
    if isinstance(value, str) and _FLOAT.fullmatch(value):
        made = float(value)
        if math.isfinite(made):
            return made
    elif isinstance(value, float):
        return value
    elif isinstance(value, int) and int(float(value)) == value:
        return float(value)
    raise ValueError(value)


def _str(value: Any) -> str:
    text = as_text(value)
    if text is None:
        raise ValueError(value)
    return text


def _bool(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in _BOOLS:
        return _BOOLS[value.strip().lower()]
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    raise ValueError(value)


def _datetime(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_seconds(value)
    raise ValueError(value)


def _of_seconds(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except OSError as error:
        raise ValueError(seconds) from error


_CASTS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.STR: _str,
    Kind.BOOL: _bool,
    Kind.DATETIME: _datetime,
}
