"""Reading a collection in bulk: ranges of its key, each one statement whose rows arrive as they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pymysql
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.mariadb import catalog, packets
from vecferry.connectors.mariadb._codec import keys
from vecferry.connectors.mariadb._codec.block import Block
from vecferry.connectors.mariadb._codec.reading import Reading
from vecferry.connectors.mariadb._codec.types import selected
from vecferry.connectors.mariadb._codec.where import where as to_sql
from vecferry.connectors.mariadb._codec.writing import with_ids
from vecferry.connectors.mariadb.names import qualified, quote
from vecferry.connectors.mariadb.opened import Opened
from vecferry.connectors.mariadb.searching import statement
from vecferry.connectors.mariadb.server import Server
from vecferry.errors import DataError
from vecferry.filters import Filter
from vecferry.model import Chunk, CollectionSpec, Hit, Partition, PartitionId, Position
from vecferry.tables import units
from vecferry.tables.types import is_int

_CHUNK_ROWS = 1_000
_CHUNK_BYTES = 4 << 20
_FETCH = 500
_RANGES = (
    "'{}' is read in ranges of its key, each row as it was at some moment of the run; what is written meanwhile may be "
    "missing until `vecferry sync`. With ?snapshot=1 one reader reads one moment."
)
_DENSE = 4
"""Numbers from the lowest key to the highest, for each record, up to which equal ranges make good shares."""
_SNAPSHOT = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


class MariaSource:
    """The reading side of one collection. Thread-safe: every reader has a connection to itself.

    Ranges of the key are read one by one, so the scan is of no one moment: a record that is written while we read is
    seen as it was or as it is, whole, and never twice. `?snapshot=1` reads all of it in one transaction by one reader,
    as it was when that began; a run that is resumed takes a new snapshot for the rest.
    """

    def __init__(self, server: Server, opened: Opened) -> None:
        self._server, self._opened = server, opened
        parents = _parent_types(server, opened)
        self._reading = Reading(opened.table, opened.form, opened.spec, own=opened.own, parents=parents)
        self._spec = replace(opened.spec, count=self.count())
        self._checked = False

    def describe(self) -> CollectionSpec:
        """The collection as it was when this source was opened, with its exact count then."""
        return self._spec

    # ----------------------------------------------------------------------- reading

    def partitions(self) -> list[Partition]:
        """Ranges of the key with as many rows each (`partition_rows`); the first and the last are open.

        Where the form says `by`, each value of that column has ranges of its own, the most frequent value first.
        """
        self._check_key()
        if not self._server.address.snapshot:
            self._server.tell_once(_RANGES.format(self._opened.table.name))
        if self._opened.form.by is None:
            return list(self._ranges(self._spec.count or 0))
        return [part for value, rows in self._values() for part in self._ranges(rows, value)]

    def _ranges(self, rows: int, unit: str | None = None) -> Iterator[Partition]:
        """The partitions of all rows, or of one unit."""
        size = self._server.address.partition_rows
        cuts = [None, *([] if self._server.address.snapshot else self._cuts(size, rows, unit)), None]
        for number in range(len(cuts) - 1):
            name = f"keys-{number:06}"
            yield Partition(
                id=PartitionId(name) if unit is None else units.partition_id(unit, name),
                bounds=_dumped(cuts[number], cuts[number + 1], unit),
                estimated_rows=units.share(rows, number, len(cuts) - 1),
            )

    def _values(self) -> list[tuple[str, int]]:
        """The units and how many rows each has."""
        column = self._opened.table.column(self._opened.form.by or "")
        name = selected(column.type, f"t.{quote(column.name)}")
        exact = name if is_int(column.type) else _letters(name)
        found = self._server.rows(f"SELECT {exact}, COUNT(*) FROM {self._opened.rows} GROUP BY 1 ORDER BY 2 DESC, 1")
        return [(units.as_unit(None if v is None else v.decode(), column), int(n or 0)) for v, n in found]

    def _of_unit(self, unit: str | None) -> str:
        """The condition of the rows of a unit. Texts are compared letter by letter, whatever their collation says."""
        if unit is None:
            return "TRUE"
        column = self._opened.table.column(self._opened.form.by or "")
        name, value = selected(column.type, f"t.{quote(column.name)}"), units.text_of(unit)
        if value is None:
            return f"{name} IS NULL"
        literal = keys.literal(column, value)
        return f"{name} = {literal}" + ("" if is_int(column.type) else f" AND {_letters(name)} = {literal}")

    def _cuts(self, size: int, rows: int, unit: str | None) -> Iterator[keys.Values]:
        """The last key of each share but the last one: of numbers that are dense computed, else found in the index."""
        if rows <= size:
            return
        key = self._reading.key
        if len(key.columns) == 1 and is_int(key.columns[0].type):
            low, high = self._ends(unit)
            if high - low < _DENSE * rows:
                shares = max(1, round(rows / size))
                yield from ((str(low + (high - low + 1) * n // shares - 1),) for n in range(1, shares))
                return
        yield from self._steps(size, unit)

    def _ends(self, unit: str | None) -> tuple[int, int]:
        (column,) = self._reading.key.selected
        low, high = self._server.one(
            f"SELECT MIN({column}), MAX({column}) FROM {self._opened.rows} AND {self._of_unit(unit)}"
        )
        return int(low or 0), int(high or 0)

    def _steps(self, size: int, unit: str | None) -> Iterator[keys.Values]:
        """Every `size`-th key, by stepping along the index."""
        key = self._reading.key
        last: keys.Values | None = None
        while True:
            behind = key.behind(last) if last is not None else "TRUE"
            found = self._server.rows(
                f"SELECT {', '.join(key.selected)} FROM {self._opened.rows} AND ({behind}) AND {self._of_unit(unit)} "
                f"{key.order} LIMIT 2 OFFSET {size - 1}"
            )
            if len(found) < 2:
                return
            last = key.values(found[0])
            yield last

    def _check_key(self) -> None:
        """A key that the catalog does not vouch for must be seen to tell every row apart.

        Raises:
            DataError: it does not; names a value that stands in several rows, or that is null.
        """
        table, names = self._opened.table, self._opened.form.key
        nullable = any(table.column(name).nullable for name in names)
        vouched = names == table.primary_key or (names in table.unique and not nullable)
        if self._checked or self._opened.own or vouched:
            return
        columns = ", ".join(self._reading.key.selected)
        holes = " OR ".join(f"{column} IS NULL" for column in self._reading.key.selected)
        found = self._server.rows(
            f"SELECT {columns} FROM {self._opened.rows} GROUP BY {columns} HAVING COUNT(*) > 1 OR {holes} LIMIT 1"
        )
        if found:
            raise DataError(
                f"The key ({', '.join(names)}) of '{table.name}' does not tell its rows apart.",
                ids=[keys.dump(self._reading.key.values(found[0]))],
                hint="Name columns that do: key: [column, …] in the plan; or leave such rows out (where: …).",
            )
        self._checked = True

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        """The records of `partition` behind `after`, as they arrive."""
        low, high, unit = _loaded(partition.bounds)
        key = self._reading.key
        start = keys.load(after) if after is not None else low
        conditions = [key.behind(start)] if start is not None else []
        conditions += [key.until(high)] if high is not None else []
        conditions += [self._of_unit(unit)] if unit is not None else []
        statement = self._reading.select(*conditions)
        with self._server.connection() as connection:
            if self._server.address.snapshot:
                for line in _SNAPSHOT:
                    connection.query(line)
            for block in self._blocks(connection, statement):
                decoded = self._reading.decode(block)
                yield Chunk(decoded.batch, decoded.position, decoded.rejected)
            if self._server.address.snapshot:
                connection.rollback()

    def _blocks(self, connection: pymysql.Connection[Any], statement: str) -> Iterator[Block]:
        return packets.blocks(connection, statement, most_rows=_CHUNK_ROWS, most_bytes=_CHUNK_BYTES)

    def close(self) -> None:
        """Nothing of its own is open: the connections belong to the database."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        """The exact number of records, now."""
        return self._count("TRUE")

    def count_where(self, where: Filter) -> int:
        """The exact number of records that match."""
        return self._count(self._condition(where))

    def _count(self, condition: str) -> int:
        (found,) = self._server.one(f"SELECT COUNT(*) FROM {self._opened.rows} AND ({condition})")
        return int(found or 0)

    def _condition(self, where: Filter) -> str:
        return to_sql(where, self._opened.table, self._opened.form, own=self._opened.own)

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """The records with these original ids."""
        batches = [arrow.empty(self._spec)]
        for start in range(0, len(ids), _FETCH):
            statement = self._reading.select(self._with_ids(ids[start : start + _FETCH]))
            with self._server.connection() as connection:
                batches += [self._reading.decode(block).batch for block in self._blocks(connection, statement)]
        return pa.concat_batches(batches)

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these original ids that are there."""
        found: set[str] = set()
        for start in range(0, len(ids), _FETCH):
            rows = self._server.rows(self._reading.select_ids(self._with_ids(ids[start : start + _FETCH])))
            found |= set(self._reading.ids_of(rows))
        return frozenset(ids) & found

    def _with_ids(self, ids: Sequence[str]) -> str:
        return with_ids(self._opened.table, self._opened.form, self._spec, ids, own=self._opened.own)

    def watch(self) -> Callable[[], bool]:
        """Begin to watch, by the checksum that the server computes of all rows: a change of any column is noticed.

        Of a view MariaDB computes none, so that one always counts as written to.
        """
        before = self._checksum()
        return lambda: before is None or self._checksum() != before

    def _checksum(self) -> bytes | None:
        table = self._opened.table
        return self._server.one(f"CHECKSUM TABLE {qualified((*table.namespace, table.name))}")[1]

    def asking(self, query: NDArray[np.float32], *, vector: str = "") -> Callable[[], object]:
        """One search, as an application asks for one."""
        text = statement(self._reading, query.astype("<f4").tobytes(), vector, "TRUE", k=10, exact=False)
        return lambda: self._server.rows(text)

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The `k` nearest records of each query (shape (q, dim)), best first; scores are MariaDB's own distances.

        Cosine is 1 - similarity, and 0 for a vector of zeros; euclidean is not squared.
        """
        condition = self._condition(where) if where is not None else "TRUE"
        found = []
        for query in np.ascontiguousarray(queries, "<f4"):
            text = statement(self._reading, query.tobytes(), vector, condition, k=k, exact=exact)
            rows = self._server.rows(text)
            ids = self._reading.ids_of([row[1:] for row in rows])
            found.append([Hit(name, float(row[0] or 0)) for name, row in zip(ids, rows, strict=True)])
        return found


def _parent_types(server: Server, opened: Opened) -> dict[str, str]:
    """Metadata key -> type, of the columns that joins bring; parents of other databases are read as text."""
    found: dict[str, str] = {}
    for join in opened.form.joins:
        if join.schema in ("", server.address.database):
            for table in catalog.load(server, join.table):
                found |= {key: table.column(column).type for key, column in join.columns.items()}
    return found


def _letters(name: str) -> str:
    """A text, compared letter by letter."""
    return f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)"


def _dumped(low: keys.Values | None, high: keys.Values | None, unit: str | None) -> str:
    told = ["" if bound is None else keys.dump(bound) for bound in (low, high)]
    return "\n".join([*told, *([] if unit is None else [unit])])


def _loaded(bounds: str) -> tuple[keys.Values | None, keys.Values | None, str | None]:
    low, high, *unit = bounds.split("\n")
    return (keys.load(low) if low else None), (keys.load(high) if high else None), (unit[0] if unit else None)
