"""The bulk reading side of a Chroma collection, from a normalised snapshot.

Where the time goes (one shared core; µs per record of 768 dimensions, a document of 360 bytes and six metadata keys,
9.3 in all): SQLite walking the metadata and writing it as JSON 6.9, of which the document 1.5 and the one real number
0.8; Arrow arrays of ids, documents and JSON 1.2; gathering the vector from the mapped index 0.8; the loop over rows
0.4. With 128 dimensions, two keys and no document it is 3.3. What is *not* done is the point: one row per record
instead of one per key (eight times fewer rows cross into Python), no dict and no JSON encoder per record, no Python
object per number, no text decoded only to be encoded again. Real numbers alone pass through Python, since SQLite's own
text of them is not exact.

Order is that of Chroma's row numbers, in which `get` answers since 0.5 (0.4 sorted by id). Vectors under cosine: those
that the log still holds are read as they were given, bit for bit; of the others the index has only direction and
length, and their product, rounded, is what Chroma itself answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import build, empty
from vecferry.connectors.chroma import _codec, catalog, hnsw, snapshot
from vecferry.connectors.chroma.catalog import Entry
from vecferry.errors import CorruptData
from vecferry.model import Chunk, CollectionSpec, IdKind, Metric, Partition, PartitionId, Position, Rejection
from vecferry.tags import loads

CHUNK_ROWS = 1_000
CHUNK_BYTES = 2 << 20
PARTITION_ROWS = 32_768
NOWHERE = -(1 << 62)
IDS = 500
"""Ids asked for in one statement; SQLite's oldest limit is 999 variables."""
ODD = "\x01vecferry:"
"""Stands in the JSON that SQLite writes before what JSON cannot say: an infinite number, or no value at all."""

_VALUE = """CASE WHEN string_value IS NOT NULL THEN string_value WHEN int_value IS NOT NULL THEN int_value
  WHEN float_value IS NOT NULL THEN json(vf_odd(float_value)) WHEN bool_value = 1 THEN json('true')
  WHEN bool_value = 0 THEN json('false') ELSE json(vf_odd(NULL)) END"""
# The index named here gives the keys of a record in the order of their bytes, which is the canonical order.
RECORDS = f"""
SELECT e.id, e.embedding_id, p.place,
  json_group_object(m.key, {_VALUE}) FILTER (WHERE m.key < 'chroma:' OR m.key >= 'chroma;'),
  max(string_value) FILTER (WHERE m.key = 'chroma:document'),
  max(string_value) FILTER (WHERE m.key = 'chroma:uri'),
  q.vector, q.encoding
FROM vf_place p CROSS JOIN embeddings e ON e.id = p.id
LEFT JOIN embeddings_queue q ON q.seq_id = -p.place
LEFT JOIN embedding_metadata m INDEXED BY sqlite_autoindex_embedding_metadata_1 ON m.id = p.id
WHERE p.number = ? AND {{which}} GROUP BY p.id ORDER BY p.id"""  # noqa: S608 (constants)
RANGE = RECORDS.format(which="p.id > ? AND p.id <= ?")
LISTED = RECORDS.format(which="p.id IN (SELECT value FROM json_each(?))")
NEXT_ROWS = """SELECT max(id), count(*) FROM
  (SELECT id FROM vf_place WHERE number = ? AND id > ? ORDER BY id LIMIT ?)"""
LISTS = """SELECT a.id, a.key, a.string_value, a.int_value, a.float_value, a.bool_value
FROM embedding_metadata_array a WHERE a.id IN (SELECT value FROM json_each(?))
AND (a.key < 'chroma:' OR a.key >= 'chroma;') ORDER BY a.id, a.key, a.rowid"""

Row = tuple[int, bytes, int | None, bytes, bytes | None, bytes | None, bytes | None, bytes | None]


