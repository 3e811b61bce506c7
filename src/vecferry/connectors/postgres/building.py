"""What comes behind a load: indexes, counters, foreign keys; and how far an index is."""

from __future__ import annotations

import logging

from psycopg.errors import InsufficientPrivilege

from vecferry.connectors.postgres.access import Access, Connection
from vecferry.connectors.postgres.ddl import literal, qualified, sequences
from vecferry.connectors.postgres.indexing import Statement, short_name, statements, unindexed
from vecferry.connectors.postgres.preparing import Prepared, see_extension
from vecferry.connectors.postgres.relating import relate
from vecferry.errors import Conflict, StoreFull, Unavailable

_LOG = logging.getLogger("vecferry.postgres")
_MOST_MEMORY = 512 << 20
"""Bytes of `maintenance_work_mem` that we ask for without being told."""
_EDGES = 400
"""Bytes that a graph needs per vector beside the vector itself, about (m = 16)."""
_NO_ROOM = ("53100", "53200")
"""disk_full, which shared memory is to PostgreSQL too, and out_of_memory"""
_OWNER = """
SELECT i.indrelid IS NOT DISTINCT FROM %s::regclass FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
WHERE n.nspname = %s AND c.relname = %s
"""


class Building:
    """Builds the indexes of one table, one after the other."""

    def __init__(self, access: Access, made: Prepared) -> None:
        self._access = access
        self._made = made

    def run(self) -> None:
        """Build what is missing. What is there already stays as it is."""
        made = self._made
        if made.adopted:
            wanted: list[Statement] = []
        else:
            wanted = statements(made.spec, made.table, made.form, made.extension, restored=made.restored)
            for reason in () if made.restored else unindexed(made.spec, made.table, made.form):
                _LOG.warning("The table '%s' gets no index for a vector: %s.", made.table.name, reason)
        for statement in wanted:
            self._build(statement)
        with self._access.transaction(write=True) as connection:
            for text in sequences(made.table):
                _move_on(connection, text)
            if made.restored:
                relate(connection, made)
            connection.execute(f"ANALYZE {qualified(made.table)}".encode())

    def _build(self, statement: Statement) -> None:
        """Build one index; where the memory for that cannot be had, with what the server gives by itself.

        Several workers share it through /dev/shm, of which a container often has 64 MB.
        """
        try:
            self._build_with(statement, generous=True)
        except (StoreFull, Unavailable) as error:
            if error.facts.get("sqlstate") not in _NO_ROOM:
                raise
            _LOG.warning("The index '%s' is built with less memory: %s", statement.name, error.message)
            self._build_with(statement, generous=False)

    def _build_with(self, statement: Statement, *, generous: bool) -> None:
        with self._access.transaction(write=True) as connection:
            see_extension(connection, self._made.extension)
            connection.execute("SELECT set_config('statement_timeout', '0', true)")
            memory = self._memory(connection) if generous else None
            if memory:
                connection.execute("SELECT set_config('maintenance_work_mem', %s, true)", [memory])
            if not generous:
                connection.execute("SELECT set_config('max_parallel_maintenance_workers', '0', true)")
            if (name := self._free_name(connection, statement.name)) is not None:
                connection.execute(statement.sql(self._made.table, name).encode())

    def _free_name(self, connection: Connection, wanted: str) -> str | None:
        """The name for an index; None where our table has it already. Another table's index may be called the same."""
        (schema,) = self._made.table.namespace
        for name in (wanted, short_name(f"{self._made.table.name}_{wanted}")):
            owner = connection.execute(_OWNER, [qualified(self._made.table), schema, name]).fetchone()
            if owner is None:
                return name
            if owner[0]:
                return None
        raise Conflict(
            f"The index '{wanted}' cannot be made: other things in '{schema}' have its name.",
            store=self._access.store,
            hint="Rename them, or build the index by hand; the records are all there.",
        )

    def _memory(self, connection: Connection) -> str | None:
        """As much memory as the graph of the largest vector needs, if that is more than the server gives by itself."""
        if (asked := self._made.spec.config.get("maintenance_work_mem")) is not None:
            return str(asked)
        row = connection.execute(
            f"SELECT count(*), pg_size_bytes(current_setting('maintenance_work_mem')) "  # noqa: S608 # quoted
            f"FROM {qualified(self._made.table)}".encode()
        ).fetchone()
        count, given = row or (0, 0)
        widest = max((vector.dim or 0 for vector in self._made.spec.vectors), default=0)
        needed = min(_MOST_MEMORY, count * (4 * widest + _EDGES) * 5 // 4)
        return f"{needed >> 10}kB" if needed > given else None

    def done(self) -> int:
        """Vectors in the index that is being built, by the server's own word; asked on another connection."""
        with self._access.connection() as connection:
            row = connection.execute(
                "SELECT coalesce(max(tuples_done), 0) FROM pg_stat_progress_create_index "  # noqa: S608 # quoted
                f"WHERE relid = to_regclass({literal(qualified(self._made.table))})".encode()
            ).fetchone()
        return int(row[0]) if row else 0


def _move_on(connection: Connection, statement: str) -> None:
    """Let a counter go on; in a table of somebody else's that may not be ours to do, and is said."""
    connection.execute("SAVEPOINT counter")
    try:
        connection.execute(statement.encode())
    except InsufficientPrivilege as error:
        connection.execute("ROLLBACK TO SAVEPOINT counter")
        _LOG.warning("A counter stays where it was: %s. As its owner: %s;", error.diag.message_primary, statement)
