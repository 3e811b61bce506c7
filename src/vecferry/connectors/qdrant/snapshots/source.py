"""The reading side of a collection in a snapshot: its shards, one behind the other, each in the order of its ids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.connectors.qdrant._codec import shard_keys
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.shard_keys import ShardKey
from vecferry.connectors.qdrant.embedded.source import EmbeddedSource
from vecferry.filters import Filter
from vecferry.limits import Score
from vecferry.model import Chunk, CollectionSpec, Hit, Metric, Partition, PartitionId, Position


class SnapshotSource:
    """Reads the shards of one collection; an id stands in one of them alone. Nothing in it ever changes."""

    def __init__(
        self,
        form: Form,
        shards: Mapping[int, EmbeddedSource],
        keys: Mapping[int, ShardKey],
        scores: Mapping[Metric, Score],
    ) -> None:
        self._form, self._shards, self._keys, self._scores = form, shards, keys, scores

    def describe(self) -> CollectionSpec:
        return replace(self._form.spec, count=self.count())

    def partitions(self) -> list[Partition]:
        return [
            replace(
                part,
                id=PartitionId(f"shard-{number:04}-{part.id}"),
                bounds=json.dumps([number, part.bounds]),
            )
            for number, shard in self._shards.items()
            for part in shard.partitions()
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        number, bounds = json.loads(partition.bounds)
        for chunk in self._shards[number].read(replace(partition, bounds=bounds), after=after):
            yield replace(chunk, batch=self._keyed(number, chunk.batch))

    def _keyed(self, number: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        key = self._keys.get(number)
        return batch if key is None else shard_keys.put(batch, key)

    def close(self) -> None:
        """The shards are closed by their database."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return sum(shard.count() for shard in self._shards.values())

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        found = [self._keyed(number, shard.fetch(ids)) for number, shard in self._shards.items()]
        return pa.concat_batches([arrow.empty(self._form.spec), *found])

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset().union(*(shard.existing(ids) for shard in self._shards.values()))

    def count_where(self, where: Filter) -> int:
        return sum(shard.count_where(where) for shard in self._shards.values())

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The nearest of all shards; exact, always."""
        every = [shard.search(queries, k=k, exact=exact, vector=vector, where=where) for shard in self._shards.values()]
        metric = next(one.metric for one in self._form.spec.vectors if one.name == vector)
        best_first = -1 if self._scores[metric] is Score.SIMILARITY else 1
        merged = ([hit for shard in every for hit in shard[row]] for row in range(len(queries)))
        return [sorted(hits, key=lambda hit: best_first * hit.score)[:k] for hits in merged]
