"""Removing records by their original ids."""

from __future__ import annotations

from collections.abc import Sequence

from vecferry.connectors.postgres._codec.rows import stored_key
from vecferry.connectors.postgres.access import Connection
from vecferry.connectors.postgres.ddl import in_query, names, qualified, quote, type_sql
from vecferry.connectors.postgres.preparing import Prepared
from vecferry.tables.sql import id_sql


def delete(connection: Connection, made: Prepared, ids: Sequence[str]) -> None:
    """Remove the records with these ids; an id that the key cannot be is that of no record."""
    if made.form.id:
        condition = f"{in_query(id_sql(made.table, made.form, quote))} = ANY(%s::text[])"
        values: list[list[str]] = [list(ids)]
    else:
        keys = [key for key in (stored_key(text, made.spec, made.table, made.form) for text in ids) if key is not None]
        values = [list(column) for column in zip(*keys, strict=True)]
        casts = ", ".join(f"%s::{_array(made, column)}" for column in made.form.key)
        condition = f"({in_query(names(made.form.key))}) IN (SELECT * FROM unnest({casts}))"  # noqa: S608 # quoted
    if values:
        statement = f"DELETE FROM {in_query(qualified(made.table))} AS t WHERE {condition}"  # noqa: S608 # quoted
        connection.execute(statement.encode(), values)


def _array(made: Prepared, column: str) -> str:
    return f"text[]::{in_query(type_sql(made.table.column(column).type, made.extension))}[]"
