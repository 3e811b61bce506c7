"""Reading a table in bulk: ranges of its key under one snapshot, each a binary COPY in the order of the key."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.postgres import keys
from vecferry.connectors.postgres._codec.copy_read import Rows
from vecferry.connectors.postgres.access import Access, Connection
from vecferry.connectors.postgres.catalog import Extension
from vecferry.connectors.postgres.collection import Collection
from vecferry.connectors.postgres.scan import ahead, blocks
from vecferry.connectors.postgres.search import Searches
from vecferry.connectors.postgres.snapshot import Snapshot
from vecferry.connectors.postgres.watching import watch
from vecferry.errors import DataError
from vecferry.events import Notice, tell
from vecferry.filters import Filter
from vecferry.model import Chunk, CollectionSpec, Hit, Partition, PartitionId, Position
from vecferry.tables import units

_PARTITION_ROWS = 16_384
_MAX_PARTITIONS = 64
_CHUNK_ROWS = 1_000
_CHUNK_BYTES = 8 << 20
_PAGE = 2
"""Chunks per statement behind a pooler in transaction mode."""
_FETCH = 500
_RESUMED = (
    "Reading goes on by key, in the state of now. What was written since the run began may be there or not; "
    "vecferry sync brings what is missing."
)
_SORT_MEMORY = "SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true), repeat(' ', 131072)"
"""libpq makes room for the longest message so far and fetches as much at once: with the last value 40 rows, not 5."""

Key = list[str]


class PostgresSource:
    """The reading side of one table or view. Thread-safe.

    Guarantee: all partitions that are read while this source is open see one state of the database, that of the first
    read (behind a pooler in transaction mode: each page sees a state of its own). The trap: a run that goes on in a
    later process, or after the connection that holds the snapshot was cut, goes on by key in a later state.
    """

    def __init__(self, access: Access, made: Collection, extension: Extension | None, *, pages: bool) -> None:
        """Read `made`; `pages`: in statements of their own, without a snapshot."""
        self._access = access
        self._made = made
        self._pages = pages
        self._snapshot = Snapshot(access)
        self._searches = Searches(access, made, extension or Extension("public", ""))
        self._begun: set[str] = set()
        self._told = False
        self._chunk_rows = access.numbers["chunk_rows"] or _CHUNK_ROWS

    def describe(self) -> CollectionSpec:
        """The collection as it was when this source was opened."""
        return self._made.spec

    # ----------------------------------------------------------------------- reading

    def partitions(self) -> list[Partition]:
        """Ranges of the key of about 16,000 rows each, at most 64; the first and the last are open.

        Where the form says `by`, each value of that column has ranges of its own, the most frequent value first.

        Raises:
            DataError: a key that nothing guarantees is null in a row, or stands twice.
        """
        with self._reading() as connection:
            self._check_key(connection)
            if self._made.form.by is None:
                rows = _number(connection, f"SELECT count(*) FROM {self._made.rows}")  # noqa: S608 (quoted)
                return list(self._ranges(connection, rows))
            found = connection.execute(keys.values(self._made).encode()).fetchall()
            column = self._made.table.column(self._made.form.by)
            shares = [(units.as_unit(value, column), int(rows)) for value, rows in found]
            return [part for unit, rows in shares for part in self._ranges(connection, rows, unit)]

    def _ranges(self, connection: Connection, rows: int, unit: str | None = None) -> Iterator[Partition]:
        """The partitions of all rows, or of one unit."""
        wanted = rows / (self._access.numbers["partition_rows"] or _PARTITION_ROWS)
        shares = max(1, min(_MAX_PARTITIONS, round(wanted)))
        of_unit = self._of_unit(unit)
        statement = keys.cuts(of_unit, rows=rows, shares=shares) if shares > 1 else None
        found = connection.execute(statement.encode()).fetchall() if statement else []
        cuts: list[Key | None] = [None, *map(list, found), None]
        for number in range(len(cuts) - 1):
            name = f"keys-{number:02}"
            yield Partition(
                id=PartitionId(name) if unit is None else units.partition_id(unit, name),
                bounds=orjson.dumps([*cuts[number : number + 2], *([] if unit is None else [unit])]).decode(),
                estimated_rows=units.share(rows, number, len(cuts) - 1),
            )

    def _of_unit(self, unit: str | None) -> Collection:
        """The collection, of which only the rows of a unit are there."""
        made = self._made
        if unit is None:
            return made
        condition = keys.of_unit(made, unit)
        where = condition if made.form.where is None else f"({made.form.where}) AND {condition}"
        return replace(made, form=replace(made.form, where=where))

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        """The rows of a range behind `after`, by key."""
        low, high, *unit = orjson.loads(partition.bounds)
        made = self._of_unit(unit[0] if unit else None)
        start: Key | None = None if after is None else orjson.loads(after)
        self._tell_whether_resumed(partition.id, resumed=after is not None)
        rows = self._by_pages(made, low, high, start) if self._pages else self._in_one_go(made, low, high, start)
        for block in ahead(rows):
            yield self._made.reading.chunk(block)

    def _tell_whether_resumed(self, partition: str, *, resumed: bool) -> None:
        """Say, once, that an earlier reader began what is gone on with: another state was read then."""
        if resumed and partition not in self._begun and not self._told:
            self._told = True
            tell(Notice(collection=self._made.spec.qualified_name, message=_RESUMED))
        self._begun.add(partition)

    def _in_one_go(
        self, made: Collection, low: Key | None, high: Key | None, start: Key | None
    ) -> Generator[Rows, None, None]:
        with self._access.transaction(snapshot=self._snapshot.name()) as connection:
            connection.execute(_SORT_MEMORY)
            yield from self._blocks(connection, _range(made, low, high, start))

    def _by_pages(
        self, made: Collection, low: Key | None, high: Key | None, start: Key | None
    ) -> Generator[Rows, None, None]:
        page = _PAGE * self._chunk_rows
        while True:
            with self._access.transaction() as connection:  # over before anything is given out: a page holds no state
                held = list(self._blocks(connection, f"{_range(made, low, high, start)} LIMIT {page}"))
            yield from held
            if sum(map(len, held)) < page:
                return
            start = self._made.reading.last_key(held[-1])

    def _blocks(self, connection: Connection, select: str) -> Generator[Rows, None, None]:
        return blocks(connection, select, rows=self._chunk_rows, size=_CHUNK_BYTES)

    def _reading(self) -> AbstractContextManager[Connection]:
        """A transaction in the state that is read."""
        return self._access.transaction(snapshot=None if self._pages else self._snapshot.name())

    def _check_key(self, connection: Connection) -> None:
        """A key of the table's own needs no looking; one that a person named does."""
        made, named = self._made, ", ".join(self._made.form.key)
        if made.trusted:
            return
        if connection.execute(keys.without_key(made).encode()).fetchone():
            raise DataError(
                f"{made.spec.qualified_name} has rows without a value in its key ({named}).",
                hint="Name other columns as its key in the plan, or leave such rows out: where: … IS NOT NULL.",
            )
        found = connection.execute(keys.twice(made).encode()).fetchone()
        if found:
            raise DataError(
                f"{made.spec.qualified_name} has two rows with one key ({named}).",
                ids=[" ".join(map(str, found))],
                hint="Name columns that tell its rows apart as its key in the plan, or remove the doubles.",
            )

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        """The exact number of records, in the state that is read."""
        with self._reading() as connection:
            return _number(connection, f"SELECT count(*) FROM {self._made.rows}")  # noqa: S608 (quoted)

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """The records with these original ids, as they are now."""
        batches = [arrow.empty(self._made.spec)]
        with self._access.transaction() as connection:
            for condition in self._conditions(ids):
                select = f"SELECT {self._made.reading.select} FROM {self._made.source} AND {condition}"  # noqa: S608
                batches += [self._made.reading.chunk(block).batch for block in self._blocks(connection, select)]
        return pa.concat_batches(batches)

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these original ids that are there now."""
        found: set[str] = set()
        with self._access.transaction() as connection:
            for condition in self._conditions(ids):
                select = f"SELECT {self._made.reading.select_id} FROM {self._made.source} AND {condition}"  # noqa: S608
                for block in self._blocks(connection, select):
                    found.update(self._made.reading.ids(block)[0])
        return frozenset(ids) & found

    def _conditions(self, ids: Sequence[str]) -> Iterator[str]:
        for start in range(0, len(ids), _FETCH):
            condition = keys.having(self._made, ids[start : start + _FETCH])
            if condition is not None:
                yield condition

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The `k` nearest records of each query (shape (q, dim)), best first, as they are now."""
        return self._searches.search(queries, k=k, exact=exact, vector=vector, where=where)

    def asking(self, query: NDArray[np.float32], *, vector: str = "") -> Callable[[], object]:
        """One search, as an application asks for one."""
        return self._searches.asking(query, vector)

    def count_where(self, where: Filter) -> int:
        """The exact number of records that match, now."""
        return self._searches.count_where(where)

    def watch(self) -> Callable[[], bool]:
        """Notices every write, that of a vector alone too; see `watching`."""
        return watch(self._access, self._made)

    def close(self) -> None:
        """Let the snapshot go."""
        self._snapshot.close()


def _range(made: Collection, low: Key | None, high: Key | None, start: Key | None) -> str:
    """The statement that reads the rows of `made` from `low` up to `high`, or behind `start`."""
    above = made.beyond(low, ">=") if start is None else made.beyond(start, ">")
    below = made.beyond(high, "<")
    return f"SELECT {made.reading.select} FROM {made.source} AND {above} AND {below} ORDER BY {made.key}"  # noqa: S608


def _number(connection: Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0
