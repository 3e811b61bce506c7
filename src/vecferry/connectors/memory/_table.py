"""Where the memory connector keeps its records: one dictionary per collection, one lock, nothing clever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from threading import RLock

import pyarrow as pa

from vecferry.arrow import empty, id_kinds, validate
from vecferry.catalog import fit
from vecferry.errors import DataError
from vecferry.model import CollectionSpec

Key = tuple[str, str]
"""(id, kind of the id): in a `mixed` collection the number 5 and the text "5" are two records."""


class Table:
    """One collection: key -> the record as a batch of one row. Thread-safe."""

    def __init__(self, spec: CollectionSpec, *, store: str) -> None:
        self._store = store
        self._spec = replace(spec, count=None)
        self._rows: dict[Key, pa.RecordBatch] = {}
        self._order: list[Key] | None = []
        self._lock = RLock()

    @property
    def spec(self) -> CollectionSpec:
        """What the collection is, with the exact count."""
        with self._lock:
            return replace(self._spec, count=len(self._rows))

    def order(self) -> list[Key]:
        """Every key in the order of the ids' code points, which is the order of reading. Not to be changed."""
        with self._lock:
            if self._order is None:
                self._order = sorted(self._rows)
            return self._order

    def fit(self, spec: CollectionSpec) -> None:
        """Check that records of `spec` fit in here; a dimension that was not known yet is learnt.

        Raises:
            Conflict: another vector, dimension, metric, element type or kind of id.
        """
        with self._lock:
            vectors = fit(self._spec, spec, store=self._store)
            if not self._rows:
                self._spec = replace(self._spec, vectors=vectors)

    def upsert(self, batch: pa.RecordBatch) -> None:
        """Replace or add whole records; of two with one id in `batch` the later wins.

        Raises:
            DataError: not a canonical batch of this collection.
        """
        with self._lock:
            validate(batch, self._spec)
            for row, key in enumerate(keys_of(batch, self._spec)):
                self._rows[key] = batch.slice(row, 1)
            self._order = None

    def delete(self, ids: Iterable[str]) -> None:
        """Remove records by id; what is not there is no error."""
        gone = set(ids)
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if key[0] not in gone}
            self._order = None

    def take(self, keys: Sequence[Key]) -> pa.RecordBatch:
        """One batch of those of `keys` that are there, in that order."""
        with self._lock:
            rows = [self._rows[key] for key in keys if key in self._rows]
            return pa.concat_batches(rows) if rows else empty(self._spec)


def keys_of(batch: pa.RecordBatch, spec: CollectionSpec) -> Iterator[Key]:
    """The key of each record of a batch."""
    ids: list[str] = batch.column("id").to_pylist()
    return zip(ids, (kind.value for kind in id_kinds(batch, spec)), strict=True)


def not_prepared(spec: CollectionSpec) -> DataError:
    """The error of a write before `prepare`."""
    return DataError(f"{spec.qualified_name} was not prepared.", hint="Call prepare(spec) before the first write.")
