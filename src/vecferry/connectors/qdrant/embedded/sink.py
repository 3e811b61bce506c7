"""The writing side of an embedded Qdrant collection: durable when `write` returns, nothing built behind one's back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from vecferry import catalog
from vecferry.arrow import validate
from vecferry.connectors.qdrant._codec.form import Form, Rows
from vecferry.connectors.qdrant._codec.indexes import indexes
from vecferry.connectors.qdrant.embedded.engine import MAX_DEPTH, Shard, depth, engine
from vecferry.connectors.qdrant.embedded.folder import Folder
from vecferry.connectors.qdrant.embedded.points import configuration, point_id, points
from vecferry.errors import Conflict, DataError
from vecferry.model import Card, CollectionSpec, Receipt, Rejection


class EmbeddedSink:
    """Guarantee: `write` replaces whole records by id and flushes; what it returned for survives `kill -9`.

    Records nested so deep that the engine could not open its own log again are refused, one by one.
    """

    def __init__(self, spec: CollectionSpec, folder: Folder, store: str) -> None:
        self._name = spec.qualified_name
        self._spec = spec
        self._folder = folder
        self._store = store
        self._form: Form | None = None

    def prepare(self, spec: CollectionSpec) -> CollectionSpec:
        entry = self._folder.entry(self._name)
        made = self._folder.create(spec, configuration(Form(spec))) if entry is None else self._reuse(entry.spec, spec)
        self._spec, self._form = spec, Form(made)
        return made

    def _reuse(self, known: CollectionSpec | None, spec: CollectionSpec) -> CollectionSpec:
        """Take the collection that is there, if records of `spec` fit in; it gets the new card."""
        if known is None:
            raise Conflict(
                f"The collection '{self._name}' in {self._store} was made by another program.",
                store=self._store,
                hint="Choose another target name, or another folder.",
            )
        vectors = catalog.fit(known, spec, store=self._store)
        if vectors != known.vectors:  # a dimension is known now that was not before: nothing can be in there
            self._folder.drop(self._name)
            return self._folder.create(spec, configuration(Form(spec)))
        if _form_of(known.card) != _form_of(spec.card):
            raise Conflict(
                f"The collection '{self._name}' in {self._store} has other rules for ids, layout or vectors.",
                store=self._store,
                hint="Use the same options as then, or let it be replaced (--if-exists recreate).",
            )
        card = catalog.merged_card(known.card, spec.card) if known.card and spec.card else spec.card
        made = replace(spec, uid=known.uid, count=None, card=card)
        self._folder.update(self._name, spec=made)
        return made

    def write(self, batch: pa.RecordBatch) -> Receipt:
        form = self._prepared()
        validate(batch, form.spec)
        rows = form.rows(batch)
        payloads = form.payloads(rows)
        rejected = _too_deep(batch, rows, payloads)
        chosen = [row for row in range(batch.num_rows) if row not in rejected]
        shard, size = self._open(), batch.nbytes
        if chosen:
            shard.update(engine().UpdateOperation.upsert_points(points(rows, payloads, chosen)), size=size)
        return Receipt(rows=len(chosen), bytes=size, rejected=tuple(rejected.values()))

    def finish(self) -> None:
        """Build the payload indexes. No graph is built: searches here are exact."""
        form, shard = self._prepared(), self._open()
        built = shard.indexes()
        for path, schema in indexes(form).items():
            if path not in built:
                kind = getattr(engine().PayloadSchemaType, schema["type"].capitalize())
                shard.update(engine().UpdateOperation.create_field_index(path, kind))
        self._folder.settle(self._name)

    def close(self) -> None:
        """The folder is closed by its database."""

    def expect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return (self._form or Form(self._spec)).expect(batch)

    def delete(self, ids: Sequence[str]) -> None:
        wanted = [point_id(text) for text in self._prepared().point_ids(ids)]
        if wanted:
            self._open().update(engine().UpdateOperation.delete_points(wanted))

    def _open(self) -> Shard:
        """The shard, about to be written to: how many records it holds is not known until it settles."""
        self._folder.update(self._name, records=None)
        return self._folder.shard(self._name)

    def _prepared(self) -> Form:
        if self._form is None:
            raise DataError(f"{self._name} was not prepared.", hint="Call prepare(spec) before the first write.")
        return self._form


def _form_of(card: Card | None) -> tuple[object, ...]:
    """What of a card decides how a record is stored."""
    card = card or Card()
    return card.id_kind, card.id_rule, card.tenant, card.layout, card.exact_vectors


def _too_deep(batch: pa.RecordBatch, rows: Rows, payloads: Sequence[dict[str, Any]]) -> dict[int, Rejection]:
    """Records that would make the folder unreadable. Counting brackets spares nearly all of them a closer look."""
    found = {}
    for row, text in enumerate(rows.metadata):
        if text is not None and text.count(b"{") + text.count(b"[") >= MAX_DEPTH - 4:
            levels = depth(payloads[row])
            if levels > MAX_DEPTH:
                reason = (
                    f"its metadata is nested so deep that its payload has {levels} levels; {MAX_DEPTH} are possible"
                )
                found[row] = Rejection(batch.column("id")[row].as_py(), reason)
    return found
