"""The bulk reading side of a Chroma collection, from a normalised snapshot.

Order is that of Chroma's row numbers, in which `get` answers since 0.5 (0.4 sorted by id). Vectors under cosine: those
that the log still holds are read as they were given, bit for bit; of the others the index has only direction and
length, and their product, rounded, is what Chroma itself answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import apsw
import pyarrow as pa

from vecferry.arrow import empty
from vecferry.connectors.chroma import hnsw, snapshot
from vecferry.connectors.chroma.catalog import Entry
from vecferry.connectors.chroma.records import NEXT, Records
from vecferry.model import Chunk, CollectionSpec, Metric, Partition, PartitionId, Position

PARTITION_ROWS = 32_768
IDS = 500
"""Ids asked for in one statement."""
LAST_ROW = (1 << 63) - 1
"""The largest row number that SQLite has."""


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
                high, rows = next(db.execute(NEXT, (self._entry.number, low, LAST_ROW, PARTITION_ROWS)))
                if not rows:
                    return found
                found.append(
                    Partition(id=PartitionId(f"rows-{len(found):06}"), bounds=f"{low}:{high}", estimated_rows=rows)
                )
                low = high

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        low, high = (int(bound) for bound in partition.bounds.split(":"))
        with self._open() as db:
            records = Records(db, self._spec, self._entry, self._index)
            yield from records.between(max(low, int(after or low)), high)

    def close(self) -> None:
        """Nothing is held but the mapping of the index, which goes with this object."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return self._spec.count or 0

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        with self._open() as db:
            rows = [row for row, _ in self._rows_of(db, ids)]
            records = Records(db, self._spec, self._entry, self._index)
            batches = [chunk.batch for chunk in records.listed(rows)]
        return pa.concat_batches(batches) if batches else empty(self._spec)

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        with self._open() as db:
            return frozenset(text for _, text in self._rows_of(db, ids))

    # ----------------------------------------------------------------------- within

    def _rows_of(self, db: apsw.Connection, ids: Sequence[str]) -> Iterator[tuple[int, str]]:
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

    def _open(self) -> AbstractContextManager[apsw.Connection]:
        return snapshot.opened(self._folder)
