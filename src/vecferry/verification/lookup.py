"""Single records by id, for differences and repairs: fetched where the store can, else picked out of a scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from vecferry.arrow import to_records
from vecferry.model import Record
from vecferry.protocols import Fetchable, Source
from vecferry.verification.scan import View
from vecferry.verification.tries import Tries

AT_ONCE = 256
"""Records fetched by one call."""


def batches_by_id(source: Source, ids: Sequence[str], tries: Tries) -> Iterator[pa.RecordBatch]:
    """The records of `source` with these ids, in any order and in canonical batches without empty ones."""
    found = _fetched(source, ids, tries) if isinstance(source, Fetchable) else _scanned(source, ids, tries)
    return (batch for batch in found if batch.num_rows)


def _fetched(source: Fetchable, ids: Sequence[str], tries: Tries) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(ids), AT_ONCE):
        yield tries.call("fetching records", partial(source.fetch, ids[start : start + AT_ONCE]))


def _scanned(source: Source, ids: Sequence[str], tries: Tries) -> Iterator[pa.RecordBatch]:
    wanted = pa.array(ids, pa.string())
    for chunk in tries.chunks(source):
        yield pick(chunk.batch, wanted)


def pick(batch: pa.RecordBatch, ids: pa.Array, *, keep: bool = True) -> pa.RecordBatch:
    """The records of `batch` whose id is one of `ids`; with `keep` false those whose id is not."""
    among = pc.is_in(batch.column("id"), value_set=ids)
    return batch.filter(among if keep else pc.invert(among))


def records_by_id(source: Source, ids: Sequence[str], view: View, tries: Tries) -> dict[str, Record]:
    """Records as Python values, as `view` shows them; for a handful of ids."""
    found: dict[str, Record] = {}
    for batch in batches_by_id(source, ids, tries):
        shown, spec = view(batch)
        found.update((record.id, record) for record in to_records(shown, spec))
        if len(found) >= len(ids):
            break
    return found