class ChromaSource:
    """Reads one collection. Thread-safe: each reading opens a connection of its own.

    Guarantee: records come in the order in which Chroma's own `get` returns them, `seq` is Chroma's row number, and
    nothing changes underneath, since the snapshot is ours. A record that has a vector nowhere, or one of another
    length, is a `Rejection`: Chroma itself holds no such records, so the directory is damaged there.
    """

    def __init__(self, folder: Path, entry: Entry, spec: CollectionSpec) -> None:
        self._folder, self._entry, self._spec = folder, entry, spec
        self._dim = spec.vectors[0].dim or 0
        where = folder / (entry.vectors or "none")
        cosine = entry.metric is Metric.COSINE
        self._index = hnsw.Index(where, cosine=cosine) if self._indexed() else None

    def describe(self) -> CollectionSpec:
        return self._spec

    def partitions(self) -> list[Partition]:
        with self._open() as db:
            found, low = list[Partition](), 0
            while True:
                high, rows = db.execute(NEXT_ROWS, (self._entry.number, low, PARTITION_ROWS)).fetchone()
                if not rows:
                    return found
                found.append(
                    Partition(id=PartitionId(f"rows-{len(found):06}"), bounds=f"{low}:{high}", estimated_rows=rows)
                )
                low = high

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        low, high = (int(bound) for bound in partition.bounds.split(":"))
        with self._open() as db:
            reader = _Reader(db, self._spec, self._entry, self._index)
            yield from reader.chunks(RANGE, (self._entry.number, max(low, int(after or low)), high))

    def close(self) -> None:
        """Nothing is held but the mapping of the index, which goes with this object."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return self._spec.count or 0

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        with self._open() as db:
            rows = [row for row, _ in self._rows_of(db, ids)]
            reader = _Reader(db, self._spec, self._entry, self._index)
            batches = [
                chunk.batch for chunk in reader.chunks(LISTED, (self._entry.number, orjson.dumps(rows).decode()))
            ]
        return pa.concat_batches(batches) if batches else empty(self._spec)

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        with self._open() as db:
            return frozenset(text for _, text in self._rows_of(db, ids))

    # ----------------------------------------------------------------------- within

    def _rows_of(self, db: sqlite3.Connection, ids: Sequence[str]) -> Iterator[tuple[int, str]]:
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), IDS):
            part = wanted[start : start + IDS]
            marks = ",".join("?" * len(part))
            yield from db.execute(
                f"SELECT id, embedding_id FROM embeddings WHERE segment_id = ? AND embedding_id IN ({marks})",  # noqa: S608 (question marks)
                (self._entry.metadata, *part),
            )

    def _indexed(self) -> bool:
        with self._open() as db:
            sql = "SELECT 1 FROM vf_place WHERE number = ? AND place >= 0 LIMIT 1"
            return db.execute(sql, (self._entry.number,)).fetchone() is not None

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return snapshot.opened(self._folder)


class _Reader:
    """Rows of one connection, made into chunks."""

    def __init__(self, db: sqlite3.Connection, spec: CollectionSpec, entry: Entry, index: hnsw.Index | None) -> None:
        self._db, self._spec, self._entry, self._index = db, spec, entry, index
        self._dim = spec.vectors[0].dim or 0
        self._odd = False
        db.create_function("vf_odd", 1, self._real, deterministic=True)
        lists = "SELECT 1 FROM embedding_metadata_array LIMIT 1"
        has_table = bool(catalog.columns(db, "embedding_metadata_array"))
        self._lists = has_table and db.execute(lists).fetchone() is not None
        db.text_factory = bytes  # Arrow takes UTF-8 as it is and checks it

    def chunks(self, sql: str, values: tuple[Any, ...]) -> Iterator[Chunk]:
        """The records that `sql` selects."""
        try:
            cursor = self._db.execute(sql, values)
            while rows := self._some(cursor):
                yield self._chunk(rows)
        except (sqlite3.DatabaseError, UnicodeDecodeError, pa.ArrowInvalid) as error:
            raise CorruptData(
                f"The records of {self._spec.qualified_name} cannot be read: {error}.",
                hint="`sqlite3 chroma.sqlite3 'PRAGMA integrity_check'` says what is damaged; restore from a backup.",
            ) from error

    def _some(self, cursor: sqlite3.Cursor) -> list[Row]:
        """Rows for one chunk: as many as fit its bytes."""
        rows: list[Row] = []
        room, width, put = CHUNK_BYTES, self._dim * 4, rows.append
        for row in cursor:
            put(row)
            room -= width + len(row[3]) + len(row[4] or b"")
            if room <= 0 or len(rows) >= CHUNK_ROWS:
                break
        return rows

    def _chunk(self, rows: list[Row]) -> Chunk:
        position = Position(str(rows[-1][0]))
        rows, vectors, rejected = self._vectors(rows)
        if not rows:
            return Chunk(empty(self._spec), position, rejected)
        numbers, ids, _, texts, documents, uris, _, _ = zip(*rows, strict=True)
        metadata: list[Any] = [None if text == b"{}" else text for text in texts]
        tags: list[Any] | None = None
        if self._odd or self._lists:
            metadata, tags = self._repair(numbers, metadata)
        columns: dict[str, Any] = {"id": ids, "seq": numbers, "vector": vectors, "document": documents, "uri": uris}
        columns |= {"metadata": metadata, "tags": tags} if self._spec.card is None else self._unwrap(metadata)
        return Chunk(build(self._spec, columns), position, rejected)

    # ----------------------------------------------------------------------- vectors

    def _vectors(self, rows: list[Row]) -> tuple[list[Row], NDArray[np.float32], tuple[Rejection, ...]]:
        """The rows that have a vector, the vectors, and the other rows as rejections."""
        at = np.array([NOWHERE if row[2] is None else row[2] for row in rows], np.int64)
        rejected: tuple[Rejection, ...] = ()
        if (at < 0).any():
            faults = [self._fault(row) for row in rows]
            rejected = tuple(Rejection(row[1].decode(), why) for row, why in zip(rows, faults, strict=True) if why)
            rows = [row for row, why in zip(rows, faults, strict=True) if not why]
            at = at[[not why for why in faults]]
        elif self._index is not None:
            return rows, self._index.read(at), rejected
        vectors = np.empty((len(rows), self._dim), np.float32)
        indexed = np.flatnonzero(at >= 0)
        if self._index is not None and len(indexed):
            vectors[indexed] = self._index.read(at[indexed])
        for row in np.flatnonzero(at < 0).tolist():
            vectors[row] = _codec.queued_vector(rows[row][6] or b"", rows[row][7])
        return rows, vectors, rejected

    def _fault(self, row: Row) -> str | None:
        """Why a record cannot be read."""
        if row[2] is None or (row[2] < 0 and row[6] is None):
            return "It has no vector: neither the index nor the log holds one."
        if row[2] < 0 and len(row[6] or b"") != 4 * self._dim:
            return f"Its vector has {len(row[6] or b'') / 4:g} components, the collection's have {self._dim}."
        return None

    # ----------------------------------------------------------------------- metadata

    def _real(self, value: float | None) -> str:
        """The JSON of a real number, which SQLite's own text would round."""
        text = orjson.dumps(value)
        if text != b"null":
            return text.decode()
        self._odd = True
        return f'"\\u0001vecferry:{value}"'

    def _repair(self, numbers: Sequence[int], texts: list[Any]) -> tuple[list[Any], list[Any]]:
        """Put right what SQLite could not say: lists, infinite numbers, and rows without a value, which are no keys."""
        lists: dict[int, dict[str, list[Any]]] = {}
        if self._lists:
            lists = _codec.lists_of(self._db.execute(LISTS, (orjson.dumps(numbers).decode(),)).fetchall())
        tags: list[Any] = [None] * len(texts)
        for row, number in enumerate(numbers):
            text = texts[row]
            if number in lists or (text is not None and b'"\\u0001vecferry:' in text):
                value = {**(loads(text) if text else {}), **lists.get(number, {})}
                texts[row], tags[row] = _codec.pack_odd(value, ODD)
        self._odd = False
        return texts, tags

    def _unwrap(self, metadata: list[Any]) -> dict[str, list[Any]]:
        """Undo our envelopes, in a collection that we wrote: the columns metadata, tags and, where mixed, id_kind."""
        texts = list(metadata)
        tags, kinds = list[Any]([None] * len(texts)), [IdKind.TEXT.value] * len(texts)
        for row, text in enumerate(texts):
            if text is not None and b'"_vf":' in text:
                texts[row], tags[row], kind = _codec.unwrap(text)
                kinds[row] = kind or kinds[row]
        mixed = {"id_kind": kinds} if self._spec.id_kind is IdKind.MIXED else {}
        return {"metadata": texts, "tags": tags, **mixed}
