"""The bulk reading side of a collection on a server: pages by id, several under way while one is decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from vecferry import arrow
from vecferry.connectors.chroma import _codec, rounding
from vecferry.connectors.chroma.http import facts, filtering
from vecferry.connectors.chroma.http.answers import Page, page
from vecferry.connectors.chroma.http.collection import EVERYTHING, Collection
from vecferry.connectors.chroma.http.failures import TooLarge, not_chroma
from vecferry.connectors.chroma.http.ids import Ids
from vecferry.connectors.chroma.http.watching import watch
from vecferry.errors import Conflict, Unsupported
from vecferry.model import Chunk, CollectionSpec, Hit, IdKind, Partition, PartitionId, Position, Rejection
from vecferry.tags import canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vecferry.filters import Filter

PARTITION_ROWS = 16_384
_FIRST_ROWS = 100
_PAGE_BYTES = 3 << 20
"""JSON that one answer shall hold, about."""
_SEARCHES = 32


class ServerSource:
    """Reads one collection. Thread-safe.

    Guarantee: which records are read, and in which order, is settled by the list of ids that the first call fetches;
    `seq` is the place in it. A record that is deleted meanwhile does not come, one that is changed comes as it is when
    its page is asked for, whole.
    """

    def __init__(self, collection: Collection, spec: CollectionSpec, ids: Ids, *, cloud: bool, pinned: bool) -> None:
        self._collection, self._spec, self._ids = collection, spec, ids
        self._cloud, self._pinned = cloud, pinned
        self._dim = spec.vectors[0].dim or 0
        self._rows = _FIRST_ROWS
        self._in_flight = facts.CLOUD_IN_FLIGHT if cloud else facts.IN_FLIGHT

    def describe(self) -> CollectionSpec:
        return self._spec

    # ----------------------------------------------------------------------- reading

    def partitions(self) -> list[Partition]:
        total = len(self._ids)
        shares = [(start, min(total, start + PARTITION_ROWS)) for start in range(0, total, PARTITION_ROWS)]
        return [
            Partition(
                id=PartitionId(f"ids-{number:06}"),
                bounds=f"{start}:{stop}:{self._ids.digest(start, stop)}",
                estimated_rows=stop - start,
            )
            for number, (start, stop) in enumerate(shares)
        ]

    def read(self, partition: Partition, *, after: Position | None = None) -> Iterator[Chunk]:
        """See `Source.read`.

        Raises:
            Conflict: other ids stand there now than when the partition was made.
        """
        first, last, digest = partition.bounds.split(":")
        start, stop = int(first), int(last)
        if self._ids.digest(start, stop) != digest:
            raise Conflict(
                f"The ids of {self._spec.qualified_name} are not those for which its partitions were made.",
                store=self._collection.store,
                hint="Begin anew with --restart: what is written already is written again and stays right.",
            )
        yield from self._chunks(max(start, int(after or start)), stop)

    def _chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        """Pages in order; the next ones are under way while one is decoded."""
        rows = min(self._collection.most, max(1, _PAGE_BYTES // (12 * self._dim + 2_000)), self._rows)
        waiting: deque[tuple[int, list[str], Future[list[bytes]]]] = deque()
        with ThreadPoolExecutor(self._in_flight, thread_name_prefix="chroma-get") as pool:
            try:
                while start < stop or waiting:
                    while start < stop and len(waiting) < self._in_flight:
                        ids = self._ids.between(start, min(stop, start + rows))
                        waiting.append((start, ids, pool.submit(self._ask, ids)))
                        start += len(ids)
                    first, ids, answer = waiting.popleft()
                    answers = answer.result()
                    size = max(1, sum(map(len, answers)) // len(ids))
                    rows = max(1, min(self._collection.most, _PAGE_BYTES // size, 4 * rows))
                    self._rows = rows  # where the next partition begins
                    yield self._chunk(first, ids, answers)
            finally:
                for *_, future in waiting:
                    future.cancel()

    def _ask(self, ids: list[str]) -> list[bytes]:
        """The answers for these ids: one, or more where one request was too much for the server."""
        try:
            return [self._collection.ask(ids=ids, limit=len(ids), include=EVERYTHING)]
        except TooLarge:
            if len(ids) == 1:
                raise
        half = len(ids) // 2
        return self._ask(ids[:half]) + self._ask(ids[half:])

    def _chunk(self, first: int, ids: list[str], answers: list[bytes]) -> Chunk:
        place = {text: first + number for number, text in enumerate(ids)}
        pages = [self._page(answer) for answer in answers]
        batches = [self._batch(one, [place.get(text) for text in one.ids]) for one in pages]
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        seqs = batch.column("seq").to_numpy()
        if (np.diff(seqs) < 0).any():
            batch = batch.sort_by("seq")
        rejected = tuple(Rejection(one.ids[row], why) for one in pages for row, why in sorted(one.faults.items()))
        return Chunk(batch, Position(str(first + len(ids))), rejected)

    def _page(self, answer: bytes) -> Page:
        try:
            return page(answer, self._dim)
        except (ValueError, KeyError, TypeError) as error:
            raise not_chroma(self._collection.store) from error

    def _batch(self, found: Page, seqs: Sequence[int | None]) -> pa.RecordBatch:
        """The canonical records of a page, without those that have a fault."""
        columns: dict[str, Any] = {
            "id": pa.array(found.ids, pa.string()),
            "seq": pa.array(seqs, pa.int64()),
            "document": found.documents,
            "uri": found.uris,
            **self._unwrapped(found),
        }
        batch = arrow.build(self._spec, columns)
        if not found.faults:
            return batch
        return batch.filter(pa.array([row not in found.faults for row in range(len(found.ids))]))

    def _unwrapped(self, found: Page) -> dict[str, Any]:
        """The columns vector, metadata, tags and, where our card says so, id_kind; our envelopes undone."""
        texts: list[bytes | None] = [None if held is None else canonical(held) for held in found.metadatas]
        if self._spec.card is None:
            return {"vector": found.vectors, "metadata": texts}
        tags, kinds = list[Any]([None] * len(texts)), [IdKind.TEXT.value] * len(texts)
        kept: dict[int, bytes] = {}
        for row, held in enumerate(found.metadatas):
            if held is not None and _codec.ENVELOPE in held:
                texts[row], tags[row], kind, bits = _codec.unwrap(texts[row])
                kinds[row] = kind or kinds[row]
                kept.update({row: bits} if bits is not None else {})
        vectors = rounding.restored(found.vectors, kept)
        mixed = {"id_kind": kinds} if self._spec.id_kind is IdKind.MIXED else {}
        return {"vector": vectors, "metadata": texts, "tags": tags, **mixed}

    # ----------------------------------------------------------------------- powers

    def count(self) -> int:
        return len(self._ids) if self._pinned else self._collection.count()

    def fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        wanted = list(dict.fromkeys(ids))
        places = self._ids.places(wanted) if wanted else {}
        batches = [arrow.empty(self._spec)]
        most = self._collection.most  # it may become smaller on the way
        for start in range(0, len(wanted), most):
            for answer in self._ask(wanted[start : start + most]):
                found = self._page(answer)
                batches.append(self._batch(found, [places.get(text) for text in found.ids]))
        return pa.concat_batches(batches)

    def existing(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(self._collection.get(ids=list(dict.fromkeys(ids)), include=[])["ids"])

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int,
        exact: bool = False,
        vector: str = "",
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """Chroma's own approximate search; scores are Chroma's distances (`LIMITS.scores`)."""
        if exact or where is not None or vector:
            raise Unsupported(
                "A Chroma server is searched by its index alone: not exactly, and not with filters.",
                store=self._collection.store,
                hint="Compute exact results from the vectors themselves; vecferry verify does.",
            )
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), _SEARCHES):
            rows = np.ascontiguousarray(queries[start : start + _SEARCHES], np.float32)
            found = self._collection.query(rows, k=min(k, self._collection.most))
            for ids, scores in zip(found["ids"], found["distances"], strict=True):
                hits.append([Hit(text, float(score)) for text, score in zip(ids, scores, strict=True)])
        return hits

    def asking(self, query: NDArray[np.float32], *, vector: str = "") -> Callable[[], object]:
        """One search, as an application asks for one."""
        return lambda: self.search(query[np.newaxis], k=10, vector=vector)

    def count_where(self, where: Filter) -> int:
        """The exact number of records that match, as Chroma's own `where` finds them.

        Raises:
            Unsupported: Chroma has no such filter, it would round, or some records keep the key where no filter looks.
        """
        return filtering.count(
            self._collection, where, lambda: self._seen, ours=self._spec.card is not None, cloud=self._cloud
        )

    @cached_property
    def _seen(self) -> filtering.Seen:
        """What stands under each key; one pass over the metadata, where a filter needs it."""
        seen = filtering.Seen()
        most = self._collection.most  # it may become smaller on the way
        for start in range(0, len(self._ids), most):
            ids = self._ids.between(start, start + most)
            seen.add(self._collection.get(ids=ids, include=["metadatas"])["metadatas"])
        return seen

    def watch(self) -> Callable[[], bool]:
        """Notices everything but a vector that was replaced alone; see `watching`."""
        return watch(self._collection)

    def close(self) -> None:
        """Nothing of its own is open: the connections belong to the database."""
