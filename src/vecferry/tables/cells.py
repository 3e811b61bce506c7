"""The rule of `vecferry.tables.metadata` for whole columns: Arrow in, canonical typed JSON out (`vecferry.tags`). Pure.

Columns without a JSON column beside them become text in Arrow's own kernels, without a Python object per value. A JSON
column has to be parsed, since its store orders keys and spaces as it likes; it is written again in one call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from vecferry.errors import VecferryError
from vecferry.tables.metadata import spread_value
from vecferry.tables.model import SPREAD, Form
from vecferry.tags import canonical, pack

_SPECIAL = r'[\x00-\x1f"\\]'
"""What JSON text escapes."""
_PREFIXED = b'"' + SPREAD.encode()
"""Stands in every JSON text that has a key with our prefix."""
_LONG = r"[\d.]{16}|\d[eE]"
"""Finds every JSON text with a number that 64 bits may not hold, and some that have none."""
_LONG_NUMBER = re.compile(r"[0-9][0-9.eE+-]{15,}|[0-9][0-9.]*[eE][0-9.eE+-]*")

_COLON = r'"\s*:'
"""Finds every key in JSON text, and some places inside of texts."""
_END = orjson.Fragment(b"\n")
_LINE_FEED = 10


@dataclass(frozen=True, slots=True)
class Cells:
    """One column on its way into the metadata.

    Attributes:
        key: of the metadata.
        values: shape (rows,): bool, integers, floats, string or large_string; null is null.
        tag: what every text of it really is: `datetime`, `date`, `decimal`, `bytes` (`vecferry.tags`).
        json: the texts are canonical JSON values (a list, an object), not texts.
    """

    key: str
    values: pa.Array
    tag: str | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """Metadata and tags of a batch, string arrays of shape (rows,), and why some rows have none: row -> reason."""

    metadata: pa.Array
    tags: pa.Array
    unreadable: Mapping[int, str] = field(default_factory=dict)


def metadata_json(
    rows: int, cells: Sequence[Cells], form: Form, spread: pa.Array | None = None, *, doubles: bool = False
) -> Made:
    """The metadata of `rows` rows.

    Args:
        rows: how many; each array has as many.
        cells: one for each of `form.keys`, in any order.
        form: how the rows are read.
        spread: texts of the JSON column `form.metadata`; None where the form names none.
        doubles: that column keeps JSON as text (`json`, not `jsonb`), so that a key may stand in it twice. Such a row
            cannot be read: no metadata holds both values.
    """
    if spread is None and not cells:
        return Made(pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string()))
    if spread is None and all(_finite(cell.values) for cell in cells):
        return _joined(sorted(cells, key=lambda cell: cell.key.encode()))
    text = None if spread is None else spread.cast(pa.string())
    return _row_by_row(rows, cells, frozenset(form.keys), text, doubles=doubles)


def composite(columns: Sequence[pa.Array]) -> pa.Array:
    """Ids of several key columns (`vecferry.tables.keys.join`): integers as numbers, string arrays as text."""
    return _concat("[", pc.binary_join_element_wise(*[_text(column) for column in columns], ","), "]")


# --------------------------------------------------------------------------- columns as text


def _joined(cells: Sequence[Cells]) -> Made:
    pairs = [_concat(f"{orjson.dumps(cell.key).decode()}:", _value(cell), "") for cell in cells]
    metadata = _concat("{", pc.binary_join_element_wise(*pairs, ","), "}")
    return Made(metadata, _tags([cell for cell in cells if cell.tag], len(metadata)))


def _value(cell: Cells) -> pa.Array:
    text = cell.values.cast(pa.string()) if cell.json else _text(cell.values)
    return pc.fill_null(text, "null")


def _tags(cells: Sequence[Cells], rows: int) -> pa.Array:
    if not cells:
        return pa.nulls(rows, pa.string())
    pairs = {_pointer(cell.key): cell for cell in cells}
    texts = [
        pc.if_else(cell.values.is_valid(), f"{orjson.dumps(pointer).decode()}:{orjson.dumps(cell.tag).decode()},", "")
        for pointer, cell in sorted(pairs.items(), key=lambda pair: pair[0].encode())
    ]
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*texts, ""), ",")
    return _concat("{", pc.if_else(pc.equal(joined, ""), None, joined), "}")


def _text(values: pa.Array) -> pa.Array:
    """JSON text of plain values; null stays null."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _quoted(values.cast(pa.string()))
    if pa.types.is_floating(kind):
        return pa.array([None if v is None else orjson.dumps(v).decode() for v in values.to_pylist()], pa.string())
    return values.cast(pa.string())


