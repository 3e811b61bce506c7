"""The ledger's tables, and how an older ledger becomes a current one. Nothing here is SQLite's alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    inspect,
    select,
)
from sqlalchemy.types import TypeDecorator

from vecferry.errors import LedgerTooNew

VERSION = 3
"""Version of the tables below."""

_BIG = BigInteger().with_variant(Integer, "sqlite")


class Opaque(TypeDecorator[str]):
    """Text from stores (ids, positions, bounds, reasons), kept as ASCII JSON: PostgreSQL refuses NUL in text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        return None if value is None else str(json.loads(value))


metadata = MetaData()

version_table = Table("vecferry_ledger", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_key", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("finished", Float(53)),
    Column("outcome", Text),
    Column("error", Text, nullable=False, default=""),
    Column("epoch", Integer, nullable=False),
    Column("owner", Text, nullable=False, default=""),
    Column("lease_expires", Float(53), nullable=False, default=0.0),
    Column("paused", Float(53)),
)
Index(
    "one_unfinished_run_of_a_job",
    runs.c.job_key,
    unique=True,
    sqlite_where=runs.c.finished.is_(None),
    postgresql_where=runs.c.finished.is_(None),
)

collections = Table(
    "collections",
    metadata,
    Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("target", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("fresh", Boolean, nullable=False, default=False),
    Column("seconds", Text, nullable=False, default="{}"),
)

partitions = Table(
    "partitions",
    metadata,
    Column("run", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("id", Opaque, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("bounds", Opaque, nullable=False),
    Column("estimated_rows", _BIG),
    Column("position", Opaque),
    Column("read", _BIG, nullable=False, default=0),
    Column("written", _BIG, nullable=False, default=0),
    Column("skipped", _BIG, nullable=False, default=0),
    Column("rejected", _BIG, nullable=False, default=0),
    Column("bytes", _BIG, nullable=False, default=0),
    Column("done", Boolean, nullable=False, default=False),
    Column("updated", Float(53), nullable=False),
    ForeignKeyConstraint(["run", "collection"], ["collections.run", "collections.source"], ondelete="CASCADE"),
)

rejections = Table(
    "rejections",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("run", Text, nullable=False),
    Column("collection", Text, nullable=False),
    Column("partition", Opaque, nullable=False),
    Column("record", Opaque, nullable=False),
    Column("reason", Opaque, nullable=False),
    ForeignKeyConstraint(["run", "collection"], ["collections.run", "collections.source"], ondelete="CASCADE"),
    Index("rejections_of_a_run", "run", "collection"),
)

id_proofs = Table(
    "id_proofs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("records", _BIG, nullable=False),
    Column("rewritten", _BIG, nullable=False),
    Column("at", Float(53), nullable=False),
    ForeignKeyConstraint(["run", "collection"], ["collections.run", "collections.source"], ondelete="CASCADE"),
)

units = Table(
    "units",
    metadata,
    Column("run", Text, primary_key=True),
    Column("collection", Text, primary_key=True),
    Column("value", Opaque, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("total", _BIG, nullable=False, default=0),
    Column("moved", _BIG, nullable=False, default=0),
    Column("started", Float(53)),
    Column("finished", Float(53)),
    Column("error", Opaque, nullable=False, default=""),
    Column("paused", Float(53)),
    ForeignKeyConstraint(["run", "collection"], ["collections.run", "collections.source"], ondelete="CASCADE"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=True),
    Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("events_of_a_run", "run", "seq"),
)


def _add_pauses(connection: Connection) -> None:
    """Version 3: since when a run or a unit is paused. A ledger of version 1 has got the units' table with it."""
    for table in (runs, units):
        if "paused" not in {column["name"] for column in inspect(connection).get_columns(table.name)}:
            kind = table.c.paused.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN paused {kind}")


Migration = Callable[[Connection], None]
MIGRATIONS: Mapping[int, Migration] = {1: units.create, 2: _add_pauses}
"""Version -> what lifts a ledger of that version to the next. Never edited once released."""


def is_current(connection: Connection) -> bool:
    """True where the tables are there, as this version has them."""
    return _found(connection) == VERSION


def upgrade(connection: Connection, *, where: str) -> None:
    """Create the tables, or lift older ones to `VERSION`, inside the caller's transaction.

    Raises:
        LedgerTooNew: a later vecferry wrote this ledger.
    """
    found = _found(connection)
    if found is None:
        metadata.create_all(connection)
        connection.execute(version_table.insert().values(version=VERSION))
        return
    if found > VERSION:
        raise LedgerTooNew(
            f"The ledger {where} has version {found}; this vecferry knows versions up to {VERSION}.",
            hint="Upgrade vecferry, or choose another ledger with --ledger PATH.",
            found=found,
            known=VERSION,
        )
    for version in range(found, VERSION):
        MIGRATIONS[version](connection)
        connection.execute(version_table.update().values(version=version + 1))


def _found(connection: Connection) -> int | None:
    if not inspect(connection).has_table(version_table.name):
        return None
    return int(connection.execute(select(version_table.c.version)).scalar_one())
