"""The reading side of an embedded Qdrant collection: ranges of point ids, and every power, all of it exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.connectors.qdrant._codec.filters import Translator
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant.embedded.engine import Shard, engine
from vecferry.connectors.qdrant.embedded.filters import as_filter
from vecferry.connectors.qdrant.embedded.points import batch, point_id
from vecferry.filters import Filter
from vecferry.model import Chunk, CollectionSpec, Hit, Partition, PartitionId, Position

PARTITION_ROWS = 100_000
CHUNK_BYTES = 8 << 20
CHUNK_ROWS = 1_000
SCROLL_ROWS = 64
_IDS_AT_ONCE = 10_000


class EmbeddedSource:
    """Reads a collection in the engine's own order: numbers ascending, then UUIDs.

    Guarantee: partitions are ranges of ids that together cover every id, so what is written while reading is read or
    not, never twice. The trap: the engine has no snapshot; its folder belongs to one process, which is ours.
    """

    def __init__(self, form: Form, describe: Callable[[], CollectionSpec], shard: Callable[[], Shard]) -> None:
        self._form = form
        self._describe = describe
        self._shard = shard

    def describe(self) -> CollectionSpec:
        return self._describe()

    def partitions(self) -> list[Partition]:
        count, cuts = self._cuts()
        return [
            Partition(
                id=PartitionId(f"range-{number:06}"),
                bounds=orjson.dumps([low, high]).decode(),
                estimated_rows=max(0, min(PARTITION_ROWS, count - number * PARTITION_ROWS)),
            )
            for number, (low, high) in enumerate(zip([None, *cuts], [*cuts, None], strict=True))
        ]

    def _cuts(self) -> tuple[int, list[str]]:
        """(records, every 100,000th id): an id costs half a microsecond to list."""
        cuts, count = [], 0
        for ids in self._ids():
            start = -count % PARTITION_ROWS
            cuts += [str(one) for one in ids[start::PARTITION_ROWS]]
            count += len(ids)
        return count, cuts[1:]

    def _ids(self) -> Iterator[list[Any]]:
        start = None
        while points := self._shard().scroll(start=start, limit=_IDS_AT_ONCE, content=False):
            ids = [point.id for point in points]
            yield ids[1:] if start is not None else ids
            if len(ids) < _IDS_AT_ONCE:
                return
            start = ids[-1]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        low, high = orjson.loads(partition.bounds)
        parts: list[pa.RecordBatch] = []
        last = Position("")
        for last, part in self._parts(low, high, after):
            parts.append(part)
            if sum(p.nbytes for p in parts) >= CHUNK_BYTES or sum(p.num_rows for p in parts) >= CHUNK_ROWS:
                yield Chunk(pa.concat_batches(parts), last)
                parts = []
        if parts:
            yield Chunk(pa.concat_batches(parts), last)

    def _parts(
        self, low: str | None, high: str | None, after: Position | None
    ) -> Iterator[tuple[Position, pa.RecordBatch]]:
        """Small batches: the engine cannot be told a size in bytes, so it is never asked for many records at once."""
        start, rows = after or low, SCROLL_ROWS
        while True:
            asked = rows + (after is not None)  # `start` is inclusive, `after` is not
            found = self._shard().scroll(start=None if start is None else point_id(start), limit=asked)
            points = [p for p in found if str(p.id) != after and (high is None or _before(p.id, high))]
            if not points:
                return
            start = after = Position(str(points[-1].id))
            part = batch(self._form, points)
            yield after, part
            if len(found) < asked or points[-1] is not found[-1]:
                return
            rows = max(1, min(SCROLL_ROWS, CHUNK_BYTES * len(points) // part.nbytes))

    def close(self) -> None:
        """The folder is closed by its database."""

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return self._shard().count()

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        wanted = [point_id(text) for text in self._form.point_ids(ids)]
        return batch(self._form, self._shard().retrieve(wanted) if wanted else [])

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        points = self._form.point_ids(ids)
        found = self._shard().retrieve([point_id(text) for text in points], content=False) if points else []
        return frozenset(points[str(point.id)] for point in found)

    def count_where(self, where: Filter) -> int:
        return self._shard().count(self._filter(where))

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,  # noqa: ARG002 (every search here is exact)
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The nearest, compared with every record; the graph that the engine can build misses too many (docs/adr)."""
        edge = engine()
        narrowed = None if where is None else self._filter(where)
        params = edge.SearchParams(exact=True)
        requests = [
            edge.QueryRequest(
                limit=k,
                query=edge.Query.Nearest(memoryview(query), vector or None),
                filter=narrowed,
                params=params,
                with_payload=[self._form.layout.id_path],
            )
            for query in np.ascontiguousarray(queries, np.float32)
        ]
        return [[self._hit(point) for point in found] for found in self._shard().query(requests)] if requests else []

    def _filter(self, where: Filter) -> Any:
        # `indexed` is empty: the engine's integer index, unlike a server's, leaves floats to a scan
        return as_filter(Translator(self._form, indexed={}).filter(where), self._empty_lists)

    def _empty_lists(self, path: str) -> list[Any]:
        """Ids of the points that hold an empty list at `path`."""
        edge, start, found = engine(), None, []
        unfilled = edge.Filter(must=[edge.IsEmptyCondition(path)], must_not=[edge.IsNullCondition(path)])
        while points := self._shard().scroll(start=start, limit=_IDS_AT_ONCE, content=[path], where=unfilled):
            found += [point.id for point in points if _holds_list(point.payload)]
            if len(points) < _IDS_AT_ONCE:
                break
            start = points[-1].id
        return found

    def _hit(self, point: Any) -> Hit:
        return Hit(self._form.original_id(str(point.id), point.payload), point.score)


def _holds_list(value: Any) -> bool:
    """True where what is left of a payload, cut down to one path, has a list at its end."""
    return isinstance(value, list) or (isinstance(value, dict) and any(map(_holds_list, value.values())))


def _before(point: int | UUID, high: str) -> bool:
    """True where `point` comes before the id `high` in the engine's order."""
    if isinstance(point, int):
        return not high.isdigit() or point < int(high)
    return not high.isdigit() and point < UUID(high)
