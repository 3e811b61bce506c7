"""Filtering: only records that match go on; the others are no loss, since somebody asked for that. Pure."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from vecferry.arrow import utf8
from vecferry.filters import Filter, matches
from vecferry.model import CollectionSpec, Rejection
from vecferry.tags import unpack


class Keep:
    """The records of one collection that match `where`. Thread-safe.

    Attributes:
        spec: describes the batches that come out; how many records they hold in all is not known.
    """

    def __init__(self, where: Filter, spec: CollectionSpec) -> None:
        self._where = where
        self.spec = replace(spec, count=None)

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[Rejection, ...]]:
        """The records of one canonical batch that go on; none is set aside."""
        pairs = zip(utf8(batch, "metadata"), utf8(batch, "tags"), strict=True)
        mask = [matches(self._where, None if raw is None else unpack(raw, tags)) for raw, tags in pairs]
        return (batch if all(mask) else batch.filter(pa.array(mask))), ()