def _quoted(texts: pa.Array) -> pa.Array:
    plain = _concat('"', texts, '"')
    special = pc.match_substring_regex(texts, _SPECIAL)
    if not pc.any(special).as_py():
        return plain
    encoded = [orjson.dumps(text).decode() for text in texts.filter(special).to_pylist()]
    return pc.replace_with_mask(plain, pc.fill_null(special, False), pa.array(encoded, pa.string()))


def _concat(before: str, texts: pa.Array, after: str) -> pa.Array:
    return pc.binary_join_element_wise(before, texts, after, "")


def _finite(values: pa.Array) -> bool:
    if not pa.types.is_floating(values.type):
        return True
    return bool(pc.all(pc.is_finite(values)).as_py() in {True, None})


# --------------------------------------------------------------------------- beside a JSON column


def _row_by_row(
    rows: int, cells: Sequence[Cells], taken: frozenset[str], spread: pa.Array | None, *, doubles: bool
) -> Made:
    """What most rows need is done for all of them at once; a row that needs care is done with care."""
    keys, values = [cell.key for cell in cells], list(zip(*map(_python, cells), strict=True))
    quick: dict[int, dict[str, Any]] = {}
    if spread is not None and all(_finite(cell.values) for cell in cells):
        quick = _objects(spread, taken, doubles=doubles)
    for row, found in quick.items() if cells else ():
        found.update(zip(keys, values[row], strict=True))
    made, tags = _dumped(list(quick.values())), _tags([cell for cell in cells if cell.tag], rows)
    if len(made) == rows:
        return Made(made, tags)
    metadata: list[str | None] = [None] * rows
    for row, text in zip(quick, made.to_pylist(), strict=False):  # none where they could not be dumped
        metadata[row] = text
    named = [dict(zip(keys, row, strict=True)) for row in values] or [{}] * rows
    return _with_care(metadata, tags.to_pylist(), named, taken, None if spread is None else spread.to_pylist())


def _with_care(
    metadata: list[str | None],
    tags: list[str | None],
    values: Sequence[Mapping[str, Any]],
    taken: frozenset[str],
    spread: Sequence[str | None] | None,
) -> Made:
    """The rows that have no metadata yet, one by one."""
    unreadable: dict[int, str] = {}
    for row, made in enumerate(metadata):
        text = None if spread is None else spread[row]
        if made is not None or (text is None and not taken):
            continue
        try:
            metadata[row], tags[row] = _carefully(values[row], tags[row], text, taken, spread is not None)
        except (ValueError, RecursionError, VecferryError) as error:
            unreadable[row] = _reason(error)
    return Made(pa.array(metadata, pa.string()), pa.array(tags, pa.string()), unreadable)


def _objects(spread: pa.Array, taken: frozenset[str], *, doubles: bool) -> dict[int, dict[str, Any]]:
    """The object that the text of each row is, for the rows that need no care."""
    texts: list[bytes | None] = spread.cast(pa.binary()).to_pylist()
    careful = {row for row in _rows_with(spread, _LONG) if not floats_say(spread[row].as_py())}
    if _PREFIXED in b"".join(filter(None, texts)):
        careful.update(row for row, text in enumerate(texts) if text is not None and _PREFIXED in text)
    found: dict[int, dict[str, Any]] = {}
    for row, text in enumerate(texts):
        if text is None or row in careful:
            continue
        try:
            value = orjson.loads(text)
        except ValueError:
            continue
        if type(value) is dict and taken.isdisjoint(value):
            found[row] = value
    if doubles and _keys_may_be_twice([texts[row] or b"" for row in found], found.values()):
        return _without_doubles(found, spread)
    return found


