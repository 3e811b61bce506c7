"""The reading side of a memory collection: ranges of sorted ids, and every power, by the plainest means."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import dense, present, to_records
from vecferry.connectors.memory._table import Key, Table
from vecferry.errors import ConfigError, Unsupported
from vecferry.filters import Filter, matches
from vecferry.model import Chunk, CollectionSpec, Hit, Metric, Partition, PartitionId, Position, VectorKind, VectorSpec


class MemorySource:
    """Reads a collection in the order of its ids.

    Guarantee: every partition is a range of keys, so records written while it is read are read or not, never twice.
    The trap: partitions that were made before a write do not cover ids behind the last of them; the last partition
    therefore has no upper bound, and the first no lower.
    """

    def __init__(self, table: Table, *, partition_rows: int, chunk_rows: int) -> None:
        self._table = table
        self._partition_rows = partition_rows
        self._chunk_rows = chunk_rows

    def describe(self) -> CollectionSpec:
        return self._table.spec

    def partitions(self) -> list[Partition]:
        keys = self._table.order()
        cuts: list[Key | None] = [None, *keys[self._partition_rows :: self._partition_rows], None]
        return [
            Partition(
                id=PartitionId(f"range-{number:06}"),
                bounds=orjson.dumps([cuts[number], cuts[number + 1]]).decode(),
                estimated_rows=max(0, min(self._partition_rows, len(keys) - number * self._partition_rows)),
            )
            for number in range(len(cuts) - 1)
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        low, high = orjson.loads(partition.bounds)
        keys = self._table.order()
        start = bisect_left(keys, tuple(low)) if low else 0
        if after is not None:
            start = max(start, bisect_right(keys, tuple(orjson.loads(after))))
        end = bisect_left(keys, tuple(high)) if high else len(keys)
        for first in range(start, end, self._chunk_rows):
            wanted = keys[first : min(first + self._chunk_rows, end)]
            yield Chunk(self._table.take(wanted), Position(orjson.dumps(wanted[-1]).decode()))

    def close(self) -> None:
        """Nothing is held."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return len(self._table.order())

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        return self._table.take(self._found(ids))

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(key[0] for key in self._found(ids))

    def count_where(self, where: Filter) -> int:
        return len(self._matching(where))

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,  # noqa: ARG002 (every search here is exact)
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The nearest by brute force. Scores: cosine and ip are similarities, l2 is squared, l1 plain."""
        spec = self.describe()
        chosen = _dense_vector(spec, vector)
        batch = self._table.take(self._matching(where) if where is not None else self._table.order())
        there = np.flatnonzero(present(batch, chosen))
        ids = batch.column("id").take(pa.array(there)).to_pylist()
        values = dense(batch, chosen)[there].astype(np.float64)
        return [_nearest(ids, _scores(values, query, chosen.metric), chosen.metric, k) for query in queries]

    def _found(self, ids: Sequence[str]) -> list[Key]:
        wanted = set(ids)
        return [key for key in self._table.order() if key[0] in wanted]

    def _matching(self, where: Filter) -> list[Key]:
        keys = self._table.order()
        records = to_records(self._table.take(keys), self.describe())
        return [key for key, record in zip(keys, records, strict=True) if matches(where, record.metadata)]


def _dense_vector(spec: CollectionSpec, name: str) -> VectorSpec:
    vector = next((vector for vector in spec.vectors if vector.name == name), None)
    if vector is None:
        raise ConfigError(f"{spec.name} has no vector '{name}'.", hint=f"It has {[v.name for v in spec.vectors]}.")
    if vector.kind is not VectorKind.DENSE:
        raise Unsupported(f"A memory store cannot search {vector.kind} vectors.", hint="Search a dense vector.")
    return vector


def _scores(values: NDArray[np.float64], query: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
    wanted = query.astype(np.float64)
    match metric:
        case Metric.IP:
            result = values @ wanted
        case Metric.COSINE:
            lengths = np.linalg.norm(values, axis=1) * np.linalg.norm(wanted)
            result = np.divide(values @ wanted, lengths, out=np.zeros(len(values)), where=lengths > 0)
        case Metric.L2:
            result = np.square(values - wanted).sum(axis=1)
        case Metric.L1:
            result = np.abs(values - wanted).sum(axis=1)
        case _:
            raise Unsupported(f"A memory store cannot search dense vectors by {metric}.", hint="Use bits vectors.")
    scores: NDArray[np.float64] = np.asarray(result, np.float64)
    return scores


def _nearest(ids: list[str], scores: NDArray[np.float64], metric: Metric, k: int) -> list[Hit]:
    similar = metric in (Metric.COSINE, Metric.IP)
    best = np.argsort(-scores if similar else scores, kind="stable")[:k]
    return [Hit(ids[row], float(scores[row])) for row in best]
