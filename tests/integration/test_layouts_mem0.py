"""What mem0 wrote into Chroma, mem0 reads from Qdrant, and the other way: its own vector stores on both sides."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from qdrant_client import QdrantClient

from tests.framework_data import DIM, SENTENCES, TEXTS, assert_same, canonical, carry, embed
from tests.framework_wheels import importable
from vecferry.planning.model import Policy
from vecferry.testing.servers import QdrantServer

pytestmark = pytest.mark.qdrant

USERS = ("ada", "grace")


@pytest.fixture(scope="module")
def mem0() -> Iterator[Mapping[str, Any]]:
    """mem0's two vector stores, by the name of the store."""
    with importable("mem0ai==2.2.1", "mem0", "mem0ai-2.2.1.dist-info"):
        yield {
            "chroma": importlib.import_module("mem0.vector_stores.chroma").ChromaDB,
            "qdrant": importlib.import_module("mem0.vector_stores.qdrant").Qdrant,
        }


@pytest.fixture
def name() -> str:
    return f"mem0-{uuid4().hex[:8]}"


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False)) as opened:
        yield opened


def in_chroma(mem0: Mapping[str, Any], folder: Path, name: str) -> Any:
    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    return mem0["chroma"](name, client=client)


def unit(text: str) -> list[float]:
    """A vector of length 1, as the models give that mem0 is used with."""
    vector = np.array(embed(text))
    return [float(value) for value in vector / np.linalg.norm(vector)]


def fill(store: Any) -> None:
    """One memory a text, in the form of `Memory._create_memory`."""
    payloads = [
        {
            "data": text,
            "text_lemmatized": text.lower(),
            "hash": hashlib.md5(text.encode()).hexdigest(),
            "created_at": f"2026-01-0{number % 9 + 1}T00:00:00+00:00",
            "updated_at": f"2026-01-0{number % 9 + 1}T00:00:00+00:00",
            "user_id": USERS[number % 2],
            "topic": number % 4,
        }
        for number, text in enumerate(TEXTS)
    ]
    store.insert([unit(text) for text in TEXTS], payloads, [_id(number) for number in range(len(TEXTS))])


def _id(number: int) -> str:
    return str(UUID(int=5000 + number, version=4))


def told(memories: Any) -> list[tuple[str, dict[str, Any]]]:
    """What mem0 gets to see, without what we keep in a payload."""
    return [(str(one.id), {key: value for key, value in one.payload.items() if key != "_vf"}) for one in memories]


def hits(store: Any, text: str, filters: Mapping[str, Any] | None = None) -> list[tuple[str, dict[str, Any]]]:
    wrapped = [unit(text)] if type(store).__name__ == "ChromaDB" else unit(text)
    return told(store.search(text, wrapped, top_k=3, filters=filters))


def everything(store: Any, filters: Mapping[str, Any] | None = None) -> list[tuple[str, dict[str, Any]]]:
    found = store.list(filters=filters, top_k=100)[0]
    return sorted(told(found), key=str)


def test_mem0_reads_from_qdrant_what_it_wrote_into_chroma(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, mem0: Mapping[str, Any], name: str
) -> None:
    """Memories, hits, whose they are, ids; an update and a deletion; and all of it back in Chroma."""
    before = in_chroma(mem0, tmp_path / "a", name)
    fill(before)
    first = canonical(f"chroma:{tmp_path / 'a'}", name)
    plan = carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path)
    assert plan.target.card is not None
    assert plan.target.card.layout == "mem0"
    assert {"user_id"} <= {index.key for index in plan.target.indexes}

    after = mem0["qdrant"](name, DIM, client=client)
    mine = {"user_id": "grace"}
    assert everything(after) == everything(before)
    assert everything(after, mine) == everything(before, mine)
    assert len(everything(after, mine)) == len(TEXTS) // 2
    for text in SENTENCES:
        assert hits(after, text) == hits(before, text)
        assert hits(after, text, mine) == hits(before, text, mine)
    assert told([after.get(_id(3))]) == told([before.get(_id(3))])

    carry(qdrant_server.url, f"chroma:{tmp_path / 'b'}", tmp_path, collections=(name,))
    assert_same(canonical(f"chroma:{tmp_path / 'b'}", name), first)
    assert everything(in_chroma(mem0, tmp_path / "b", name)) == everything(before)

    after.update(_id(0), unit("New."), {"data": "New.", "user_id": "ada"})
    after.delete(_id(1))
    assert told([after.get(_id(0))]) == [(_id(0), {"data": "New.", "user_id": "ada"})]
    assert client.count(name).count == len(TEXTS) - 1


def test_mem0_reads_from_chroma_what_it_wrote_into_qdrant(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, mem0: Mapping[str, Any], name: str
) -> None:
    """The slot for keywords, which Chroma has not, is a cell of the plan; payloads come home as they were."""
    before = mem0["qdrant"](name, DIM, client=client)
    fill(before)
    points = {str(point.id): point.payload for point in client.scroll(name, limit=100)[0]}
    accepted = {"vector.bm25": Policy.CONVERT}
    plan = carry(qdrant_server.url, f"chroma:{tmp_path / 'a'}", tmp_path, collections=(name,), policies=accepted)
    assert plan.target.card is not None
    assert plan.target.card.layout == "mem0"
    after = in_chroma(mem0, tmp_path / "a", name)
    assert everything(after) == everything(before)
    assert [hits(after, text) for text in SENTENCES] == [hits(before, text) for text in SENTENCES]

    carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, collections=(f"{name}={name}-home",))
    home = {str(point.id): point.payload for point in client.scroll(f"{name}-home", limit=100)[0]}
    assert {key: {k: v for k, v in (payload or {}).items() if k != "_vf"} for key, payload in home.items()} == points
