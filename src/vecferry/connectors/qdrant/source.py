"""Reading a collection in bulk: pages of scroll, whole, in id order, from any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry import arrow
from vecferry.catalog import gone
from vecferry.connectors.qdrant._codec.filters import Translator
from vecferry.connectors.qdrant._codec.foreign import SAMPLE, form_of
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.settings import described
from vecferry.connectors.qdrant._codec.shard_keys import ShardKey, is_custom, put
from vecferry.connectors.qdrant._ids import Bounds, behind, split
from vecferry.connectors.qdrant.pages import chunks, open_pages
from vecferry.connectors.qdrant.server import Server, has_card
from vecferry.connectors.qdrant.transport import collection_path
from vecferry.connectors.qdrant.watching import watch
from vecferry.errors import Unsupported
from vecferry.filters import Filter
from vecferry.model import Chunk, CollectionSpec, Hit, IdKind, Partition, PartitionId, Position

_PARTITION_ROWS = 4_096
_MAX_PARTITIONS = 64
_MAX_PAGE = 2_000
_FETCH = 500
_SEARCHES = 64


def describe(server: Server, name: str, info: Mapping[str, Any]) -> CollectionSpec:
    """What a collection is: from its card, or, of somebody else's, from its settings, ids and payloads."""
    return open_form(server, name, info).spec


def open_form(server: Server, name: str, info: Mapping[str, Any]) -> Form:
    """How the records of a collection stand in it, with its exact count."""
    ours = has_card(info)
    kind = IdKind.UUID if ours else server.id_kind(name)
    spec = described(name, info, id_kind=kind, count=server.count(name), aliases=server.aliases_of(name))
    if is_custom(spec.config):
        spec = replace(spec, config={**spec.config, "shard_keys": server.shard_keys(name)})
    most = server.strict_limit(info, "max_query_limit")
    return form_of(spec, info.get("payload_schema") or {}, lambda: server.payloads(name, min(SAMPLE, most or SAMPLE)))


class QdrantSource:
    """The reading side of one collection. Thread-safe.

    A scan is no snapshot: a record that is written while we read is seen with its old or its new state, whole.
    """

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        info = server.info(name)
        if info is None:
            raise gone(name, store=server.store)
        self._form = open_form(server, name, info)
        self._params = info["config"]["params"]
        schema = info.get("payload_schema") or {}
        self._translator = Translator(self._form, indexed={path: entry["data_type"] for path, entry in schema.items()})
        self._shard_keys: list[ShardKey | None] = self._form.spec.config.get("shard_keys") or [None]
        self._max_page = min(_MAX_PAGE, server.strict_limit(info, "max_query_limit") or _MAX_PAGE)

    def describe(self) -> CollectionSpec:
        """The collection as it was when this source was opened, with its exact count then."""
        return self._form.spec

    # ----------------------------------------------------------------------- reading

    def partitions(self) -> list[Partition]:
        """Ranges of point ids, about 4,000 records each, at most 64; the last of numbers and of UUIDs are open."""
        rows, keys = self.count(), self._shard_keys
        shares = min(_MAX_PARTITIONS, max(1, round(rows / len(keys) / _PARTITION_ROWS)))
        bounds = [bound for key in keys for bound in self._split(key, shares)]
        return [
            Partition(id=PartitionId(f"ids-{number}"), bounds=bound.text(), estimated_rows=rows // len(bounds))
            for number, bound in enumerate(bounds)
        ]

    def _split(self, key: ShardKey | None, shares: int) -> list[Bounds]:
        parts = split(lambda start: self._server.first_ids(self._name, start, shard=key), shares)
        return [replace(part, shard=key) for part in parts]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        """Pages of `partition` behind `after`; the next page is under way while one is decoded."""
        bounds = Bounds.of(partition.bounds)
        start = bounds.start if after is None else behind(after)
        if start is not None and bounds.holds(start):
            pages = open_pages(self._server, self._name, self._form, bounds.shard)
            for chunk in chunks(pages, bounds, start, self._max_page):
                yield chunk if bounds.shard is None else replace(chunk, batch=put(chunk.batch, bounds.shard))

    def count(self) -> int:
        """The exact number of records, now."""
        return self._server.count(self._name)

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """The records with these original ids."""
        wanted = list(self._form.point_ids(ids))
        batches = []
        for key in self._shard_keys:  # an id may stand in several shards, of which a request without key gives one
            pages = open_pages(self._server, self._name, self._form, key)
            found = [pages.get(wanted[start : start + _FETCH]) for start in range(0, len(wanted), _FETCH)]
            batches += found if key is None else [put(batch, key) for batch in found]
        return pa.concat_batches([arrow.empty(self._form.spec), *batches])

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these original ids that are there."""
        points = self._form.point_ids(ids)
        wanted = [int(point) if point.isdigit() else point for point in points]
        found: set[str] = set()
        for start in range(0, len(wanted), _FETCH):
            found |= self._original_ids(wanted[start : start + _FETCH])
        return frozenset(ids) & found

    def _original_ids(self, points: list[int | str]) -> set[str]:
        body = {"ids": points, "with_payload": [self._form.layout.id_path], "with_vector": False}
        answer = self._server.rest.call("POST", collection_path(self._name, "/points"), body)
        return {self._original_id(point) for point in answer}

    def _original_id(self, point: Mapping[str, Any]) -> str:
        return self._form.original_id(str(point["id"]), point.get("payload"))

    # ----------------------------------------------------------------------- searching

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """The `k` nearest records of each query (shape (q, dim)), best first; scores are Qdrant's own."""
        if k > self._max_page:
            raise Unsupported(
                f"{self._name} gives at most {self._max_page} results for a search.",
                store=self._server.store,
                hint="The limit is max_query_limit of its strict_mode_config.",
            )
        found: list[list[Hit]] = []
        common: dict[str, Any] = {"limit": k, "params": {"exact": exact}, "with_payload": [self._form.layout.id_path]}
        if vector:
            common["using"] = vector
        if where is not None:
            common["filter"] = self._translator.filter(where)
        for start in range(0, len(queries), _SEARCHES):
            rows = np.ascontiguousarray(queries[start : start + _SEARCHES], np.float64)
            body = {"searches": [{"query": row, **common} for row in rows]}
            answer = self._server.rest.call("POST", collection_path(self._name, "/points/query/batch"), body)
            found += [[Hit(self._original_id(hit), hit["score"]) for hit in one["points"]] for one in answer]
        return found

    def asking(self, query: NDArray[np.float32], *, vector: str = "") -> Callable[[], object]:
        """One search, as an application asks for one."""
        return lambda: self.search(query[np.newaxis], k=10, vector=vector)

    def count_where(self, where: Filter) -> int:
        """The exact number of records that match."""
        return self._server.count(self._name, self._translator.filter(where))

    def watch(self) -> Callable[[], bool]:
        """Notices everything where there is one shard (or one a shard key) and one replica; see `watching`."""
        return watch(self._server, self._name, self._params, self._shard_keys, self._max_page)

    def close(self) -> None:
        """Nothing of its own is open: the connections belong to the database."""
