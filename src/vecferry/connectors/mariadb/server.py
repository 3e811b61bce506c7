"""A MariaDB server: a pool of connections, statements, rows as bytes. Every error comes out as one of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

import pymysql
from pymysql.converters import conversions

from vecferry.connectors.mariadb import failures, packets
from vecferry.connectors.mariadb.address import Address
from vecferry.connectors.mariadb.packets import Row
from vecferry.errors import Unsupported
from vecferry.events import Notice, tell

NEEDED = (11, 7)
"""The first version with VECTOR columns."""
_EXPOSED = (
    "{} is not sure to be itself: whoever stands between could read what is sent. Name the authority that signed its "
    "certificate: ?ssl_ca=FILE."
)
_ENCODERS: dict[Any, Any] = {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)}
_SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', "
    "time_zone = '+00:00', net_write_timeout = 86400, net_read_timeout = 3600, wait_timeout = 86400, "
    "max_statement_time = 0, sql_safe_updates = 0"
)
"""Times in UTC, backslash escapes on, and no answer cut off because whoever it is for is slow."""


class Server:
    """One database of a server. Thread-safe: each statement has a connection to itself.

    Attributes:
        version: what the server says of itself, such as `11.8.6-MariaDB`.
        max_packet: bytes that one statement may have.
    """

    def __init__(self, address: Address) -> None:
        """Connect, and see that it is a MariaDB with vectors.

        Raises:
            ConfigError, AuthFailed, NotFound, Unavailable, Unsupported: says what to do.
        """
        self.address, self.store = address, address.store
        self._idle: list[pymysql.Connection[Any]] = []
        self._lock = RLock()
        self._closed = False
        self._told: set[str] = set()
        version, packet = self.one("SELECT VERSION(), @@max_allowed_packet")
        self.version, self.max_packet = _text(version), int(packet or 0)
        _check_version(self.version, self.store)
        if address.exposes_password:
            self.tell_once(_EXPOSED.format(self.store), level="warning")

    def tell_once(self, message: str, *, level: str = "info") -> None:
        """Tell a person something, not twice over this server."""
        with self._lock:
            if message in self._told:
                return
            self._told.add(message)
        tell(Notice(message=message, level=level))

    # ----------------------------------------------------------------------- statements

    def rows(self, sql: str) -> list[Row]:
        """Every row of an answer that is small."""
        with self.connection() as connection:
            return rows(connection, sql)

    def one(self, sql: str) -> Row:
        """The only row of an answer."""
        return self.rows(sql)[0]

    def run(self, *statements: str | bytes) -> None:
        """Carry out statements, one transaction of all of them where there are more than one."""
        with self.connection() as connection:
            run(connection, statements)

    def load(self, statements: Iterable[bytes]) -> int:
        """Carry out statements as they are made, in one transaction; the bytes sent."""
        sent = 0
        with self.connection() as connection:
            connection.begin()
            for statement in statements:
                connection.query(statement)
                sent += len(statement)
            connection.commit()
        return sent

    @contextmanager
    def connection(self) -> Iterator[pymysql.Connection[Any]]:
        """A connection of one's own; back to the pool when it is done with, thrown away where it broke."""
        connection = self._take()
        clean = False
        try:
            yield connection
            clean = True
        except failures.ERRORS as error:
            clean = isinstance(error, pymysql.Error) and connection.open and _rolled_back(connection)
            if not clean:
                self._forget_idle()  # what broke one connection broke the others too
            raise failures.of(error, self.store) from error
        finally:
            self._give(connection, clean=clean)

    def _take(self) -> pymysql.Connection[Any]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give(self, connection: pymysql.Connection[Any], *, clean: bool) -> None:
        with self._lock:
            if clean and not self._closed:
                self._idle.append(connection)
                return
        _abandon(connection)

    def _connect(self) -> pymysql.Connection[Any]:
        """A new connection, set up as every statement of ours expects.

        No decoders and `use_unicode=False` leave every value as bytes: nothing is parsed that is not asked for.
        """
        try:
            connection = pymysql.connect(
                **self.address.arguments(),
                conv=_ENCODERS,
                use_unicode=False,
                autocommit=True,
                init_command=_SESSION,
                program_name="vecferry",
            )
            packets.widen(connection)
        except (*failures.ERRORS, RuntimeError) as error:  # RuntimeError: an auth plugin that needs another package
            raise failures.of(error, self.store) from error
        return connection

    def close(self) -> None:
        """Let every connection go. Idempotent."""
        with self._lock:
            self._closed = True
        self._forget_idle()

    def _forget_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(*failures.ERRORS):
                connection.close()


def rows(connection: pymysql.Connection[Any], sql: str) -> list[Row]:
    """Every row of an answer that is small."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def run(connection: pymysql.Connection[Any], statements: Sequence[str | bytes]) -> None:
    """Carry out statements; more than one are one transaction."""
    if len(statements) == 1:
        connection.query(statements[0])
        return
    connection.begin()
    for statement in statements:
        connection.query(statement)
    connection.commit()


def _abandon(connection: Any) -> None:
    """Close without a word: neither wait for the rest of an answer, nor for a server that is gone."""
    if connection._result is not None:  # noqa: SLF001 (PyMySQL would read the rest when it is collected)
        connection._result.unbuffered_active = False  # noqa: SLF001
    with suppress(*failures.ERRORS):
        connection._force_close()  # noqa: SLF001 (its `close` talks to the server first)


def _rolled_back(connection: pymysql.Connection[Any]) -> bool:
    try:
        connection.rollback()
    except failures.ERRORS:
        return False
    return True


def _check_version(version: str, store: str) -> None:
    numbers = tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2] if part.isdigit())
    if "mariadb" not in version.lower():
        raise Unsupported(
            f"{store} is no MariaDB but {version}.",
            store=store,
            hint="MySQL's vectors are another thing; vecferry reads MariaDB 11.7 and later.",
        )
    if numbers < NEEDED:
        raise Unsupported(
            f"{store} is version {version}, which has no VECTOR columns.",
            store=store,
            hint="Update it to MariaDB 11.8 (11.7 brought them).",
        )


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
