"""The rule between a row's values and a record's metadata, both ways. Pure; for many rows see `vecferry.tables.cells`.

Every column of `Form.keys` is a key of the metadata; SQL NULL is a null there. Beside them stand the keys of the JSON
column `Form.metadata`; one that equals one of `Form.keys`, or begins with `metadata.`, has `metadata.` before it.
Where the JSON column holds no object, `metadata.` itself is a key: null for SQL NULL, an empty object for JSON's null,
else the value. A row with no key at all, whose JSON column is NULL or not there, has no metadata.

    {"url": "a", "metadata": '{"url": 1, "n": 2}'}   <->   {"url": "a", "metadata.url": 1, "n": 2}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vecferry.errors import DataError
from vecferry.tables.model import SPREAD, Form
from vecferry.tags import loads


def to_metadata(form: Form, values: Mapping[str, Any], text: bytes | str | None) -> dict[str, Any] | None:
    """The metadata of one row.

    Args:
        form: how the row is read.
        values: metadata key -> value, for every one of `form.keys`.
        text: of the JSON column, None for SQL NULL or where the form names none.

    Raises:
        DataError: `text` is not JSON.
    """
    if not form.keys and text is None:
        return None
    return {**values, **spread(text, frozenset(form.keys))} if form.metadata else dict(values)


def spread(text: bytes | str | None, taken: Collection[str]) -> dict[str, Any]:
    """What a JSON column adds to the metadata, beside the keys `taken`.

    Raises:
        DataError: `text` is not JSON.
    """
    if text is None:
        return {SPREAD: None}
    try:
        value = loads(text)
    except ValueError as error:
        raise DataError(f"A JSON column holds what is no JSON: {error}.", hint="Mend the row in the source.") from error
    return spread_value(value, taken)


def spread_value(value: Any, taken: Collection[str]) -> dict[str, Any]:
    """`spread` of a value that is parsed already."""
    if isinstance(value, dict):
        return {
            f"{SPREAD}{key}" if key in taken or key.startswith(SPREAD) else key: item for key, item in value.items()
        }
    return {SPREAD: {} if value is None else value}


def from_metadata(form: Form, metadata: Mapping[str, Any] | None) -> tuple[dict[str, Any], Any, bool]:
    """(column -> value, value of the JSON column, whether that is SQL NULL) of one record on the way home.

    Keys that are computed or a parent's are left out; a column whose key is missing is left out too, so that its
    default applies. Values of datetime, Decimal and bytes are as `vecferry.tags.unpack` gives them.
    """
    found = dict(metadata or {})
    for key in form.borrowed:
        found.pop(key, None)
    values = {column: found.pop(key) for key, column in form.own.items() if key in found}
    if SPREAD not in found:
        return values, {key.removeprefix(SPREAD): item for key, item in found.items()}, metadata is None
    whole = found[SPREAD]
    return values, None if whole == {} else whole, whole is None
