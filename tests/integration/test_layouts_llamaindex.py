"""What LlamaIndex wrote into Chroma, LlamaIndex reads from Qdrant, and the other way: its own classes on both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import chromadb
import pytest
from chromadb.config import Settings
from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.chroma import ChromaVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from tests.framework_data import SENTENCES, TEXTS, assert_same, canonical, carry, embed
from vecferry.testing.servers import QdrantServer

pytestmark = pytest.mark.qdrant

SECOND = MetadataFilters(filters=[MetadataFilter(key="chapter", value=2, operator=FilterOperator.EQ)])


def _id(number: int) -> str:
    return str(UUID(int=1000 + number, version=4))


def nodes() -> list[TextNode | Document]:
    """One node a text, four to a document; the last one is a `Document`, whose text stands in two places."""
    found: list[TextNode | Document] = []
    for number, text in enumerate(TEXTS):
        metadata = {"source": f"file-{number // 4}.txt", "chapter": number % 4, "share": 0.1 + number, "blank": None}
        kind = Document if number == len(TEXTS) - 1 else TextNode
        node = kind(id_=_id(number), text=text, metadata=metadata, embedding=embed(text))
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"document-{number // 4}")
        if number % 4:
            node.relationships[NodeRelationship.PREVIOUS] = RelatedNodeInfo(node_id=_id(number - 1))
        found.append(node)
    return found


def chroma(folder: Path, name: str) -> ChromaVectorStore:
    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    space = {"hnsw:space": "cosine"}
    return ChromaVectorStore(chroma_collection=client.get_or_create_collection(name, metadata=space))


@pytest.fixture
def name() -> str:
    return f"llamaindex-{uuid4().hex[:8]}"


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False)) as opened:
        yield opened


def told(found: VectorStoreQueryResult) -> list[tuple[object, ...]]:
    """What an application gets to see of the hits."""
    assert found.nodes is not None
    return [_told(node) for node in found.nodes]


def _told(node: object) -> tuple[object, ...]:
    assert isinstance(node, TextNode)
    return node.node_id, node.get_content(), node.metadata, node.ref_doc_id, node.relationships


def query(text: str, **options: object) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=embed(text), similarity_top_k=3, **options)  # type: ignore[arg-type]


def test_llamaindex_reads_from_qdrant_what_it_wrote_into_chroma(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str
) -> None:
    """Hits, texts, metadata, relationships, filters, ids, deletion by document; and then all of it back in Chroma."""
    before = chroma(tmp_path / "a", name)
    before.add(nodes())
    first = canonical(f"chroma:{tmp_path / 'a'}", name)
    plan = carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path)
    assert plan.target.card is not None
    assert plan.target.card.layout == "llamaindex"

    after = QdrantVectorStore(client=client, collection_name=name)
    for text in SENTENCES:
        assert told(after.query(query(text))) == told(before.query(query(text)))
        assert told(after.query(query(text, filters=SECOND))) == told(before.query(query(text, filters=SECOND)))
    asked = [_id(0), _id(len(TEXTS) - 1)]
    assert sorted(map(_told, after.get_nodes(asked)), key=str) == sorted(map(_told, before.get_nodes(asked)), key=str)
    assert {node.get_content() for node in after.get_nodes(asked)} == {TEXTS[0], TEXTS[-1]}

    carry(qdrant_server.url, f"chroma:{tmp_path / 'b'}", tmp_path, collections=(name,))
    assert_same(canonical(f"chroma:{tmp_path / 'b'}", name), first)
    again = chroma(tmp_path / "b", name)
    assert [told(again.query(query(text))) for text in SENTENCES] == [told(before.query(query(t))) for t in SENTENCES]

    after.delete("document-1")
    assert client.count(name).count == len(TEXTS) - 4
    again.delete("document-1")
    assert again.client.count() == len(TEXTS) - 4


def test_llamaindex_writes_on_into_what_we_wrote(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str
) -> None:
    """After the switch the application goes on, and what it added goes home with the rest."""
    chroma(tmp_path / "a", name).add(nodes())
    carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path)
    text = "A lighthouse warns ships at night."
    QdrantVectorStore(client=client, collection_name=name).add(
        [TextNode(id_=_id(99), text=text, embedding=embed(text))]
    )
    carry(qdrant_server.url, f"chroma:{tmp_path / 'b'}", tmp_path, collections=(name,))
    found = chroma(tmp_path / "b", name).query(query("lighthouse warns ships"))
    assert told(found)[0][:2] == (_id(99), text)


def test_llamaindex_reads_from_chroma_what_it_wrote_into_qdrant(
    tmp_path: Path, qdrant_server: QdrantServer, client: QdrantClient, name: str
) -> None:
    """The text comes out of the node and becomes the document, so that Chroma searches it; and the node comes home."""
    before = QdrantVectorStore(client=client, collection_name=name)
    before.add(nodes())
    points = {str(point.id): point.payload for point in client.scroll(name, limit=100)[0]}
    plan = carry(qdrant_server.url, f"chroma:{tmp_path / 'a'}", tmp_path, collections=(name,))
    assert plan.target.card is not None
    assert plan.target.card.layout == "llamaindex"
    after = chroma(tmp_path / "a", name)
    assert after.client.get(where_document={"$contains": "ferry carries"})["ids"] == [_id(0), _id(1), _id(2), _id(3)]
    assert [told(after.query(query(text))) for text in SENTENCES] == [told(before.query(query(t))) for t in SENTENCES]

    carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, collections=(f"{name}={name}-home",))
    home = {str(point.id): point.payload for point in client.scroll(f"{name}-home", limit=100)[0]}
    assert {key: _without_ours(payload) for key, payload in home.items()} == points
    indexed = client.get_collection(f"{name}-home").payload_schema
    assert indexed["doc_id"].data_type == models.PayloadSchemaType.KEYWORD


def _without_ours(payload: dict[str, object] | None) -> dict[str, object]:
    return {key: value for key, value in (payload or {}).items() if key != "_vf"}


def test_the_layout_is_told_by_the_records(tmp_path: Path, qdrant_server: QdrantServer, name: str) -> None:
    """No name gives it away, only the nodes; and a person may choose otherwise."""
    chroma(tmp_path / "a", name).add(nodes()[:2])
    plain = carry(f"chroma:{tmp_path / 'a'}", qdrant_server.url, tmp_path, layout="plain")
    assert plain.target.card is not None
    assert plain.target.card.layout == "plain"
    documents = canonical(qdrant_server.url, name).column("document").to_pylist()
    assert documents == list(TEXTS[:2])
    stored = canonical(qdrant_server.url, name).column("metadata").to_pylist()
    assert [json.loads(json.loads(one)["_node_content"])["text"] for one in stored] == ["", ""]
