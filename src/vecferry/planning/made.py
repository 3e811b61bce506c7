"""A new table in the form that an application wants: what a preset says of it, filled in for one collection. Pure.

Such a table has an envelope (`_vf`) beside the application's columns, which leaves it alone: so every record comes back
from it as it went in, whatever those columns cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from vecferry.errors import ConfigError
from vecferry.model import CollectionSpec, IdKind, IdRule, VectorKind
from vecferry.tables import Column, Form, Parent, Table
from vecferry.tables.envelope import COLUMN as ENVELOPE
from vecferry.tables.wish import Wish

_IDS = {IdKind.INT: "bigint", IdKind.UUID: "uuid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """How a new table of an application is made.

    In types, defaults and values of rows, `{id}` is the type for the collection's ids (bigint, uuid or text), `{dim}`
    the vector's dimension, `{name}` the collection's name, `{uuid}` a UUID made of that.

    Attributes:
        columns: all of them but the envelope.
        primary_key, unique: the keys.
        key: the columns that are the id, where a new table has others than one that is read.
        name: what the table is called; `{name}`.
        parent: a row that every row refers to.
    """

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    key: tuple[str, ...] = ()
    name: str = "{name}"
    parent: Parent | None = None


def make(spec: CollectionSpec, wish: Wish, how: Make, title: str) -> CollectionSpec:
    """`spec` with the settings that have its table made.

    Args:
        spec: what the target is asked for. title: the collection's own name, which the application knows it by.

    Raises:
        ConfigError: it has not one dense vector.
    """
    if [vector.kind for vector in spec.vectors] != [VectorKind.DENSE]:
        raise ConfigError(
            f"'{title}' has {len(spec.vectors)} vectors; the table that is to be made holds one, and a dense one.",
            hint="Leave the others out in the plan file, or leave --layout out.",
        )
    words = {
        "id": _IDS.get(spec.id_kind, "text"),
        "dim": str(spec.vectors[0].dim or 1),
        "name": title,
        "uuid": str(uuid5(UUID(IdRule().namespace), title)),
    }
    table = _table(Table(name="", columns=how.columns, primary_key=how.primary_key, unique=how.unique), words)
    columns = (*table.columns, Column(name=ENVELOPE, type=table.column(str(wish.metadata)).type))
    vectors = dict.fromkeys((spec.vectors[0].name,), next(iter((wish.vectors or {}).values())))
    form = Form(
        key=how.key or wish.key,
        vectors=vectors,
        document=wish.document or None,
        uri=wish.uri or None,
        metadata=wish.metadata or None,
    )
    made = {} if how.parent is None else {"parent": _parent(how.parent, words).as_json()}
    settings = {"table": replace(table, columns=columns).as_json(), "form": form.as_json(), "made": made}
    return replace(spec, config={**spec.config, **settings})


def _parent(parent: Parent, words: Mapping[str, str]) -> Parent:
    row = {column: _filled(text, words) for column, text in parent.row.items()}
    return replace(parent, table=_table(parent.table, words), row=row)


def _table(table: Table, words: Mapping[str, str]) -> Table:
    plain = {key: text for key, text in words.items() if key != "name"}  # which is no piece of SQL
    columns = (
        replace(column, type=_filled(column.type, plain), default=_filled(column.default, plain))
        for column in table.columns
    )
    return replace(table, columns=tuple(columns))


def _filled(text: Any, words: Mapping[str, str]) -> Any:
    for key, value in words.items() if text is not None else ():
        text = text.replace("{" + key + "}", value)
    return text
