"""The description that PostgREST gives of its tables (OpenAPI 2.0) as `vecferry.tables.Table`. Pure.

It names columns with their types, which may be null, and, in texts for people, primary and foreign keys. Nothing is
said of unique keys, indexes (so of no metric), generated columns, partitions and row-level security.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vecferry.connectors.postgres.catalog import plain_type
from vecferry.errors import ConfigError
from vecferry.tables import Column, ForeignKey, Table

_PARENT = re.compile(r"<fk table='([^']*)' column='([^']*)'/>")


def tables(description: Any, schema: str, *, store: str) -> Iterator[Table]:
    """The tables and views of a description, by name.

    Raises:
        ConfigError: it is none.
    """
    try:
        definitions: Mapping[str, Any] = description["definitions"]
        made = [_table(name, definitions[name], schema) for name in sorted(definitions)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{store} answers, but it is no REST interface of Supabase.",
            hint="Write the address of the project: supabase+https://PROJECT.supabase.co.",
        ) from error
    yield from made


def _table(name: str, definition: Mapping[str, Any], schema: str) -> Table:
    properties: Mapping[str, Mapping[str, Any]] = definition.get("properties", {})
    required = frozenset(definition.get("required", ()))
    key = tuple(column for column, told in properties.items() if "<pk/>" in told.get("description", ""))
    return Table(
        name=name,
        namespace=(schema,),
        columns=tuple(_column(column, told, null=column not in required) for column, told in properties.items()),
        primary_key=key,
        foreign_keys=tuple(_parents(properties, schema)),
        view=not key,
    )


def _column(name: str, told: Mapping[str, Any], *, null: bool) -> Column:
    default = told.get("default")
    serial = isinstance(default, str) and default.startswith("nextval(")
    return Column(
        name=name,
        type=plain_type(str(told.get("format", ""))),
        nullable=null,
        identity=serial,
        default=None if serial or default is None else str(default),
    )


def _parents(properties: Mapping[str, Mapping[str, Any]], schema: str) -> Iterator[ForeignKey]:
    for column, told in properties.items():
        found = _PARENT.search(told.get("description", ""))
        if found:
            yield ForeignKey(columns=(column,), schema=schema, table=found[1], targets=(found[2],))
