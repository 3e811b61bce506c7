"""Changes of single records, one after the other, with the metadata unpacked and packed once for all of them. Pure.

A change never overwrites: where a key that it would set holds another value already, the record is set aside with the
reason, and the plan asks what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vecferry.arrow import as_array, schema, utf8
from vecferry.model import CollectionSpec, Rejection
from vecferry.tags import pack, unpack


class Aside(Exception):
    """A record that a change cannot be made on. The reason holds no value, so that equal ones can be counted."""


@dataclass(slots=True)
class Row:
    """A record under change. `metadata` None: it has none."""

    id: str
    collection: str
    metadata: dict[str, Any] | None

    def get(self, name: str) -> Any:
        """What a template asks for; None where it is missing."""
        if name == "@id":
            return self.id
        return self.collection if name == "@collection" else (self.metadata or {}).get(name)

    def put(self, key: str, value: Any) -> None:
        """Set a key that is free, or holds just this."""
        if self.metadata is None:
            self.metadata = {}
        if key in self.metadata and not _same(self.metadata[key], value):
            raise Aside(f"It has the metadata key '{key}' already, with another value.")
        self.metadata[key] = value


def _same(one: Any, other: Any) -> bool:
    return pack({"": one}) == pack({"": other})


Change = Callable[[Row], None]
"""Changes a row in place, or raises `Aside`."""


class Rows:
    """Some changes of one collection, made ready for its batches. Thread-safe.

    Attributes:
        spec: describes the batches that come out.
    """

    def __init__(self, changes: Sequence[Change], after: CollectionSpec, name: str) -> None:
        self._changes = tuple(changes)
        self._name = name
        self._schema = schema(after)
        self.spec = after

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """(records as they go on, records that are set aside) of one canonical batch."""
        rows, kept, aside = [], [], []
        pairs = zip(batch.column("id").to_pylist(), utf8(batch, "metadata"), utf8(batch, "tags"), strict=True)
        for number, (ident, raw, tags) in enumerate(pairs):
            row = Row(ident, self._name, None if raw is None else unpack(raw, tags))
            try:
                for change in self._changes:
                    change(row)
            except Aside as reason:
                aside.append(Rejection(ident, str(reason), aside=True))
            else:
                rows.append(row)
                kept.append(number)
        if len(kept) < batch.num_rows:
            batch = batch.take(pa.array(kept, pa.int64()))
        return self._build(batch, rows), tuple(aside)

    def _build(self, batch: pa.RecordBatch, rows: Sequence[Row]) -> pa.RecordBatch:
        packed = [(None, None) if row.metadata is None else pack(row.metadata) for row in rows]
        new: dict[str, list[str | None]] = {
            "id": [row.id for row in rows],
            "metadata": [None if text is None else text.decode() for text, _ in packed],
            "tags": [None if tags is None else tags.decode() for _, tags in packed],
        }
        arrays = [
            as_array(new[field.name], field.type) if field.name in new else batch.column(field.name)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
