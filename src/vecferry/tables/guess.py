"""The form of a table that nobody described: what a person would say at a glance, and no more. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vecferry.model import UNNAMED
from vecferry.tables.model import SPREAD, Column, Form, Table
from vecferry.tables.types import is_json, is_text

DOCUMENTS = ("content", "text", "document", "page_content", "chunk", "body")
"""Names of the column that is the text, the likeliest first."""
METADATA = ("metadata", "cmetadata", "metadata_", "meta")
"""Names of the JSON column that is the metadata."""


def guess(table: Table) -> Form:
    """The form of `table`: its key, its vector columns, its text, its metadata; all else goes along as it is.

    `key` is empty where the table has none. Text or metadata is None where no name fits, or two do.
    """
    key = key_of(table)
    vectors = [column.name for column in table.columns if column.vector]
    rest = [column for column in table.columns if column.name not in {*vectors, *key}]
    document = _only(rest, DOCUMENTS, is_text)
    metadata = _only(rest, METADATA, is_json)
    if any(name.startswith(SPREAD) for name in table.names):
        metadata = None  # its keys could not be told from that column's
    return Form(
        key=key,
        vectors=_named(vectors),
        document=document,
        metadata=metadata,
        columns=other_columns(table, used=(*vectors, document, metadata), key=key),
    )


def other_columns(table: Table, *, used: Iterable[str | None], key: Sequence[str]) -> tuple[str, ...]:
    """The columns that go along as metadata: all that are not `used`, and not the one column that is the id.

    The columns of a composite key do go along, so that they can be filtered by. Generated columns do not: what they
    are made of does.
    """
    taken = {*used, *(key if len(key) == 1 else ())}
    return tuple(column.name for column in table.columns if column.name not in taken and not column.generated)


def key_of(table: Table) -> tuple[str, ...]:
    """The columns that tell rows apart: the primary key, or a unique key over columns that are never null."""
    if table.primary_key:
        return table.primary_key
    whole = [key for key in table.unique if not any(table.column(name).nullable for name in key)]
    return min(whole, key=len, default=())


def _only(columns: Sequence[Column], names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    """The one column with such a name and type; None where there is none, or more than one."""
    found = [column.name for column in columns if column.name.lower() in names and fits(column.type)]
    return found[0] if len(found) == 1 else None


def _named(columns: Sequence[str]) -> dict[str, str]:
    """The only vector has no name, several have their columns'."""
    return {UNNAMED: columns[0]} if len(columns) == 1 else {name: name for name in columns}
