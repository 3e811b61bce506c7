"""Pages of points from the server, over either transport, as canonical batches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import pyarrow as pa

from vecferry.connectors.qdrant._codec import columns, grpc_read, rest, restore
from vecferry.connectors.qdrant._codec.form import Form
from vecferry.connectors.qdrant._codec.shard_keys import ShardKey, of_shard
from vecferry.connectors.qdrant._codec.values import EntryReader
from vecferry.connectors.qdrant._ids import Bounds, json_id
from vecferry.connectors.qdrant.server import Server
from vecferry.connectors.qdrant.transport import GET, SCROLL, Grpc, collection_path
from vecferry.model import Chunk, Position

_PAGE_BYTES = 2 << 20
_FIRST_PAGE, _LEAST_PAGE = 256, 4
Points = tuple[list[str], pa.RecordBatch]
"""point ids, canonical batch"""


class Pages(Protocol):
    """One collection's points, page by page. What is asked and what is decoded are apart, so that they can overlap."""

    def ask(self, start: str, limit: int) -> bytes:
        """The answer to "scroll from point `start` on (inclusive)", undecoded."""
        ...

    def next_id(self, answer: bytes) -> str | None:
        """The first point behind a page, None at the end. Cheap."""
        ...

    def decode(self, answer: bytes) -> Iterator[Points]:
        """The points of a page, in order, as many at a time as suits the CPU's cache."""
        ...

    def get(self, points: Sequence[str]) -> pa.RecordBatch:
        """Those of these points that are there."""
        ...


def open_pages(server: Server, name: str, form: Form, shard: ShardKey | None = None) -> Pages:
    """The pages of a collection, or of one shard, over gRPC where it is open. For one thread at a time."""
    if server.grpc is None:
        return RestPages(server, name, form, shard)
    return GrpcPages(server, server.grpc, name, form, shard)


def chunks(pages: Pages, bounds: Bounds, start: str, most_rows: int) -> Iterator[Chunk]:
    """The pages of a range from `start` on, of about 2 MiB each; the next is under way while one is decoded."""
    limit = min(_FIRST_PAGE, most_rows)
    with ThreadPoolExecutor(1, thread_name_prefix="qdrant-scroll") as pool:
        pending: Future[bytes] | None = pool.submit(pages.ask, start, limit)
        while pending is not None:
            answer = pending.result()
            pending, following = None, pages.next_id(answer)
            if following is not None and bounds.holds(following):
                limit = max(_LEAST_PAGE, min(most_rows, _PAGE_BYTES * limit // max(1, len(answer)), limit * 4))
                pending = pool.submit(pages.ask, following, min(limit, most_rows))
            for ids, batch in pages.decode(answer):
                if rows := _within(ids, bounds):
                    yield Chunk(batch.slice(0, rows), Position(ids[rows - 1]))


def _within(ids: list[str], bounds: Bounds) -> int:
    """How many of these ids, which are in order, lie in the range."""
    if not ids or bounds.holds(ids[-1]):
        return len(ids)
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if bounds.holds(ids[middle]) else (low, middle)
    return low


class GrpcPages:
    """Pages as protobuf."""

    def __init__(self, server: Server, grpc: Grpc, name: str, form: Form, shard: ShardKey | None) -> None:
        self._server, self._grpc, self._name, self._form, self._shard = server, grpc, name, form, shard
        self._entries = EntryReader()
        self._columns = columns.Reader(form) if columns.Reader.possible(form) else None
        self._vectors = [vector.name for vector in form.read_vectors]

    def ask(self, start: str, limit: int) -> bytes:
        message = grpc_read.scroll(self._name, start=start, limit=limit, vectors=self._vectors, shard=self._shard)
        return self._grpc.call(SCROLL, message)

    def next_id(self, answer: bytes) -> str | None:
        return grpc_read.next_id(answer)

    def decode(self, answer: bytes) -> Iterator[Points]:
        at = 0
        while at < len(answer):
            ids, batch, at = self._part(answer, at, rows=grpc_read.PART_ROWS)
            if ids:
                yield ids, batch

    def get(self, points: Sequence[str]) -> pa.RecordBatch:
        answer = self._grpc.call(GET, grpc_read.get(self._name, points, vectors=self._vectors, shard=self._shard))
        return self._part(answer, 0, rows=len(answer), result=1)[1]

    def _part(self, answer: bytes, at: int, *, rows: int, result: int = 2) -> tuple[list[str], pa.RecordBatch, int]:
        """(ids, batch, the byte behind them) of points from byte `at` on."""
        if self._columns is not None and (found := self._columns.read(answer, at, rows=rows, result=result)):
            end, page = found
            return page.ids, self._columns.batch(page), end
        part, end = grpc_read.part(answer, at, self._entries, result=result, rows=rows)
        return part.ids, self._batch(part), end

    def _batch(self, page: grpc_read.Page) -> pa.RecordBatch:
        if page.wide:
            self._correct(page)
        cells = {v.name: grpc_read.cells(page.data, page.spans, v) for v in self._form.read_vectors}
        return restore.batch(self._form, page.ids, page.payloads, cells)

    def _correct(self, page: grpc_read.Page) -> None:
        """GRPC sends integers past int64 as floats; REST sends them as they are."""
        found = _rest_payloads(self._server, self._name, [page.ids[row] for row in page.wide], self._shard)
        for row in page.wide:
            page.payloads[row] = found.get(page.ids[row], page.payloads[row])


def _rest_payloads(
    server: Server, name: str, points: Sequence[str], shard: ShardKey | None
) -> dict[str, dict[str, Any]]:
    ids = [json_id(point) for point in points]
    body = {"ids": ids, "with_payload": True, "with_vector": False, **of_shard(shard)}
    answer = server.rest.call("POST", collection_path(name, "/points"), body)
    return {str(point["id"]): point["payload"] or {} for point in answer}


class RestPages:
    """Pages as JSON."""

    def __init__(self, server: Server, name: str, form: Form, shard: ShardKey | None) -> None:
        self._rest, self._name, self._form, self._of_shard = server.rest, name, form, of_shard(shard)
        self._vectors: list[str] | bool = [vector.name for vector in form.read_vectors] or False

    def ask(self, start: str, limit: int) -> bytes:
        wanted = {"with_payload": True, "with_vector": self._vectors, **self._of_shard}
        body = {"offset": json_id(start), "limit": limit, **wanted}
        return self._rest.post_bytes(collection_path(self._name, "/points/scroll"), body)

    def next_id(self, answer: bytes) -> str | None:
        found = _NEXT.search(answer, max(0, len(answer) - _TAIL))
        return None if found is None or found.group(1) == b"null" else found.group(1).strip(b'"').decode()

    def decode(self, answer: bytes) -> Iterator[Points]:
        page = rest.scroll_page(answer)
        yield page.ids, self._batch(page)

    def get(self, points: Sequence[str]) -> pa.RecordBatch:
        wanted = {"with_payload": True, "with_vector": self._vectors, **self._of_shard}
        body = {"ids": [json_id(point) for point in points], **wanted}
        return self._batch(rest.get_page(self._rest.post_bytes(collection_path(self._name, "/points"), body)))

    def _batch(self, page: rest.Page) -> pa.RecordBatch:
        cells = {vector.name: rest.cells(page, vector) for vector in self._form.read_vectors}
        return restore.batch(self._form, page.ids, page.payloads, cells)


_TAIL = 400
_NEXT = re.compile(rb'"next_page_offset":(null|\d+|"[0-9a-f-]{36}")\}')
"""The end of a scroll's answer; behind it stand only the status and the time."""
