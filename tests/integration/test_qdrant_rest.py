"""REST against a real Qdrant, where it differs from gRPC: numbers as text, requests of a size, answers as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from vecferry import arrow
from vecferry.connectors.qdrant._codec import rest
from vecferry.model import CollectionSpec, IdKind, Metric, Record, VectorSpec
from vecferry.registry import open_database
from vecferry.testing.contracts.base import read_all
from vecferry.testing.servers import QdrantServer

DIM = 512


@pytest.fixture
def database(qdrant_server: QdrantServer) -> Iterator[Any]:
    with closing(open_database(f"{qdrant_server.url}&transport=rest")) as database:
        yield database


@pytest.fixture
def requests(database: Any) -> list[httpx.Request]:
    """Every request that is sent from here on."""
    sent: list[httpx.Request] = []
    database._server.rest._client.event_hooks["request"].append(sent.append)
    return sent


def spec_of() -> CollectionSpec:
    return CollectionSpec(name=f"rest-{uuid4()}", id_kind=IdKind.INT, vectors=(VectorSpec(dim=DIM, metric=Metric.L2),))


def records(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> list[Record]:
    return [Record(id=str(row), vectors={"": vector}) for row, vector in enumerate(vectors)]


def hard_numbers() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Finite float32: the worst to round, subnormals, powers of two with their neighbours, random bits."""
    random = np.random.default_rng(3)
    powers = np.arange(0x00800000, 0x7F000000, 0x00800000, dtype=np.uint32)
    closest = np.array([0x08898B53, 0x15AE43FD, 0x80000000, 0x7F7FFFFF, 1, 0x00007FFF], np.uint32)
    bits = np.concatenate([closest, powers - 1, powers, powers + 1, random.integers(0, 0x7F800000, 100_000, np.uint32)])
    bits |= random.integers(0, 2, len(bits), np.uint32) << 31
    return bits[: len(bits) // DIM * DIM].view(np.float32).reshape(-1, DIM)


def test_every_float_arrives_as_it_is(database: Any, qdrant_server: QdrantServer) -> None:
    """Written as text, read as text and as bytes: the same bits."""
    vectors, spec = hard_numbers(), spec_of()
    sink = database.sink(spec)
    sink.prepare(spec)
    sink.write(arrow.from_records(spec, records(vectors)))
    with closing(open_database(qdrant_server.url)) as over_grpc:
        for way in (database, over_grpc):
            found = {record.id: record.vectors[""] for record in read_all(way.source(spec.name))}
            assert len(found) == len(vectors)
            for row, vector in enumerate(vectors):
                assert np.asarray(found[str(row)], np.float32).tobytes() == vector.tobytes()
    database.drop(spec.name)


def test_a_large_batch_goes_in_requests_of_a_size(database: Any, requests: list[httpx.Request]) -> None:
    """Requests are of about the size that the server reads fastest, and together hold every record."""
    spec = spec_of()
    sink = database.sink(spec)
    sink.prepare(spec)
    vectors = np.random.default_rng(5).standard_normal((1_500, DIM), np.float32) / np.float32(10)
    requests.clear()
    receipt = sink.write(arrow.from_records(spec, records(vectors)))
    sizes = [len(request.content) for request in requests]
    assert sum(sizes) == receipt.bytes
    assert len(sizes) > 3
    assert max(sizes) < 1.2 * min(sizes)
    assert max(sizes) < 1.2 * rest.REQUEST_BYTES
    assert database.source(spec.name).count() == len(vectors)
    database.drop(spec.name)


def test_no_answer_is_compressed(database: Any) -> None:
    """Compressing takes Qdrant longer than everything else together."""
    spec = spec_of()
    sink = database.sink(spec)
    sink.prepare(spec)
    sink.write(arrow.from_records(spec, records(np.ones((50, DIM), np.float32))))
    encodings: list[str | None] = []
    database._server.rest._client.event_hooks["response"].append(
        lambda response: encodings.append(response.headers.get("content-encoding"))
    )
    assert len(list(read_all(database.source(spec.name)))) == 50
    assert encodings
    assert set(encodings) == {None}
    database.drop(spec.name)
