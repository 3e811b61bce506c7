"""Opens the ledger's database and turns its errors into ours."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from vecferry.errors import ConfigError, LedgerError, StoreFull
from vecferry.state.paths import is_url
from vecferry.state.schema import is_current, upgrade

_BUSY_MS = 20_000
_READS = "vecferry_reads"
"""Execution option of a connection whose transactions only read."""
_FULL = ("disk is full", "no space left", "readonly", "read-only", "disk i/o error", "unable to open database file")


class LedgerDatabase:
    """One open ledger database. Thread-safe; every transaction either happens or does not."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.shown, self._engine = _engine(location)
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction that may write; committed, durably, when the block ends without an error.

        Raises:
            StoreFull: no space, or read-only.
            LedgerError: anything else that the database says.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._translate(error) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent look. It waits for nobody: not even for a process that is frozen while it writes.

        Raises:
            LedgerError: what the database says.
        """
        try:
            with self._engine.connect() as plain:
                connection = plain.execution_options(**{_READS: True})
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            raise self._translate(error) from error

    def close(self) -> None:
        self._engine.dispose()

    def _prepare(self) -> None:
        """Make the tables, or lift older ones. A ledger that is current already is only looked at."""
        with self.reading() as connection:
            current = is_current(connection)
        if not current:
            with self.transaction() as connection:
                upgrade(connection, where=self.shown)

    def _translate(self, error: SQLAlchemyError) -> StoreFull | LedgerError:
        text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        if any(sign in text.lower() for sign in _FULL):
            return StoreFull(
                f"The ledger {self.shown} cannot be written: {text}.",
                store=self.shown,
                hint="Free some space or allow writing there, or choose another ledger with --ledger PATH. What was "
                "written so far stays correct: the same command goes on.",
            )
        if "database is locked" in text:
            return LedgerError(
                f"Another process has been writing into the ledger {self.shown} for over {_BUSY_MS // 1000} s.",
                hint="It may be stopped (Ctrl-Z) or hang: `vecferry status` shows which process holds which run. "
                "Let it go on or end it, then run the same command again; or choose another ledger with --ledger PATH.",
            )
        if "not a database" in text or "malformed" in text:
            return LedgerError(
                f"{self.shown} is not a ledger, or it is damaged: {text}.",
                hint="Choose another file with --ledger PATH; a run that it held starts anew there.",
            )
        return LedgerError(
            f"The ledger {self.shown} cannot be used: {text}.",
            hint="Check that the file or server can be reached, or choose another ledger with --ledger PATH.",
        )


def _engine(location: str) -> tuple[str, Engine]:
    """(text for messages, without a password; the engine) of a location."""
    if not is_url(location):
        path = Path(location)
        _make_private(path)
        return str(path), _sqlite(create_engine(URL.create("sqlite", database=str(path))))
    try:
        url = make_url(location)
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            "The ledger's location is not a database URL that is known here.",
            hint="Write a path, sqlite:///PATH or postgresql+psycopg://HOST/DATABASE.",
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"A ledger at {url.drivername}:// needs the Python package '{error.name}'.",
            hint=f"pip install {error.name}",
        ) from error
    shown = url.set(username=None, password=None, query={}).render_as_string()
    if url.get_backend_name() == "sqlite" and url.database:
        _make_private(Path(url.database))
        return shown, _sqlite(engine)
    return shown, engine


def _make_private(path: Path) -> None:
    """Create the file so that only its owner can read it: plans name hosts, quarantine names records."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreFull(
            f"The ledger {path} cannot be opened for writing: {error.strerror}.",
            store=str(path),
            hint="Allow writing there, or choose another ledger with --ledger PATH.",
        ) from error


def _sqlite(engine: Engine) -> Engine:
    """Set up SQLite for us: transactions that begin when we say so, and commits that survive a power cut."""

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        _write_ahead(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(_READS) else "BEGIN IMMEDIATE")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log.

    Where two do that to a new ledger at once, SQLite refuses one of them without waiting, because both would wait for
    each other: that one tries again.
    """
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
