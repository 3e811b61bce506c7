"""Tables that are new, and made in the form that an application wants: the row that all of their rows refer to."""

from __future__ import annotations

from collections.abc import Mapping

from vecferry.connectors.postgres.access import Connection
from vecferry.connectors.postgres.ddl import create, in_query, names, qualified, quote
from vecferry.errors import Conflict
from vecferry.model import CollectionSpec
from vecferry.tables import Parent, Table
from vecferry.tables.expression import POSTGRES, one_piece

MADE = "made"
"""A setting of specs: `{}`, or `{"parent": …}` (`vecferry.tables.Parent`)."""


def is_made(spec: CollectionSpec) -> bool:
    """Whether the table that the spec tells of is a new one, and not one that comes home."""
    return isinstance(spec.config.get(MADE), Mapping)


def parent_of(spec: CollectionSpec) -> Parent | None:
    """The row that every row of the spec's new table refers to."""
    told = spec.config[MADE].get("parent") if is_made(spec) else None
    if told is None:
        return None
    parent = Parent.from_json(told)
    for column in parent.table.columns:
        one_piece(column.type, POSTGRES)
        one_piece(column.default or "", POSTGRES)
    return parent


def refuse_shared(spec: CollectionSpec, table: Table, store: str) -> None:
    """See that rows which need a parent do not get another one in a table that is there already.

    Raises:
        Conflict: they would: it is a column's default that names the parent, and this table's names none, or another.
    """
    parent = parent_of(spec)
    if parent is not None and not parent.owns(table):
        raise Conflict(
            f"'{spec.name}' is there already in {store}, and holds all collections of its application.",
            store=store,
            hint="Choose another schema (?schema=NAME in the URL), or a layout with a table for each collection.",
        )


def adopt_parent(connection: Connection, child: Table, spec: CollectionSpec, store: str) -> None:
    """Make the parent's table and row where they are missing, and let the child refer to it.

    Raises:
        Conflict: a row of that name is there under another key.
    """
    parent = parent_of(spec)
    if parent is None:
        return
    (schema,) = child.namespace
    table = Table(
        name=parent.table.name,
        namespace=(schema,),
        columns=parent.table.columns,
        primary_key=parent.table.primary_key,
        unique=parent.table.unique,
    )
    (key,) = table.primary_key
    place = in_query(qualified(table))
    connection.execute(create(table, "").replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1).encode())
    columns = in_query(names(list(parent.row)))
    marks = ", ".join(f"%s::{in_query(table.column(name).type)}" for name in parent.row)
    connection.execute(
        f"INSERT INTO {place} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING".encode(),  # noqa: S608 # quoted
        list(parent.row.values()),
    )
    known = f"SELECT 1 FROM {place} WHERE {in_query(quote(key))}::text = %s"  # noqa: S608 # quoted
    if connection.execute(known.encode(), [parent.row[key]]).fetchone() is None:
        raise Conflict(
            f"'{table.name}' in {store} has a row of that name under another {key}.",
            store=store,
            hint="Choose another schema: ?schema=NAME in the URL.",
        )
    connection.execute(
        f"ALTER TABLE {qualified(child)} ADD FOREIGN KEY ({quote(parent.column)}) "
        f"REFERENCES {qualified(table)} ({quote(key)}) ON DELETE CASCADE".encode()
    )
