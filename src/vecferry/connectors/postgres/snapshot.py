"""One state of the database that several connections read: an exported snapshot, held by a transaction of its own.

It lives as long as its holder: while it does, VACUUM keeps what it still sees. When the holder is cut off, reading goes
on from a new one, by key: each record is then read as it was in one of the two states, none twice, and one that was
written or removed in between may be missing or still be there. That is said.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from threading import Lock

import psycopg

from vecferry.connectors.postgres.access import Access, Connection
from vecferry.events import Notice, tell

_LOG = logging.getLogger("vecferry.postgres")
_GONE = "The connection that held the state of {} was cut: reading goes on by key, in the state of now."


class Snapshot:
    """The state that a source reads; taken when it is first asked for. Thread-safe."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = Lock()
        self._held: ExitStack | None = None
        self._holder: Connection | None = None
        self._name: str | None = None

    def name(self) -> str:
        """What another transaction calls it, while it lives."""
        with self._lock:
            if self._name is not None and not self._is_alive():
                self._let_go()
                tell(Notice(level="warning", message=_GONE.format(self._access.where)))
            if self._name is None:
                self._take()
            assert self._name is not None
            return self._name

    def close(self) -> None:
        """Let it go. Idempotent."""
        with self._lock:
            self._let_go()

    def _take(self) -> str:
        with ExitStack() as stack:
            self._holder = stack.enter_context(self._access.transaction())
            row = self._holder.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
            self._name = name = str(row[0] if row else "")
            self._held = stack.pop_all()
        return name

    def _is_alive(self) -> bool:
        try:
            if self._holder is not None:
                self._holder.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def _let_go(self) -> None:
        held, self._held, self._holder, self._name = self._held, None, None, None
        if held is not None:
            try:
                held.close()
            except Exception as error:  # noqa: BLE001 (it only read; nothing is lost with it)
                _LOG.debug("The holder of a snapshot ended with %s", type(error).__name__)
