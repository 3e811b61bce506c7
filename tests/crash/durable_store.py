"""A small durable store for tests, one SQLite file: `durable:PATH`. It dies and lives with nothing but its file.

Every write is one transaction that is on disk when it returns; the order of records is that of their ids. What the
real stores do besides, their own tests show; this one is quick, so that every point can be hit many times.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from vecferry import registry
from vecferry.arrow import build
from vecferry.connectors.memory import LIMITS
from vecferry.errors import NotFound
from vecferry.model import (
    Chunk,
    CollectionSpec,
    Partition,
    PartitionId,
    Position,
    Receipt,
    StoreIdentity,
    VectorSpec,
)
from vecferry.url import StoreUrl

PARTITION_ROWS = 40
CHUNK_ROWS = 10


class DurableDatabase:
    limits = LIMITS

    def __init__(self, url: StoreUrl) -> None:
        self._path = url.local_path
        self.identity = StoreIdentity(kind="durable", where=str(self._path), transport="file")
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS collections (name TEXT PRIMARY KEY, dim INT, finished INT)"
        )
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS records (name TEXT, id TEXT, body BLOB, writes INT, PRIMARY KEY (name, id))"
        )

    def execute(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def write(self, rows: Iterable[tuple[object, ...]]) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, 1)"
                " ON CONFLICT DO UPDATE SET body = excluded.body, writes = writes + 1",
                rows,
            )
            self._connection.execute("COMMIT")

    def collections(self) -> list[CollectionSpec]:
        return [spec_of(str(name), int(str(dim))) for name, dim in self.execute("SELECT name, dim FROM collections")]

    def source(self, name: str) -> DurableSource:
        found = [spec for spec in self.collections() if spec.name == name]
        if not found:
            raise NotFound(f"No collection {name}.")
        return DurableSource(self, found[0])

    def sink(self, spec: CollectionSpec) -> DurableSink:
        return DurableSink(self, spec)

    def drop(self, name: str) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM records WHERE name = ?", [name])
            self._connection.execute("DELETE FROM collections WHERE name = ?", [name])
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class DurableSource:
    def __init__(self, database: DurableDatabase, spec: CollectionSpec) -> None:
        self._database = database
        self._spec = spec

    def describe(self) -> CollectionSpec:
        return self._spec

    def partitions(self) -> list[Partition]:
        rows = self._database.execute("SELECT id FROM records WHERE name = ? ORDER BY id", [self._spec.name])
        ids = [str(row[0]) for row in rows]
        cuts = [ids[first : first + PARTITION_ROWS] for first in range(0, len(ids), PARTITION_ROWS)]
        return [
            Partition(id=PartitionId(f"p{n}"), bounds=orjson.dumps([cut[0], cut[-1]]).decode(), estimated_rows=len(cut))
            for n, cut in enumerate(cuts)
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        low, high = orjson.loads(partition.bounds)
        while rows := self._database.execute(
            "SELECT id, body FROM records WHERE name = ? AND id BETWEEN ? AND ? AND id > ? ORDER BY id LIMIT ?",
            [self._spec.name, low, high, after or "", CHUNK_ROWS],
        ):
            batches = [pa.ipc.open_stream(pa.py_buffer(row[1])).read_next_batch() for row in rows]
            after = Position(str(rows[-1][0]))
            yield Chunk(pa.concat_batches(batches), after)

    def count(self) -> int:
        return int(str(self._database.execute("SELECT count(*) FROM records WHERE name = ?", [self._spec.name])[0][0]))

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        rows = self._database.execute(
            "SELECT id FROM records WHERE name = ? AND id IN (SELECT value FROM json_each(?))",
            [self._spec.name, orjson.dumps(list(ids)).decode()],
        )
        return frozenset(str(row[0]) for row in rows)

    def close(self) -> None:
        """Nothing is held."""


class DurableSink:
    def __init__(self, database: DurableDatabase, spec: CollectionSpec) -> None:
        self._database = database
        self._spec = spec

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        self._database.execute("INSERT OR IGNORE INTO collections VALUES (?, ?, 0)", [spec.name, spec.vectors[0].dim])
        return spec

    def write(self, batch: pa.RecordBatch) -> Receipt:
        rows = [
            (self._spec.name, batch.column("id")[row].as_py(), bytes(_one(batch.slice(row, 1))))
            for row in range(batch.num_rows)
        ]
        self._database.write(rows)
        return Receipt(rows=len(rows), bytes=sum(len(row[2]) for row in rows))

    def finish(self) -> None:
        self._database.execute("UPDATE collections SET finished = 1 WHERE name = ?", [self._spec.name])

    def close(self) -> None:
        """Nothing is held."""


def _one(batch: pa.RecordBatch) -> pa.Buffer:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(
            pa.RecordBatch.from_arrays([pa.concat_arrays([c]) for c in batch.columns], schema=batch.schema)
        )
    return out.getvalue()


def spec_of(name: str, dim: int) -> CollectionSpec:
    return CollectionSpec(name=name, vectors=(VectorSpec(dim=dim),))


class DurableConnector:
    def open(self, url: StoreUrl) -> DurableDatabase:
        return DurableDatabase(url)


CONNECTOR = DurableConnector()


def register() -> None:
    """Make `durable:` URLs known to this process."""
    registry.REGISTRY.setdefault("durable", registry.Entry(__name__, None, "durable:PATH"))


def fill(path: Path, names: Sequence[str], count: int) -> None:
    """A source to move: `count` records in each collection."""
    database = DurableDatabase(StoreUrl.parse(f"durable:{path}"))
    for name in names:
        spec = spec_of(name, 8)
        sink = database.sink(spec)
        sink.prepare(spec)
        random = np.random.default_rng(len(name))
        sink.write(
            build(
                spec,
                {
                    "id": [f"{name}-{n:05}" for n in range(count)],
                    "vector": random.standard_normal((count, 8)).astype(np.float32),
                    "document": [f"text {n} of {name} 😀" for n in range(count)],
                    "metadata": [orjson.dumps({"n": n}).decode() for n in range(count)],
                },
            )
        )
    database.close()
