"""One batch into a table, in one transaction: straight, or by way of a temporary table where records may be replaced.

A COPY cannot replace a row. So a batch is first copied straight into a table of ours; where one of its keys is there
already, that is undone, and the batch goes into a temporary table, out of which it is merged. After a resume this
happens for the batch in flight alone; while a collection is synchronised, for nearly all, which is learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from threading import Lock

from psycopg import Connection as PsycopgConnection
from psycopg.errors import UniqueViolation

from vecferry.connectors.postgres._codec.copy_write import stream
from vecferry.connectors.postgres._codec.rows import Part
from vecferry.connectors.postgres.access import Access, Connection
from vecferry.connectors.postgres.ddl import names, qualified, quote, type_sql
from vecferry.tables import Form, Table
from vecferry.tables.types import is_text

_MOST_PATIENCE = 64
_DURABLE = b"SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"


class Loader:
    """Writes batches into one table. Thread-safe: each batch has a connection of its own."""

    def __init__(self, access: Access, table: Table, form: Form, extension: str) -> None:
        self._access = access
        self._table = table
        self._form = form
        self._extension = extension
        self._lock = Lock()
        self._merges_left = 0
        self._patience = 1

    def load(self, parts: Sequence[Part], rows: int) -> int:
        """Write the columns of a batch in which every key stands once; bytes sent. Committed when it returns."""
        return self.load_stream(parts, stream([part.cells for part in parts], rows))

    def load_stream(self, parts: Sequence[Part], data: memoryview) -> int:
        """`load` of a batch whose stream is made already."""
        straight = self._tries_straight() and not any(part.cast for part in parts)
        with self._access.transaction(write=True) as connection:
            connection.execute(_DURABLE)
            if not (straight and self._copied(connection, parts, data)):
                self._merge(connection, parts, data)
        return len(data)

    def merge_next(self, batches: int) -> None:
        """Expect the keys of the next batches to be there already, as when a collection is synchronised."""
        with self._lock:
            self._merges_left = batches

    def _tries_straight(self) -> bool:
        with self._lock:
            self._merges_left -= 1
            return self._merges_left < 0

    def _copied(self, connection: Connection, parts: Sequence[Part], data: memoryview) -> bool:
        """Copy straight into the table; False, and nothing is done, where a key is there already."""
        connection.execute("SAVEPOINT straight")
        try:
            _copy(connection, qualified(self._table), parts, data)
        except UniqueViolation:
            connection.execute("ROLLBACK TO SAVEPOINT straight")
            self.merge_next(self._patience)
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            return False
        self._patience = 1
        return True

    def _merge(self, connection: Connection, parts: Sequence[Part], data: memoryview) -> None:
        columns = ", ".join(f"{quote(part.column)} {self._staged(part)}" for part in parts)
        stage = f"_vf_stage_{hashlib.sha256(columns.encode()).hexdigest()[:16]}"
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {quote(stage)} ({columns}) ON COMMIT DELETE ROWS".encode())
        _copy(connection, f"pg_temp.{quote(stage)}", parts, data)
        connection.execute(self._merge_sql(stage, parts).encode())

    def _staged(self, part: Part) -> str:
        return part.type if part.cast else type_sql(part.type, self._extension)

    def _merge_sql(self, stage: str, parts: Sequence[Part]) -> str:
        """Rows are merged in the order of their key, so that two batches never wait for each other in a circle."""
        types = {column.name: column for column in self._table.columns}
        values = {part.column: quote(part.column) for part in parts}
        for part in parts:
            if part.cast:
                column = types[part.column]
                values[part.column] += f"::{type_sql(column.type, self._extension)}"
                if not column.nullable and column.default is not None and not column.identity:
                    values[part.column] = f"coalesce({values[part.column]}, {column.default})"
        changed = [part.column for part in parts if part.column not in self._form.key]
        action = ", ".join([*self._guards(), *(f"{quote(name)} = EXCLUDED.{quote(name)}" for name in changed)])
        return (
            f"INSERT INTO {qualified(self._table)} AS t ({names(list(values))}) OVERRIDING SYSTEM VALUE"  # noqa: S608 # quoted
            f" SELECT {', '.join(values.values())} FROM pg_temp.{quote(stage)}"
            f" ORDER BY {', '.join(values[name] for name in self._form.key if name in values) or '1'}"
            f" ON CONFLICT ({names(self._form.key)}) DO {f'UPDATE SET {action}' if action else 'NOTHING'}"
        )

    def _guards(self) -> Iterator[str]:
        """A key that equals another without being it ('a' and 'A' in a citext) becomes NULL, which a key refuses."""
        for name in map(quote, _loose_keys(self._table, self._form)):
            same = f't.{name}::text COLLATE "C" = EXCLUDED.{name}::text COLLATE "C"'
            yield f"{name} = CASE WHEN {same} THEN t.{name} END"


def _loose_keys(table: Table, form: Form) -> list[str]:
    """The key columns in which two texts may be one: those with a collation of their own, and citext."""
    columns = [table.column(name) for name in form.key]
    exact = {None, "C", "POSIX"}
    return [c.name for c in columns if c.type == "citext" or (is_text(c.type) and c.collation not in exact)]


def _copy(connection: PsycopgConnection[object], place: str, parts: Sequence[Part], data: memoryview) -> None:
    columns = names([part.column for part in parts])
    statement = f"COPY {place} ({columns}) FROM STDIN (FORMAT binary)"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.write(data)
