"""What LangChain wrote into Chroma, LangChain reads from Qdrant: its own classes on both sides, and ours in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from vecferry.model import IndexKind
from vecferry.planning.inspect import inspect
from vecferry.planning.losses import check
from vecferry.planning.model import CollectionPlan, Plan
from vecferry.planning.options import PlanOptions
from vecferry.planning.plan import make_plan
from vecferry.planning.sieve import Sieve
from vecferry.protocols import Database
from vecferry.registry import open_database
from vecferry.testing.servers import QdrantServer

pytestmark = pytest.mark.qdrant

DIM = 64
TEXTS = (
    "A ferry carries people and cars across the water.",
    "The harbour pilot boards large ships before they enter port.",
    "Vectors of floating point numbers stand for the meaning of a text.",
    "A database keeps records and finds them again.",
    "Migration moves records from one database to another.",
    "Proof that nothing was lost needs a count, and more than a count.",
    "The captain reads the tide table before the ship leaves.",
    "An index makes finding fast and writing slow.",
)


class NGrams(Embeddings):
    """A small real embedding: hashed character trigrams, so that texts with common words lie near each other."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.zeros(DIM)
        padded = f"  {text.lower()}  "
        for start in range(len(padded) - 2):
            digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=4).digest()
            vector[int.from_bytes(digest[:2], "little") % DIM] += 1 if digest[2] % 2 else -1
        return list(vector)


def documents() -> list[Document]:
    return [
        Document(
            page_content=text, metadata={"source": f"file-{number % 3}.txt", "page": number, "draft": number % 2 == 0}
        )
        for number, text in enumerate(TEXTS)
    ]


def written(folder: Path, ids: Sequence[str], *, space: str, name: str = "langchain") -> Chroma:
    """A Chroma directory as an application with LangChain leaves it; one document has no metadata."""
    store = Chroma(name, NGrams(), persist_directory=str(folder), collection_metadata={"hnsw:space": space})
    store.add_documents(documents(), ids=list(ids))
    store.add_texts(["A text without any metadata."], ids=[str(UUID(int=7))])
    return store


def moved(source: str, target: str, **options: object) -> Plan:
    """Inspect, plan, check and copy, with nothing between source and sink but the plan."""
    origin, goal = open_database(source), open_database(target)
    try:
        wishes = PlanOptions(**options)  # type: ignore[arg-type]
        found = inspect(origin, url=source, patterns=wishes.collections)
        plan = make_plan(found, origin, goal, wishes, target_url=target)
        check(plan)
        for collection in plan.collections:
            _copy(collection, origin, goal)
    finally:
        origin.close()
        goal.close()
    return plan


def _copy(collection: CollectionPlan, origin: Database, goal: Database) -> None:
    reader, sink = origin.source(collection.source), goal.sink(collection.target)
    sieve = Sieve(collection, reader.describe(), goal.limits)
    sink.prepare(collection.target)
    for partition in collection.partitions:
        for chunk in reader.read(partition):
            batch, rejected = sieve.apply(chunk.batch)
            assert not rejected
            assert sink.write(batch).rows == batch.num_rows
    sink.finish()
    sink.close()
    reader.close()


@pytest.fixture
def fresh_name() -> str:
    return f"langchain-{uuid4().hex[:8]}"


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False)) as opened_client:
        yield opened_client


@pytest.fixture
def opened(client: QdrantClient, fresh_name: str) -> Callable[..., QdrantVectorStore]:
    """LangChain's own class over the collection that we wrote."""

    def open_store(**options: object) -> QdrantVectorStore:
        return QdrantVectorStore(client=client, collection_name=fresh_name, embedding=NGrams(), **options)

    return open_store


def _uuids() -> list[str]:
    return [str(UUID(int=100 + number, version=4)) for number in range(len(TEXTS))]