def _rows_with(texts: pa.Array, pattern: str) -> list[int]:
    rows: list[int] = pc.indices_nonzero(pc.match_substring_regex(texts, pattern)).to_pylist()
    return rows


def _keys_may_be_twice(texts: Sequence[bytes], found: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a text may have more keys than its object: surely none has, where all have as many as all objects."""
    whole, keys = b"".join(texts), sum(map(len, found))
    if whole.count(b":") == keys:
        return False
    spaced = any(b'"' + space in whole for space in (b" ", b"\t", b"\n", b"\r"))
    return spaced or whole.count(b'":') != keys


def _without_doubles(found: Mapping[int, dict[str, Any]], spread: pa.Array) -> dict[int, dict[str, Any]]:
    """The rows in whose text no key can stand twice: it has as many as the object."""
    counts = pc.count_substring_regex(spread, _COLON).to_pylist()
    return {row: value for row, value in found.items() if len(value) == counts[row] or count_keys(value) == counts[row]}


def _dumped(values: Sequence[Mapping[str, Any]]) -> pa.Array:
    """The canonical text of each value, made in one call; nothing where one is nested too deep for that.

    A line feed behind each, which no canonical JSON holds, tells where it ends.
    """
    parted: list[Any] = [_END] * (2 * len(values))
    parted[::2] = values
    try:
        text = orjson.dumps(parted, option=orjson.OPT_SORT_KEYS)  # [{…},\n,{…},\n]
    except TypeError:
        return pa.array([], pa.string())
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_FEED)
    offsets = np.zeros(len(values) + 1, np.int32)
    offsets[1:] = ends - 2 - 3 * np.arange(len(values))  # without what stands before: "[", and ",\n," for each
    data = text[1:-3].replace(b",\n,", b"")
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data))


def floats_say(text: str) -> bool:
    """Whether 64 bits hold every number of a JSON text to its last digit; False where only care can tell."""
    return all(map(_says, _LONG_NUMBER.findall(text)))


def _says(number: str) -> bool:
    """`number` is without its sign, so that an integer past 2**63 may be one too many."""
    try:
        if number.isdigit():
            return int(number) < 1 << 63
        text = repr(float(number))
        return text == number or Decimal(text) == Decimal(number)
    except (ArithmeticError, ValueError):  # digits of a text, or a number that no float comes near
        return False


def _python(cell: Cells) -> list[Any]:
    values: list[Any] = cell.values.to_pylist()
    return [None if value is None else exactly(value) for value in values] if cell.json else values


def _carefully(
    values: Mapping[str, Any], tags: str | None, text: str | None, taken: frozenset[str], spreads: bool
) -> tuple[str, str | None]:
    """(metadata, tags) of one row; `tags` are those of its columns."""
    if spreads:
        whole = {SPREAD: None} if text is None else spread_value(exactly(text), taken)
        values = {**whole, **values}
    made, told = pack(values)
    both = {**orjson.loads(told or b"{}"), **orjson.loads(tags or "{}")}
    return made.decode(), canonical(both).decode() if both else None


def count_keys(value: Any) -> int:
    """The keys of all objects in `value`."""
    if isinstance(value, dict):
        return len(value) + sum(map(count_keys, value.values()))
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {json.dumps(double)} stands in it twice")
    return found


def exactly(text: str) -> Any:
    """Parse JSON and lose no digit: a number that a float would round is a Decimal, long integers stay integers."""
    return json.loads(text, parse_float=_number, object_pairs_hook=_once)


def _number(text: str) -> float | Decimal:
    value = float(text)
    return value if Decimal(repr(value)) == Decimal(text) else Decimal(text)


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _reason(error: Exception) -> str:
    told = error.message if isinstance(error, VecferryError) else str(error).partition("\n")[0]
    return f"its JSON column cannot be read: {told}"
