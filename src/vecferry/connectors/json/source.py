"""The reading side of a JSON file: ranges of records, each block of 64 found by its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from vecferry.arrow import empty
from vecferry.connectors.json._reader import Reader
from vecferry.connectors.json._scan import BLOCK
from vecferry.errors import CorruptData
from vecferry.model import Chunk, CollectionSpec, Partition, PartitionId, Position

PARTITION_BLOCKS = 1024
CHUNK_BYTES = 4 << 20
CHUNK_BLOCKS = 16


class JsonSource:
    """Reads one collection as it stood in the file when that was opened.

    Guarantee: a file that was changed meanwhile is refused, never read half. Partitions are ranges of record numbers,
    and so are positions: the number of the next record.
    """

    def __init__(self, reader: Reader) -> None:
        self._found, self._reader = reader.found, reader
        self._hashes: NDArray[np.uint64] | None = None
        self._lock = Lock()

    def describe(self) -> CollectionSpec:
        return self._reader.spec

    def partitions(self) -> list[Partition]:
        step, rows = PARTITION_BLOCKS * BLOCK, self._found.rows
        return [
            Partition(
                id=PartitionId(f"records-{start:09}"),
                bounds=json.dumps([start, min(start + step, rows)]),
                estimated_rows=min(step, rows - start),
            )
            for start in range(0, max(rows, 1), step)
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        start, end = json.loads(partition.bounds)
        if end > self._found.rows:
            raise CorruptData(
                f"{self._found.text.path} holds {self._found.rows:,} records of {self._found.name}; the plan counts "
                f"{end:,}.",
                hint="The file was replaced since it was planned: make a new plan.",
            )
        number = int(after) if after is not None else start
        while number < end:
            rows = self._rows(number, end)
            batch, rejected = self._reader.batch(rows, number)
            number += len(rows)
            yield Chunk(batch, Position(str(number)), rejected)
            self._found.text.release()

    def close(self) -> None:
        """The file belongs to the database."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return self._found.rows

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(name for name, _ in self._hits(ids))

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        taken = [empty(self.describe())]
        taken += [self._reader.batch([row], number)[0] for _, (number, row) in self._hits(ids)]
        return pa.concat_batches(taken)

    # ----------------------------------------------------------------------- within

    def _rows(self, start: int, end: int) -> list[Any]:
        """Rows from `start`: whole blocks, until they are enough for a chunk."""
        rows: list[Any] = []
        first, size = start // BLOCK, 0
        for block in range(first, min(first + CHUNK_BLOCKS, -(-end // BLOCK))):
            size += self._found.size(block)
            if rows and size > CHUNK_BYTES:
                break
            found = self._reader.rows(block)
            rows += found[start % BLOCK :] if block == first else found
        return rows

    def _hits(self, ids: Sequence[str]) -> Iterator[tuple[str, tuple[int, Any]]]:
        """Each record that has one of these ids: its id, its number and what it holds."""
        wanted = set(ids)
        hashes = np.array([_hash(text) for text in wanted], np.uint64)
        found = np.flatnonzero(np.isin(self._index(), hashes))
        for block in np.unique(found // BLOCK).tolist():
            rows = self._reader.rows(block)
            for number in found[found // BLOCK == block].tolist():
                row = rows[number % BLOCK]
                text = self._reader.id(row)
                if text in wanted:
                    yield text, (number, row)

    def _index(self) -> NDArray[np.uint64]:
        """The hash of each record's id, shape (rows,): 8 bytes a record, made when first asked for."""
        with self._lock:
            if self._hashes is None:
                texts = (
                    self._reader.id(row) for block in range(self._found.blocks) for row in self._reader.rows(block)
                )
                self._hashes = np.fromiter((_hash(text or "") for text in texts), np.uint64, self._found.rows)
            return self._hashes


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
