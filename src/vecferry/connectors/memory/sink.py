"""The writing side of a memory collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from vecferry.connectors.memory._table import Table, not_prepared
from vecferry.model import CollectionSpec, Receipt


class MemorySink:
    """Guarantee: `write` replaces whole records by id under one lock; what it returned for, every reader sees."""

    def __init__(self, spec: CollectionSpec, make: Callable[[CollectionSpec], Table]) -> None:
        self._spec = spec
        self._make = make
        self._table: Table | None = None

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        self._table = self._make(spec)
        return self._table.spec

    def write(self, batch: pa.RecordBatch) -> Receipt:
        self._prepared().upsert(batch)
        return Receipt(rows=batch.num_rows, bytes=batch.nbytes)

    def finish(self) -> None:
        """There is nothing to build."""

    def close(self) -> None:
        """Nothing is held."""

    def delete(self, ids: Sequence[str]) -> None:
        self._prepared().delete(ids)

    def _prepared(self) -> Table:
        if self._table is None:
            raise not_prepared(self._spec)
        return self._table
