"""Reading a table over REST: pages in the order of its key, each behind the last, until one is empty.

A page that is short means nothing: a server cuts answers at its `max_rows` without a word. At the end the rows are
counted exactly. Pages are read at different moments: a record is as it stood when its page was read, and a row that is
written meanwhile with a key that we are past is not read at all. postgresql:// reads one state.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa

from vecferry import arrow
from vecferry.connectors.postgres._codec.copy_read import Rows
from vecferry.connectors.postgres.collection import Collection
from vecferry.connectors.postgres.keys import stored_keys
from vecferry.connectors.postgres.rest import query
from vecferry.connectors.postgres.rest.api import TIMED_OUT, Api
from vecferry.connectors.postgres.rest.parents import Parents
from vecferry.connectors.postgres.rest.wire import Wire
from vecferry.errors import CorruptData, Unavailable
from vecferry.model import Chunk, CollectionSpec, Partition, PartitionId, Position

_LOG = logging.getLogger("vecferry.postgres")
_NAMED = 50
"""Keys in one request: its address has to stay short."""


class RestSource:
    """The reading side of one table. Thread-safe.

    Guarantee: every row that is there all the while is read exactly once. The trap: rows that are written meanwhile.
    """

    def __init__(self, api: Api, made: Collection, parents: Parents, *, page_rows: int) -> None:
        self._api, self._made, self._page_rows = api, made, page_rows
        self._parents = parents
        self._wire = Wire(made.reading, matched=parents.matched, joined=parents.fields)

    def describe(self) -> CollectionSpec:
        """The table as it was when the source was opened."""
        return self._made.spec

    def partitions(self) -> Iterator[Partition]:
        """One: the whole table, in the order of its key."""
        yield Partition(id=PartitionId("all"), bounds="", estimated_rows=self._made.spec.count)

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:  # noqa: ARG002  the only one
        """The records behind `after`, in the order of the key.

        Raises:
            Unavailable, Throttled, AuthFailed: reading `after` the last position goes on.
            CorruptData: the rows that came are not as many as there are.
        """
        behind = self._beyond(after)
        before, seen, position, size = self._counted(behind), 0, after, self._page_rows
        while True:
            try:
                rows = self._page(self._beyond(position), limit=size)
            except Unavailable as error:
                if error.facts.get("sqlstate") != TIMED_OUT or size == 1:
                    raise
                size //= 2
                continue
            if not rows:
                break
            chunk = self._chunk(rows)
            seen, position = seen + len(rows), chunk.position
            yield chunk
        if before is not None:
            self._compare(seen, before, self._counted(behind))

    def count(self) -> int:
        """The exact number of rows, now."""
        return self._api.count(self._made.table.name, self._any_key)

    def close(self) -> None:
        """Nothing is held."""

    # ----------------------------------------------------------------------- parts

    def _chunk(self, rows: list[dict[str, Any]]) -> Chunk:
        self._parents.add(rows)
        return self._made.reading.chunk(Rows(self._wire.rows(rows)))

    def _beyond(self, after: Position | None) -> dict[str, str]:
        return {} if after is None else query.beyond(self._made.form.key, orjson.loads(after))

    def _page(self, which: dict[str, str], *, limit: int) -> list[dict[str, Any]]:
        asked = {**which, "select": self._wire.select, "order": query.ordered(self._made.form.key), "limit": str(limit)}
        return self._api.rows(self._made.table.name, asked)

    @property
    def _any_key(self) -> dict[str, str]:
        """What to select where rows are only counted."""
        return {"select": query.name(self._made.form.key[0])}

    def _counted(self, which: dict[str, str]) -> int | None:
        return self._api.count_if_quick(self._made.table.name, {**which, **self._any_key})

    def _compare(self, seen: int, before: int, later: int | None) -> None:
        """See that as many rows came as there are; where the table changed meanwhile, only verification can tell."""
        if before == later != seen:
            raise CorruptData(
                f"{seen:,} rows of {self._made.spec.qualified_name} came over REST, and it has {later:,}.",
                hint="Is its key unique, and never null? If rows are written meanwhile, use postgresql://, "
                "which reads one state.",
            )
        if later is not None and before != later:
            _LOG.warning(
                "%s changed while it was read over REST: %d rows at first, %d at the end, %d read.",
                self._made.spec.qualified_name,
                before,
                later,
                seen,
            )


class KeyedRestSource(RestSource):
    """A table whose ids say their key, so that records are found by them. Thread-safe."""

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """The records with these original ids, as they are now."""
        chunks = (self._chunk(rows) for rows in self._among(ids))
        return pa.concat_batches([arrow.empty(self._made.spec), *(chunk.batch for chunk in chunks)])

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these original ids that are there now."""
        return frozenset(ids) & frozenset(self.fetch(ids).column("id").to_pylist())

    def _among(self, ids: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """The rows with these ids."""
        keys = stored_keys(self._made, ids)
        for first in range(0, len(keys), _NAMED):
            which = query.among(self._made.form.key, keys[first : first + _NAMED])
            rows = self._api.rows(self._made.table.name, {**which, "select": self._wire.select})
            if rows:
                yield rows
