"""The table of `vecferry.migration.status_table` in a SQL database: where it is, how it is made and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    inspect,
    make_url,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from vecferry.errors import ConfigError
from vecferry.state.model import UnitState
from vecferry.url import SECRET_OPTIONS, StoreUrl

NAME = "vector_migration_status"
COLUMN = "user_id"
VALUE_CHARS = 255
"""Characters of a value that is a text."""
_STATES = tuple(state.value for state in UnitState)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the table is: a database, the table's name with its schema where one is named, its first column."""

    url: str
    schema: str | None
    table: str
    column: str

    @classmethod
    def parse(cls, text: str, column: str = COLUMN) -> Place:
        """`URL[#TABLE]`, a store URL of a SQL server or one of SQLAlchemy's.

        Raises:
            ConfigError: no database that we know, or a password stands in it, which the message does not repeat.
        """
        url, _, name = text.partition("#")
        schema, dot, table = name.partition(".")
        place = cls(url, schema if dot else None, (table if dot else schema) or NAME, column)
        place.engine().dispose()
        return place

    def engine(self) -> Engine:
        """A pool that connects when it is used."""
        scheme = self.url.partition(":")[0]
        if scheme in {"postgresql", "postgres"}:
            return create_engine("postgresql+psycopg://", creator=_postgres(StoreUrl.parse(self.url)))
        if scheme == "mariadb":
            return create_engine("mariadb+pymysql://", connect_args=_mariadb(StoreUrl.parse(self.url)))
        return _by_sqlalchemy(self.url)


def _postgres(url: StoreUrl) -> Any:
    from vecferry.connectors.postgres.access import Access

    access = Access(url)

    def connect() -> Any:
        connection = access.connect()
        connection.autocommit = False  # SQLAlchemy begins and commits
        return connection

    return connect


def _mariadb(url: StoreUrl) -> dict[str, Any]:
    from vecferry.connectors.mariadb.address import Address

    return Address(url).arguments()


def _by_sqlalchemy(text: str) -> Engine:
    try:
        url = make_url(text)
        if url.password is not None or {name.lower() for name in url.query} & SECRET_OPTIONS:
            raise ConfigError(
                "The URL of the status table carries a password.",
                hint="Write postgresql://HOST/DATABASE?user=NAME&password=env:NAME, or mariadb://… in the same way.",
            )
        return create_engine(url)
    except (ArgumentError, NoSuchModuleError):
        hint = "Write mariadb://HOST/DATABASE?user=NAME, postgresql://HOST/DATABASE?user=NAME or sqlite:///FILE."
        raise ConfigError("The URL of the status table names no SQL database that is known here.", hint=hint) from None
    except ModuleNotFoundError as error:
        message = f"The status table needs the Python package '{error.name}'."
        raise ConfigError(message, hint=f"pip install {error.name}") from error


class Writer:
    """The table itself, made or found when it is first written. Not thread-safe."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._engine = place.engine()
        self._made: tuple[Table, set[int | str]] | None = None
        self._states = frozenset(_STATES)

    def write(self, rows: Mapping[int | str, Mapping[str, Any]], *, whole: bool) -> None:
        """Insert or update a row for each value, in one transaction; `whole` says that all values are whole numbers.

        Raises:
            SQLAlchemyError, VecferryError: what the database said; nothing of it is written.
        """
        known, self._made = self._made, None  # whatever fails, the next writing looks anew
        with self._engine.begin() as connection:
            table, there = known or self._make(connection, whole=whole)
            column = table.c[self._place.column]
            texts = isinstance(column.type, String)
            for value, told in rows.items():
                row = told if told["status"] in self._states else {**told, "status": UnitState.PENDING.value}
                key = str(value) if texts else value
                if key in there:
                    connection.execute(table.update().where(column == key).values(**row))
                else:
                    connection.execute(table.insert().values({column.name: key, **row}))
                    there.add(key)
        self._made = table, there

    def _make(self, connection: Connection, *, whole: bool) -> tuple[Table, set[int | str]]:
        """(the table, created where it is missing; the values that have a row)."""
        table = _table(self._place, whole=self._whole(connection, default=whole))
        table.create(connection, checkfirst=True)
        self._states = self._known(connection)
        return table, set(connection.scalars(select(table.c[self._place.column])))

    def _whole(self, connection: Connection, *, default: bool) -> bool:
        """Does the first column hold whole numbers? Of a table that is there, its own type says so."""
        catalog = inspect(connection)
        if not catalog.has_table(self._place.table, self._place.schema):
            return default
        columns = {c["name"]: c["type"] for c in catalog.get_columns(self._place.table, self._place.schema)}
        return not isinstance(columns.get(self._place.column), String)

    def _known(self, connection: Connection) -> frozenset[str]:
        """The states that the column takes: a table of one's own may know no `stays`."""
        columns = inspect(connection).get_columns(self._place.table, self._place.schema)
        kinds = [column["type"] for column in columns if column["name"] == "status"]
        return frozenset(getattr(kinds[0], "enums", None) or _STATES) if kinds else frozenset(_STATES)

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()


def _table(place: Place, *, whole: bool) -> Table:
    text = String(VALUE_CHARS)  # MariaDB would take 'a', 'A' and 'a ' for one user
    for dialect, collation in (("mysql", "utf8mb4_bin"), ("mariadb", "utf8mb4_nopad_bin")):
        text = text.with_variant(mysql.VARCHAR(VALUE_CHARS, collation=collation), dialect)
    return Table(
        place.table,
        MetaData(schema=place.schema),
        Column(place.column, BigInteger() if whole else text, primary_key=True, autoincrement=False),
        Column("total_chunks", Integer),
        Column("migrated_chunks", Integer),
        Column("status", String(16).with_variant(mysql.ENUM(*_STATES), "mysql", "mariadb")),
        Column("started_at", DateTime),
        Column("completed_at", DateTime),
        Column("error", Text),
    )
