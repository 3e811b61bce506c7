"""The side table of cards: which tables of a schema we wrote or adopted, with what card, and in what form.

A card belongs to a table by its name: who drops a table of ours by hand leaves its card behind, to be overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from vecferry.connectors.postgres.access import Connection
from vecferry.connectors.postgres.ddl import CARDS, cards, in_query, literal, quote
from vecferry.errors import CorruptData
from vecferry.model import Card
from vecferry.tables import Form


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands in the side table about one table.

    Attributes:
        form: how its rows are records: all of them. Its condition is SQL, which a card has no say in.
    """

    card: Card
    form: Form


def read_all(connection: Connection, schema: str) -> Mapping[str, Kept]:
    """By table, every card of a schema; empty where it has no side table.

    Raises:
        CorruptData: a card or form that cannot be read.
    """
    if not _there(connection, schema):
        return {}
    rows = connection.execute(
        f"SELECT c.collection, c.card::text, c.form::text FROM {_place(schema)} AS c".encode()  # noqa: S608 # quoted
    ).fetchall()
    return {name: decoded(name, card, form) for name, card, form in rows}


def read(connection: Connection, schema: str, table: str) -> Kept | None:
    """The card of one table, None where it has none."""
    if not _there(connection, schema):
        return None
    row = connection.execute(
        f"SELECT card::text, form::text FROM {in_query(_place(schema))} WHERE collection = %s".encode(),  # noqa: S608 # quoted
        [table],
    ).fetchone()
    return None if row is None else decoded(table, *row)


def write(connection: Connection, schema: str, table: str, kept: Kept) -> None:
    """Give a table a card, or another; the side table is made where it is missing."""
    if not _there(connection, schema):
        connection.execute(cards(schema).encode())
    connection.execute(
        f"INSERT INTO {in_query(_place(schema))} (collection, card, form) VALUES (%s, %s, %s) "  # noqa: S608 # quoted
        "ON CONFLICT (collection) DO UPDATE SET card = EXCLUDED.card, form = EXCLUDED.form".encode(),
        [table, *(msgspec.json.encode(value, order="deterministic").decode() for value in (kept.card, kept.form))],
    )


def forget(connection: Connection, schema: str, table: str) -> None:
    """Take the card of a table away."""
    if _there(connection, schema):
        connection.execute(f"DELETE FROM {in_query(_place(schema))} WHERE collection = %s".encode(), [table])  # noqa: S608


def _place(schema: str) -> str:
    return f"{quote(schema)}.{quote(CARDS)}"


def _there(connection: Connection, schema: str) -> bool:
    row = connection.execute(f"SELECT to_regclass({literal(_place(schema))}) IS NOT NULL".encode()).fetchone()
    return bool(row and row[0])


def decoded(name: str, card: Any, form: Any) -> Kept:
    """What stands in the side table about the table `name`, from the texts of its JSON.

    Raises:
        CorruptData: they cannot be read, or are of a later vecferry.
    """
    try:
        read = msgspec.json.decode(form, type=Form)
        kept = Kept(msgspec.json.decode(card, type=Card), replace(read, where=None))
    except (msgspec.MsgspecError, TypeError) as error:
        raise CorruptData(
            f"The card of the table {name} cannot be read: {error}.",
            hint=f"Restore its row in {CARDS}, or remove it.",
        ) from error
    if kept.card.version > Card().version:
        raise CorruptData(f"The card of the table {name} is of version {kept.card.version}.", hint="Update vecferry.")
    return kept
