"""A new table in the form that an application wants: what a preset says of it, filled in for one collection. Pure.

Such a table has an envelope (`_vf`) beside the application's columns, which leaves it alone: so every record comes back
from it as it went in, whatever those columns cannot say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from vecferry.errors import ConfigError, Conflict
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


def check_make(wish: Wish, how: Make, name: str) -> None:
    """See that a preset says all that a new table needs; `name`: the table's in the preset.

    Raises:
        ConfigError: it leaves a part of a record out, names a column that is not made, or a parent without its key.
    """
    parts = {"key": how.key or wish.key, "document": wish.document, "metadata": wish.metadata}
    parts |= {"vectors": tuple((wish.vectors or {}).values())[:1], "uri": wish.uri}
    missing = [part for part, found in parts.items() if not found and part != "uri"]
    named = [column for found in parts.values() if found for column in ([found] if isinstance(found, str) else found)]
    named += [*how.primary_key, *(column for key in how.unique for column in key)]
    named += [] if how.parent is None else [how.parent.column]
    unmade = sorted({*named} - {column.name for column in how.columns})
    hint = "docs/how-to/write-a-preset.md has an example of `make`."
    if missing or unmade:
        said = f"without saying its {missing[0]}" if missing else f"without its column '{unmade[0]}'"
        raise ConfigError(f"The preset makes the table '{name}' {said}.", hint=hint)
    if how.parent is not None and [key in how.parent.row for key in how.parent.table.primary_key] != [True]:
        raise ConfigError(f"The parent of '{name}' needs a key of one column, and a value for it in `row`.", hint=hint)


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


def refuse_shared(wanted: CollectionSpec, found: CollectionSpec) -> None:
    """See that a table of several collections is not removed to be made anew for one of them.

    Args:
        wanted: as `make` gave it. found: what stands there.

    Raises:
        Conflict: rows of the table belong to another collection than the one that `wanted` names.
    """
    made, table = wanted.config.get("made"), found.config.get("table")
    told = made.get("parent") if isinstance(made, Mapping) else None
    if told is not None and table is not None and not Parent.from_json(told).owns(Table.from_json(table)):
        raise Conflict(
            f"'{found.name}' holds all collections of its application, and would be removed with all of them.",
            hint="Choose another schema or database, or a layout with a table for each collection.",
        )


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
    return None if text is None else re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), text)
