"""The side table of cards: which tables of a database we wrote or adopted, with what card, and in what form.

A card belongs to a table by its name: who drops a table of ours by hand leaves its card behind, to be overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import uuid4

import msgspec

from vecferry.connectors.mariadb.names import CARDS, qualified, text
from vecferry.connectors.mariadb.packets import Row
from vecferry.connectors.mariadb.server import Server
from vecferry.errors import CorruptData, NotFound
from vecferry.model import Card
from vecferry.tables import Form


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands in the side table about one table.

    Attributes:
        card: None for a table that was made without one.
        form: how its rows are records: all of them. Its condition is SQL, which a card has no say in.
        own: the table is of our own make (`ddl.own`), with an envelope; not somebody's that was adopted or made again.
        uid: new whenever the table is made anew.
    """

    card: Card | None
    form: Form
    own: bool
    uid: str


def new_uid() -> str:
    """A name for a table that is about to be made."""
    return str(uuid4())


def read_all(server: Server) -> dict[str, Kept]:
    """By table, every card of the database; empty where it has no side table."""
    return dict(map(_decoded, _rows(server, "TRUE")))


def read(server: Server, name: str) -> Kept | None:
    """The card of one table, None where it has none."""
    found = _rows(server, f"collection = {text(name)}")
    return _decoded(found[0])[1] if found else None


def _rows(server: Server, where: str) -> list[Row]:
    try:
        return server.rows(f"SELECT collection, uid, own, card, form FROM {_place(server)} WHERE {where}")
    except NotFound:
        return []


def write(server: Server, name: str, kept: Kept) -> None:
    """Give a table a card, or another; the side table is made where it is missing."""
    card, form = (msgspec.json.encode(value, order="deterministic").decode() for value in (kept.card, kept.form))
    server.run(
        f"CREATE TABLE IF NOT EXISTS {_place(server)} ("
        "collection VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL PRIMARY KEY, "
        "uid CHAR(36) NOT NULL, own BOOLEAN NOT NULL, card JSON NOT NULL, form JSON NOT NULL) ENGINE = InnoDB"
    )
    server.run(
        f"INSERT INTO {_place(server)} (collection, uid, own, card, form) VALUES "
        f"({text(name)}, {text(kept.uid)}, {int(kept.own)}, {text(card)}, {text(form)}) "
        "ON DUPLICATE KEY UPDATE uid = VALUES(uid), own = VALUES(own), card = VALUES(card), form = VALUES(form)"
    )


def forget(server: Server, name: str) -> None:
    """Take the card of a table away."""
    if read(server, name) is not None:
        server.run(f"DELETE FROM {_place(server)} WHERE collection = {text(name)}")


def tidy(server: Server) -> None:
    """Take away what a crash left of `MariaDatabase.rename`: the card of a name that no table has, or has any more."""
    uids = {(row[0] or b"").decode(): row[1] for row in _rows(server, "TRUE")}
    here = f"TABLE_SCHEMA = {text(server.address.database)}"
    tables = server.rows(f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE {here}") if len(uids) > 1 else []
    there = {(name or b"").decode() for (name,) in tables} & uids.keys()
    held = {uids[name] for name in there}
    for name in sorted(name for name, uid in uids.items() if name not in there and uid in held):
        forget(server, name)


def _place(server: Server) -> str:
    return qualified((server.address.database, CARDS))


def _decoded(row: Row) -> tuple[str, Kept]:
    name, uid, own, card, form = row
    told = (name or b"").decode()
    try:
        kept = Kept(
            card=msgspec.json.decode(card or b"null", type=Card | None),
            form=replace(msgspec.json.decode(form or b"", type=Form), where=None),
            own=own == b"1",
            uid=(uid or b"").decode(),
        )
    except msgspec.MsgspecError as error:
        raise CorruptData(
            f"The card of the table {told} cannot be read: {error}.",
            hint=f"Restore its row in {CARDS}, or remove it: DELETE FROM {CARDS} WHERE collection = …",
        ) from error
    if kept.card is not None and kept.card.version > Card().version:
        raise CorruptData(f"The card of the table {told} is of version {kept.card.version}.", hint="Update vecferry.")
    return told, kept
