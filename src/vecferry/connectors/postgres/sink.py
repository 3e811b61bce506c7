"""Writing a table in bulk: make it from its spec, upsert batches, build its indexes when they are all there."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from vecferry.connectors.postgres._codec import rows
from vecferry.connectors.postgres._codec.expecting import expected
from vecferry.connectors.postgres.access import Access
from vecferry.connectors.postgres.building import Building
from vecferry.connectors.postgres.ddl import own
from vecferry.connectors.postgres.deleting import delete
from vecferry.connectors.postgres.facts import LIMITS
from vecferry.connectors.postgres.preparing import Prepared, prepare, told
from vecferry.connectors.postgres.staging import Loader
from vecferry.errors import DataError
from vecferry.model import CollectionSpec, Receipt, Rejection

_ID_BYTES = LIMITS.id_bytes or 0


class PostgresSink:
    """The writing side of one table. `write` is thread-safe.

    Guarantee: a batch is one transaction, committed when `write` returns: all of its records are there, or none.
    While a load is under way the table has its keys and no other index; `finish` builds those.
    """

    def __init__(self, access: Access, spec: CollectionSpec, *, home: tuple[str, ...]) -> None:
        self._access = access
        self._spec = spec
        self._home = home
        self._prepared: Prepared | None = None
        self._loader: Loader | None = None
        self._building: Building | None = None

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        """Make the table, or check that the one there fits.

        Raises:
            Conflict, Unsupported, AuthFailed: see `preparing.prepare`.
        """
        with self._access.transaction(write=True) as connection:
            made = prepare(connection, spec, spec.namespace or self._home, self._access.store)
        self._prepared = made
        self._loader = Loader(self._access, made.table, made.form, made.extension)
        self._building = Building(self._access, made)
        return made.spec

    def write(self, batch: pa.RecordBatch) -> Receipt:
        """Upsert a batch; durable when it returns. Of equal ids the last wins.

        Raises:
            DataError: the server refuses a record; nothing of the batch is written.
            Unavailable, StoreFull, Throttled: nothing of the batch is written, or all of it.
        """
        made, loader = self._ready()
        if not batch.num_rows:
            return Receipt(0, 0)
        found = rows.problems(batch, made.spec, made.table, made.form, id_bytes=_ID_BYTES)
        ids = batch.column("id").to_pylist()
        rejected = tuple(Rejection(ids[row], reason) for row, reason in sorted(found.items()))
        chosen = _chosen(batch, ids, made.spec, frozenset(found))
        sent = 0
        if chosen.num_rows:
            sent = loader.load(rows.parts(chosen, made.spec, made.table, made.form), chosen.num_rows)
        return Receipt(batch.num_rows - len(rejected), sent, rejected)

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What reading `batch` back from this table gives, bit for bit. Pure."""
        if self._prepared is not None:
            return expected(batch, self._prepared.spec, self._prepared.table, self._prepared.form)
        table, form = told(self._spec) or own(self._spec, self._home)
        return expected(batch, self._spec, table, form)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove the records with these original ids."""
        made, _ = self._ready()
        with self._access.transaction(write=True) as connection:
            delete(connection, made, ids)

    def finish(self) -> None:
        """Build the indexes, and let counters go on behind the largest number. Idempotent."""
        self._ready()
        assert self._building is not None
        self._building.run()

    def indexed(self) -> int:
        """Vectors that the index being built holds by now."""
        return self._building.done() if self._building is not None else 0

    def close(self) -> None:
        """Nothing of its own is open: the connections belong to the database."""

    def _ready(self) -> tuple[Prepared, Loader]:
        if self._prepared is None or self._loader is None:
            raise DataError(
                f"{self._spec.qualified_name} was not prepared.", hint="Call prepare(spec) before the first write."
            )
        return self._prepared, self._loader


def _chosen(batch: pa.RecordBatch, ids: list[str], spec: CollectionSpec, left_out: frozenset[int]) -> pa.RecordBatch:
    """The batch without the rows that are left out; of rows with one id, the last."""
    kinds = batch.column("id_kind").to_pylist() if "id_kind" in batch.schema.names else [spec.id_kind] * len(ids)
    last = {key: row for row, key in enumerate(zip(ids, kinds, strict=True)) if row not in left_out}
    if len(last) == len(ids):
        return batch
    return batch.take(pa.array(sorted(last.values()), pa.int64()))
