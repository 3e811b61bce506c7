"""Foreign keys of tables that came home: each is made once the child and its parent are there, whichever comes last."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import psycopg

from vecferry.connectors.postgres import cards, catalog
from vecferry.connectors.postgres.access import Connection
from vecferry.connectors.postgres.ddl import foreign_key
from vecferry.connectors.postgres.preparing import Prepared, told
from vecferry.model import CollectionSpec
from vecferry.tables import ForeignKey, Table

_LOG = logging.getLogger("vecferry.postgres")
Place = tuple[str, str]
"""(schema, table)"""


def relate(connection: Connection, made: Prepared) -> None:
    """Give the tables of `made`'s schema the foreign keys that they had, as far as both ends are there by now.

    One that rows break is not made, and that is said: they came without their parent.
    """
    (schema,) = made.table.namespace
    homes = dict(_homes(connection, schema))
    if (given := told(made.spec)) is not None:
        homes[made.table.name] = _home(given[0])
    here = {found.table.name: found.table for found in catalog.find(connection, schemas=[schema])}
    for name, (_, was) in homes.items():
        child = here.get(name)
        for key in was.foreign_keys if child is not None else ():
            parent = _parent(key, homes, here)
            if child is None or made.table.name not in (child.name, parent.name if parent else ""):
                continue
            if parent is not None:
                _add(connection, child, replace(key, schema=schema, table=parent.name))
            else:
                _LOG.warning("'%s' is not there to refer to; the key is made when it is moved here.", key.table)


def _homes(connection: Connection, schema: str) -> Iterator[tuple[str, tuple[Place, Table]]]:
    """(table, (where it came from, what it was)), of every table here that came home."""
    for name, kept in cards.read_all(connection, schema).items():
        origin: Mapping[str, Any] = kept.card.origin
        given = told(CollectionSpec(name=name, config=origin.get("config") or {}))
        if given is not None and not kept.card.adopted and origin.get("kind") == "postgresql":
            yield name, _home(given[0])


def _home(was: Table) -> tuple[Place, Table]:
    return (was.namespace[-1] if was.namespace else "", was.name), was


def _parent(key: ForeignKey, homes: Mapping[str, tuple[Place, Table]], here: Mapping[str, Table]) -> Table | None:
    """The table that `key` refers to now: the one that came from there, else the one of its name."""
    came = [name for name, (place, _) in homes.items() if place == (key.schema, key.table)]
    found = here.get(came[0] if came else key.table)
    return found if found is not None and set(key.targets) <= set(found.names) else None


def _add(connection: Connection, child: Table, key: ForeignKey) -> None:
    if any((other.columns, other.table) == (key.columns, key.table) for other in child.foreign_keys):
        return
    statement = foreign_key(child, key)
    connection.execute("SAVEPOINT relation")
    try:
        connection.execute(statement.encode())
    except (psycopg.IntegrityError, psycopg.ProgrammingError) as error:
        connection.execute("ROLLBACK TO SAVEPOINT relation")
        said = error.diag.message_primary or "it was refused"
        _LOG.warning("A foreign key of '%s' was not made: %s. When that is mended: %s;", child.name, said, statement)
