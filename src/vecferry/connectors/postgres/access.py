"""Connections to one PostgreSQL database: how its URL becomes one, a few that are kept, and transactions on them.

    postgresql://[USER@]HOST[:PORT]/DATABASE[?option=value&…]

| option                                            | meaning                                                     |
|---------------------------------------------------|-------------------------------------------------------------|
| `user`                                            | else PGUSER, else the name of the system's user             |
| `password=env:NAME`, `password=file:PATH`         | else PGPASSWORD, else the file PGPASSFILE or ~/.pgpass      |
| `host=/DIRECTORY`                                 | a server behind a unix socket                               |
| `schema`, `table`                                 | only these, separated by commas                             |
| `sslmode`, `sslrootcert`, `sslcert`, `sslkey`     | as libpq has them                                           |
| `connect_timeout`, `lock_timeout`                 | seconds; 10 and 30                                          |
| `statement_timeout`                               | seconds; none                                               |
| `pooler=transaction`, `pooler=none`               | what we cannot be told by asking (see `pooled`)             |
| `partition_rows`, `chunk_rows`                    | rows per partition and per chunk                            |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from vecferry.connectors.postgres.failures import translated
from vecferry.errors import ConfigError, Unavailable
from vecferry.url import StoreUrl

Connection = psycopg.Connection[tuple[Any, ...]]

_LIBPQ = ("user", "host", "sslmode", "sslrootcert", "sslcert", "sslkey")
_NUMBERS = {"connect_timeout": 10, "lock_timeout": 30, "statement_timeout": 0, "partition_rows": 0, "chunk_rows": 0}
_OURS = ("schema", "table", "pooler")
TRANSACTION_PORT = 6543
"""Where Supabase's pooler hands out a server connection per transaction."""
_KEPT = 8


class Access:
    """The connections to one database. Thread-safe: each block has one of its own."""

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self.store = str(url)
        self._parameters = _parameters(url)
        self.numbers = {name: _number(url, name, default) for name, default in _NUMBERS.items()}
        self._idle: list[Connection] = []
        self._lock = Lock()
        self._closed = False

    @property
    def where(self) -> str:
        """Host, port and database: what tells this store from another."""
        host = self.url.options.get("host") or self.url.host or ""
        return f"{host}:{self._parameters['port']}/{self._parameters['dbname']}"

    @property
    def schemas(self) -> tuple[str, ...]:
        """The schemas that the URL names; empty where it names none."""
        return _names(self.url, "schema")

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that the URL names; empty where it names none."""
        return _names(self.url, "table")

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit mode, of this block alone.

        Raises:
            Unavailable, AuthFailed, NotFound, ConfigError: see `failures`; also for what the block does.
        """
        with translated(self.store):
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def transaction(self, *, write: bool = False, snapshot: str | None = None) -> Iterator[Connection]:
        """A transaction of this block; for reading it sees one state, that of `snapshot` where one is given.

        All settings are local to it, so that it holds behind a pooler in transaction mode too. Rows that row-level
        security would hide are an error.
        """
        with translated(self.store):
            connection = self._begun("BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                if snapshot is not None:
                    self._import(connection, snapshot)
                connection.execute(self._settings(write=write))
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
            finally:
                self._give_back(connection)

    def connect(self) -> Connection:
        """A new connection, which the caller closes."""
        secret = self.url.secret("password")
        parameters = {**self._parameters, "password": secret.reveal()} if secret else self._parameters
        with translated(self.store):
            return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)

    def close(self) -> None:
        """Close what is idle. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _settings(self, *, write: bool) -> sql.Composed:
        limits = {
            "statement_timeout": self.numbers["statement_timeout"] * 1000,
            "lock_timeout": self.numbers["lock_timeout"] * 1000,
            "idle_in_transaction_session_timeout": 0,
        }
        wanted: dict[str, str | int] = {**limits, "timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601"}
        wanted |= {"extra_float_digits": 1, "bytea_output": "hex"}
        wanted |= {} if write else {"row_security": "off"}
        settings = [sql.SQL("set_config({}, {}, true)").format(n, str(v)) for n, v in wanted.items()]
        return sql.SQL("SELECT {}").format(sql.SQL(", ").join(settings))

    def _import(self, connection: Connection, snapshot: str) -> None:
        try:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        except (psycopg.DataError, psycopg.ProgrammingError) as error:  # its holder has ended since
            message = f"The snapshot of {self.store} is gone."
            raise Unavailable(message, store=self.store, hint="Reading goes on from a later one.") from error

    def _begun(self, statement: LiteralString) -> Connection:
        """A connection in a transaction. One that was kept may have been cut since: then a new one is made."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            connection = kept or self.connect()
            try:
                connection.execute(statement)
            except psycopg.OperationalError:
                connection.close()
                if kept is None:
                    raise
            else:
                return connection

    def _take(self) -> Connection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        return self.connect()

    def _give_back(self, connection: Connection) -> None:
        usable = not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE
        with self._lock:
            if usable and not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _roll_back(self, connection: Connection) -> None:
        """End the transaction; a connection in the middle of a COPY is closed when it is given back."""
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")


def pooled(access: Access) -> bool:
    """Does a pooler in transaction mode stand before the server, so that a session keeps no state?

    Supabase's has a port of its own. Any pooler gives itself away by another process id than the server's; in
    transaction mode two idle connections of ours share one process of the server.
    """
    said = access.url.options.get("pooler")
    if said is not None or access.url.port == TRANSACTION_PORT:
        return said != "none"
    with access.connection() as one:
        first = _pid(one)
        if first == one.info.backend_pid:
            return False
        with access.connection() as other:
            return _pid(other) == first


def _pid(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def _parameters(url: StoreUrl) -> dict[str, Any]:
    """What libpq is told.

    Raises:
        ConfigError: no database, an option that there is not.
    """
    database = url.path.strip("/")
    if not database or "/" in database:
        raise ConfigError(f"'{url}' names no database.", hint="Write postgresql://HOST:PORT/DATABASE?user=NAME.")
    unknown = url.options.keys() - {*_LIBPQ, *_NUMBERS, *_OURS}
    if unknown or url.secrets.keys() - {"password"}:
        names = ", ".join(sorted({*unknown, *(url.secrets.keys() - {"password"})}))
        raise ConfigError(f"postgresql: URLs have no option '{names}'.", hint=f"They have {_known()}.")
    if url.options.get("pooler", "none") not in {"none", "transaction"}:
        raise ConfigError(f"'{url}' names no kind of pooler.", hint="Write pooler=transaction or pooler=none.")
    given = {name: url.options[name] for name in _LIBPQ if name in url.options}
    common = {"host": url.host, "port": url.port or 5432, "dbname": database, "application_name": "vecferry"}
    alive = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "client_encoding": "UTF8"}
    return {**common, **alive, **given, "connect_timeout": _number(url, "connect_timeout", 10)}


def _known() -> str:
    return ", ".join((*_LIBPQ, "password", *_NUMBERS, *_OURS))


def _number(url: StoreUrl, name: str, default: int) -> int:
    text = url.options.get(name, str(default))
    if not text.isdigit():
        raise ConfigError(f"{name}={text} is no number.", hint=f"Write {name}=30, for example.")
    return int(text)


def _names(url: StoreUrl, option: str) -> tuple[str, ...]:
    return tuple(name for name in url.options.get(option, "").split(",") if name)