def test_langchain_reads_what_langchain_wrote(
    tmp_path: Path, qdrant_server: QdrantServer, fresh_name: str, opened: Callable[..., QdrantVectorStore]
) -> None:
    """Texts, metadata, ids and filters, through the classes of langchain-chroma and langchain-qdrant."""
    chroma = written(tmp_path, _uuids(), space="cosine")
    before = {text: chroma.similarity_search(text, k=3) for text in TEXTS}
    plan = moved(f"chroma:{tmp_path}", qdrant_server.url, collections=(f"langchain={fresh_name}",))
    assert plan.collections[0].target.card is not None
    assert plan.collections[0].target.card.layout == "langchain"

    store = opened()
    for text, hits in before.items():
        found = store.similarity_search(text, k=3)
        assert [hit.page_content for hit in found] == [hit.page_content for hit in hits]
        for hit, other in zip(found, hits, strict=True):
            assert _own(hit) == other.metadata
    source = models.Filter(
        must=[models.FieldCondition(key="metadata.source", match=models.MatchValue(value="file-1.txt"))]
    )
    filtered = store.similarity_search("ship", k=10, filter=source)
    assert {hit.page_content for hit in filtered} == {TEXTS[1], TEXTS[4], TEXTS[7]}
    by_id = store.get_by_ids(_uuids()[:2])
    assert {hit.page_content for hit in by_id} == set(TEXTS[:2])
    (bare,) = store.get_by_ids([str(UUID(int=7))])
    assert (bare.page_content, _own(bare)) == ("A text without any metadata.", {})


def _own(document: Document) -> dict[str, object]:
    """Metadata without what langchain-qdrant adds on reading."""
    return {key: value for key, value in document.metadata.items() if not key.startswith("_")}


def test_langchain_writes_on_into_what_we_wrote(
    tmp_path: Path, qdrant_server: QdrantServer, fresh_name: str, opened: Callable[..., QdrantVectorStore]
) -> None:
    """After the switch the application goes on: it adds, finds and deletes."""
    written(tmp_path, _uuids(), space="cosine").delete([str(UUID(int=7))])
    moved(f"chroma:{tmp_path}", qdrant_server.url, collections=(f"langchain={fresh_name}",))
    store = opened()
    added = store.add_texts(["A lighthouse warns ships at night."], metadatas=[{"source": "new"}])
    assert store.similarity_search("lighthouse warns ships", k=1)[0].metadata["source"] == "new"
    assert store.delete([*added, _uuids()[0]])
    assert {hit.page_content for hit in store.similarity_search("x", k=20)} == set(TEXTS[1:])


def test_ids_that_are_no_uuids_are_found_by_what_they_became(
    tmp_path: Path,
    qdrant_server: QdrantServer,
    client: QdrantClient,
    fresh_name: str,
    opened: Callable[..., QdrantVectorStore],
) -> None:
    """Text and metadata are whole, and the original id stands under `_vf`."""
    ids = [f"doc-{number}" for number in range(len(TEXTS))]
    written(tmp_path, ids, space="cosine")
    moved(f"chroma:{tmp_path}", qdrant_server.url, collections=(f"langchain={fresh_name}",))
    hit = opened().similarity_search(TEXTS[2], k=1)[0]
    assert hit.page_content == TEXTS[2]
    (point,) = client.retrieve(fresh_name, [hit.metadata["_id"]])
    assert point.payload is not None
    assert point.payload["_vf"]["id"] == "doc-2"


def test_euclidean_collections_stay_euclidean(
    tmp_path: Path, qdrant_server: QdrantServer, fresh_name: str, opened: Callable[..., QdrantVectorStore]
) -> None:
    """In Chroma LangChain defaults to l2: the application passes distance=EUCLID, and the order of hits is the same."""
    chroma = written(tmp_path, _uuids(), space="l2")
    moved(f"chroma:{tmp_path}", qdrant_server.url, collections=(f"langchain={fresh_name}",))
    store = opened(distance=models.Distance.EUCLID)
    for text in TEXTS:
        wanted = [(hit.page_content, score) for hit, score in chroma.similarity_search_with_score(text, k=4)]
        found = [(hit.page_content, score) for hit, score in store.similarity_search_with_score(text, k=4)]
        assert [hit for hit, _ in found] == [hit for hit, _ in wanted]
        assert [score**2 for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-3)


def test_the_layout_can_be_told(
    tmp_path: Path, qdrant_server: QdrantServer, fresh_name: str, opened: Callable[..., QdrantVectorStore]
) -> None:
    """A collection under a name of its own is plain unless a person says otherwise."""
    written(tmp_path, _uuids(), space="cosine", name="handbook")
    plan = moved(f"chroma:{tmp_path}", qdrant_server.url, collections=(f"handbook={fresh_name}",), layout="langchain")
    assert {index.kind for index in plan.collections[0].target.indexes} >= {IndexKind.KEYWORD, IndexKind.INTEGER}
    assert opened().similarity_search(TEXTS[0], k=1)[0].page_content == TEXTS[0]
