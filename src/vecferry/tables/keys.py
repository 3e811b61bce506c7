"""A record's id from its key columns, and back. Pure.

One column: its text; an integer in decimal digits, a UUID in lower case with hyphens. Several: the canonical JSON array
of their values, integers as numbers, all else as text: `["https://a/b",3]`. Equal rows have equal ids, and the values
come back. Or a template over the row, which does not come back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from vecferry.errors import ConfigError, DataError
from vecferry.model import IdKind
from vecferry.tables.model import Form, Table
from vecferry.tables.types import is_int, is_uuid

Value = int | str


def id_kind(table: Table, form: Form) -> IdKind:
    """The kind of the ids that `form` gives the rows of `table`."""
    if form.id:
        return IdKind.TEXT
    if len(form.key) != 1:
        return IdKind.COMPOSITE
    kind = table.column(form.key[0]).type
    return IdKind.INT if is_int(kind) else IdKind.UUID if is_uuid(kind) else IdKind.TEXT


def join(values: Sequence[Value]) -> str:
    """The id of a row with several key columns."""
    return orjson.dumps(list(values)).decode()


def split(text: str, columns: int) -> tuple[Value, ...]:
    """The values that `join` was given.

    Raises:
        DataError: `text` is no composite id of so many columns.
    """
    try:
        values = orjson.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or len(values) != columns or not all(type(v) in {int, str} for v in values):
        raise DataError(
            f"The id is no composite of {columns} columns.",
            ids=[text],
            hint="It was made elsewhere: choose a table with one id column, or give the key columns in the plan.",
        )
    return tuple(values)


# --------------------------------------------------------------------------- ids with a shape of their own


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a template: a literal `text`, or the value of a column or rank, as it is or its MD5 in hexadecimal."""

    text: str = ""
    column: str = ""
    md5: bool = False


def template(text: str) -> tuple[Part, ...]:
    """The pieces of an id's template.

    Raises:
        ConfigError: braces that do not close, a backslash, a function that there is not, no column at all.
    """
    parts = tuple(_parts(text))
    if not any(part.column for part in parts) or any(set(part.text) & set("{}\\") for part in parts):
        raise ConfigError(
            f"'{text}' is no template of an id.",
            hint="Write columns in braces, as they are or as md5({column}): md5({url})_{chunk_number}.",
        )
    return parts


def _parts(text: str) -> Iterator[Part]:
    end = 0
    for found in _TEMPLATE.finditer(text):
        if found.start() > end:
            yield Part(text=text[end : found.start()])
        end = found.end()
        yield Part(column=found["hashed"] or found["plain"], md5=found["hashed"] is not None)
    if end < len(text):
        yield Part(text=text[end:])


_TEMPLATE = re.compile(r"md5\(\{(?P<hashed>[^{}]+)\}\)|\{(?P<plain>[^{}]+)\}")


def fill(parts: Sequence[Part], row: Mapping[str, Any]) -> str:
    """The id of a row, from its values by column or rank; what the SQL of `vecferry.tables.sql.id_sql` gives."""
    return "".join(part.text or _value(str(row[part.column]), md5=part.md5) for part in parts)


def _value(text: str, *, md5: bool) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() if md5 else text
