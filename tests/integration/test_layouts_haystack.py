"""What Haystack wrote into Chroma, Haystack reads from Qdrant, and the other way: its own stores on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
from haystack_integrations.document_stores.chroma import ChromaDocumentStore
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore
from qdrant_client import QdrantClient

from tests.framework_data import DIM, SENTENCES, TEXTS, assert_same, canonical, carry, embed
from vecferry.testing.servers import QdrantServer

pytestmark = pytest.mark.qdrant

IN_CHROMA = "documents"
"""The name that Haystack gives, one of the traces by which it is told."""
SECOND = {"field": "meta.chapter", "operator": "==", "value": 2}


def documents() -> list[Document]:
    """One document a text; Haystack makes the ids itself. One has no metadata."""
    return [
        Document(
            content=text,
            meta={"source": f"file-{number // 4}.txt", "chapter": number % 4, "share": number / 7} if number else {},
            embedding=embed(text),
        )
        for number, text in enumerate(TEXTS)
    ]


def chroma(folder: Path, name: str = IN_CHROMA) -> ChromaDocumentStore:
    return ChromaDocumentStore(name, persist_path=str(folder), distance_function="cosine")


@pytest.fixture
def name() -> str:
    return f"haystack-{uuid4().hex[:8]}"


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False)) as opened:
        yield opened


def in_qdrant(server: QdrantServer, name: str) -> QdrantDocumentStore:
    return QdrantDocumentStore(
        url=server.http_url, index=name, embedding_dim=DIM, return_embedding=True, wait_result_from_api=True
    )


def told(document: Document) -> tuple[object, ...]:
    """What an application gets to see of a document, without what we keep in its metadata."""
    meta = {key: value for key, value in document.meta.items() if key != "_vf"}
    return document.id, document.content, meta, document.blob, document.sparse_embedding


def everything(store: ChromaDocumentStore | QdrantDocumentStore, filters: object = None) -> list[tuple[object, ...]]:
    return sorted(map(told, store.filter_documents(filters)), key=str)  # type: ignore[arg-type]


def from_chroma(store: ChromaDocumentStore, text: str) -> list[tuple[object, ...]]:
    (hits,) = store.search_embeddings([embed(text)], top_k=3)
    return [told(hit) for hit in hits]


def from_qdrant(store: QdrantDocumentStore, text: str) -> list[tuple[object, ...]]:
    retriever = QdrantEmbeddingRetriever(store, top_k=3, return_embedding=True)
    return [told(hit) for hit in retriever.run(embed(text))["documents"]]


def test_haystack_reads_from_qdrant_what_it_wrote_into_chroma(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str
) -> None:
    """Hits, contents, metadata, filters, its own ids; overwriting and deleting by them; and all of it home again."""
    before = chroma(tmp_path / "a")
    before.write_documents(documents())
    first = canonical(f"chroma:{tmp_path / 'a'}", IN_CHROMA)
    plan = carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, collections=(f"{IN_CHROMA}={name}",))
    assert plan.target.card is not None
    assert plan.target.card.layout == "haystack"
    assert plan.target.card.id_rule.template == "{id}"

    after = in_qdrant(qdrant_server, name)
    assert everything(after) == everything(before)
    assert everything(after, SECOND) == everything(before, SECOND)
    assert len(everything(after, SECOND)) == 5
    assert [from_qdrant(after, text) for text in SENTENCES] == [from_chroma(before, text) for text in SENTENCES]

    target = f"chroma:{tmp_path / 'b'}"
    carry(qdrant_server.url, target, tmp_path, collections=(f"{name}={IN_CHROMA}",))
    assert_same(canonical(target, IN_CHROMA), first)
    again = chroma(tmp_path / "b")
    assert everything(again) == everything(before)
    assert [from_chroma(again, text) for text in SENTENCES] == [from_chroma(before, text) for text in SENTENCES]

    written = documents()
    changed = Document(id=written[5].id, content="Changed.", embedding=embed("Changed."))
    after.write_documents([changed], policy=DuplicatePolicy.OVERWRITE)
    assert after.count_documents() == len(TEXTS)
    after.delete_documents([document.id for document in written[:4]])
    assert after.count_documents() == len(TEXTS) - 4


def test_what_haystack_writes_after_the_switch_goes_home_with_the_rest(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str
) -> None:
    """New documents, documents that were read and written again, and what only some have: a blob, a score."""
    chroma(tmp_path / "a").write_documents(documents())
    carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, collections=(f"{IN_CHROMA}={name}",))
    store = in_qdrant(qdrant_server, name)
    new = Document(content="A lighthouse warns ships at night.", meta={"new": True}, embedding=embed("lighthouse"))
    (hit,) = QdrantEmbeddingRetriever(store, top_k=1, return_embedding=True).run(embed(TEXTS[7]))["documents"]
    assert hit.score is not None
    hit.meta["share"], hit.meta["added"] = 0.12345678901234567, "since"
    store.write_documents([new, hit], policy=DuplicatePolicy.OVERWRITE)

    carry(qdrant_server.url, f"chroma:{tmp_path / 'b'}", tmp_path, collections=(f"{name}={IN_CHROMA}",))
    again = {found.id: found for found in chroma(tmp_path / "b").filter_documents()}
    assert len(again) == len(TEXTS) + 1
    assert told(again[new.id]) == told(new)
    assert again[hit.id].content == TEXTS[7]
    assert (again[hit.id].meta["share"], again[hit.id].meta["added"]) == (0.12345678901234567, "since")


def test_haystack_reads_from_chroma_what_it_wrote_into_qdrant(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str
) -> None:
    """Its ids come out of the payload, and every payload comes home, at the point where Haystack looks for it."""
    before = in_qdrant(qdrant_server, name)
    before.write_documents(documents())
    points = {point.id: _said(point.payload) for point in client.scroll(name, limit=100)[0]}
    plan = carry(qdrant_server.url, f"chroma:{tmp_path / 'a'}", tmp_path, collections=(f"{name}={IN_CHROMA}",))
    assert plan.target.card is not None
    assert plan.target.card.layout == "haystack"
    after = chroma(tmp_path / "a")
    assert everything(after) == everything(before)
    assert [from_chroma(after, text) for text in SENTENCES] == [from_qdrant(before, text) for text in SENTENCES]
    after.delete_documents([documents()[0].id])
    assert after.count_documents() == len(TEXTS) - 1

    carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, collections=(f"{IN_CHROMA}={name}-home",))
    home = {point.id: _said(point.payload) for point in client.scroll(f"{name}-home", limit=100)[0]}
    gone = {key for key in points if points[key]["id"] == documents()[0].id}
    assert len(gone) == 1
    assert home == {key: payload for key, payload in points.items() if key not in gone}


@pytest.mark.parametrize("layout", ["haystack", "flat"])
def test_every_way_to_write_a_payload_says_the_same(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str, layout: str
) -> None:
    """Over gRPC, over REST and into an embedded folder: the same payloads, each verified with searches and filters."""
    chroma(tmp_path / "a").write_documents(documents())
    source, folder = f"chroma:{tmp_path / 'a'}", f"qdrant:{tmp_path / 'embedded'}"
    first = canonical(source, IN_CHROMA)
    targets = {f"{name}-grpc": qdrant_server.url, f"{name}-rest": f"{qdrant_server.url}&transport=rest", name: folder}
    for target, url in targets.items():
        carry(source, url, tmp_path, collections=(f"{IN_CHROMA}={target}",), layout=layout)
        assert_same(canonical(url, target), first)
    grpc, rest = (
        {point.id: point.payload for point in client.scroll(f"{name}-{way}", limit=100)[0]} for way in ("grpc", "rest")
    )
    assert grpc == rest


def _said(payload: dict[str, object] | None) -> dict[str, object]:
    """What a payload says: Haystack writes keys that are null, and reads a missing one as null."""
    found = {key: value for key, value in (payload or {}).items() if value is not None}
    meta = found.get("meta")
    assert isinstance(meta, dict)
    return {**found, "meta": {key: value for key, value in meta.items() if key != "_vf"}}
