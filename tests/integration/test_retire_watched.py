"""A collection of a server that is written to between look and removal stays, even where its count is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import chromadb
import pytest
from qdrant_client import QdrantClient, models

from vecferry.errors import Conflict
from vecferry.migration import retire, retiring
from vecferry.registry import open_database
from vecferry.testing.servers import ChromaServer, QdrantServer, start_chroma, start_qdrant

VECTOR = [0.1, 0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def cluster() -> Iterator[QdrantServer]:
    """A cluster of one node."""
    with start_qdrant(cluster=True) as server:
        yield server


@pytest.fixture(scope="module")
def chroma() -> Iterator[ChromaServer]:
    with start_chroma() as server:
        yield server


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Retire a collection while `meanwhile` is done to it, right after it was compared with its archive."""

    def attempted(url: str, name: str, meanwhile: Callable[[], Any]) -> Any:
        real = retiring._prove

        def proven(*arguments: Any) -> None:
            real(*arguments)
            meanwhile()

        with monkeypatch.context() as patched:
            patched.setattr(retiring, "_prove", proven)
            return retire(
                url,
                agree=lambda _: True,
                collections=[name],
                into=f"files:{tmp_path}/{uuid4()}",
                unverified=True,
                ledger=str(tmp_path / "ledger.db"),
            )

    return attempted


def nothing() -> None:
    """Nobody writes."""


def points(*ids: int, **payload: Any) -> list[models.PointStruct]:
    return [models.PointStruct(id=n, vector=VECTOR, payload={"n": n, **payload}) for n in ids]


@pytest.mark.parametrize("settings", [{}, {"shard_number": 3}, {"sharding_method": models.ShardingMethod.CUSTOM}])
def test_qdrant(cluster: QdrantServer, attempt: Callable[..., Any], settings: dict[str, Any]) -> None:
    """One shard tells everything that was done; several, and what they hold is compared, all but the vectors."""
    with closing(QdrantClient(url=cluster.http_url, check_compatibility=False, timeout=60)) as client:
        name = f"watched-{uuid4()}"
        client.create_collection(
            name, models.VectorParams(size=4, distance=models.Distance.DOT), **{"replication_factor": 1, **settings}
        )
        shard = {"shard_key_selector": "eu"} if "sharding_method" in settings else {}
        if shard:
            client.create_shard_key(name, "eu")
        client.upsert(name, points(*range(30)), wait=True, **shard)

        def swapped() -> None:
            client.delete(name, [7], wait=True, **shard)
            client.upsert(name, points(99), wait=True, **shard)

        writes: list[Callable[[], Any]] = [
            swapped,
            lambda: client.set_payload(name, {"n": -1}, points=[3], wait=True, **shard),
            lambda: client.upsert(name, points(4, n="other"), wait=True, **shard),
        ]
        if "shard_number" not in settings:
            new = models.PointVectors(id=5, vector=[1, 1, 1, 1])
            writes.append(lambda: client.update_vectors(name, [new], wait=True, **shard))
        for write in writes:
            with pytest.raises(Conflict, match=f"'{name}' was written to meanwhile"):
                attempt(cluster.url, name, write)
            assert client.count(name, exact=True).count == 30
        assert attempt(cluster.url, name, nothing) is not None
        assert not client.collection_exists(name)


def test_chroma(chroma: ChromaServer, attempt: Callable[..., Any]) -> None:
    name = f"watched-{uuid4()}"
    client = chromadb.HttpClient(host="127.0.0.1", port=chroma.port)
    held = client.create_collection(name, embedding_function=None)
    held.add(ids=[f"r{n}" for n in range(30)], embeddings=[VECTOR] * 30, documents=[f"d{n}" for n in range(30)])

    def swapped() -> None:
        held.delete(ids=["r7"])
        held.add(ids=["new"], embeddings=[VECTOR], documents=["new"])

    for write in (
        swapped,
        lambda: held.update(ids=["r3"], metadatas=[{"a": 1}]),
        lambda: held.update(ids=["r4"], documents=["another"], embeddings=[VECTOR]),
    ):
        with pytest.raises(Conflict, match=f"'{name}' was written to meanwhile"):
            attempt(chroma.url, name, write)
        assert held.count() == 30
    assert attempt(chroma.url, name, nothing) is not None
    with closing(open_database(chroma.url)) as database:
        assert name not in {spec.name for spec in database.collections()}
