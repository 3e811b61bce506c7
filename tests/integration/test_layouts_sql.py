"""What a framework wrote into PostgreSQL or MariaDB it reads from Qdrant, and back: its own classes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pymysql.cursors
import pytest
from langchain_qdrant import QdrantVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore as Llama
from qdrant_client import QdrantClient
from sqlalchemy import Engine, NullPool, create_engine

from tests.framework_data import DIM as LLAMA_DIM
from tests.framework_wheels import importable
from tests.integration.test_layouts_langchain import DIM, TEXTS, NGrams, documents
from tests.integration.test_layouts_llamaindex import nodes, query, told
from tests.integration.test_presets import Mover, explained
from vecferry.planning.presets import load_preset
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase, PostgresServer
from vecferry.testing.servers import QdrantServer

pytestmark = pytest.mark.qdrant

QUERIES = ("ships that carry cars", "how to find records", "numbers for the meaning of words")
WHEELS = {
    "langchain-postgres==0.0.19": "langchain_postgres",
    "langchain-mariadb==0.0.21": "langchain_mariadb",
    "langchain-community==0.4.2": "langchain_community",
    "asyncpg==0.32.0": "asyncpg",
    "psycopg-pool==3.3.3": "psycopg_pool",
    "pgvector==0.3.6": "pgvector",
    "llama-index-vector-stores-postgres==0.9.0": "llama_index/vector_stores/postgres",
    "psycopg2-binary==2.9.13": "psycopg2 psycopg2_binary.libs",
}


@pytest.fixture(scope="module", autouse=True)
def _frameworks() -> Iterator[None]:
    """Packages that want another SQLAlchemy than ours, or that nobody else here needs."""
    with ExitStack() as stack:
        for requirement, parts in WHEELS.items():
            stack.enter_context(importable(requirement, *parts.split()))
        yield


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.http_url, check_compatibility=False)) as opened:
        yield opened


@pytest.fixture
def move(tmp_path: Path) -> Mover:
    return Mover(tmp_path)


def dsn(database: PostgresDatabase, driver: str = "psycopg") -> str:
    server = database.server
    return f"postgresql+{driver}://{server.user}:{server.password}@{server.host}:{server.port}/{database.name}"


@pytest.fixture
def engine(postgres: PostgresDatabase) -> Iterator[Engine]:
    made = create_engine(dsn(postgres), poolclass=NullPool)
    yield made
    made.dispose()


def pgvector(age: str, engine: Engine, name: str) -> Any:
    """LangChain's class of today, or the one of langchain-community."""
    if age == "new":
        from langchain_postgres import PGVector

        return PGVector(NGrams(), connection=engine, collection_name=name)
    from langchain_community.vectorstores.pgvector import PGVector as Old

    class Pooled(Old):
        """It makes an engine of its own from a URL; ours is closed after the test."""

        def _create_engine(self) -> Engine:
            return engine

    return Pooled(str(engine.url), NGrams(), collection_name=name, use_jsonb=False)


def answers(store: Any) -> list[list[tuple[str, Any, str]]]:
    """(text, source, file) of what a framework finds, nearest first."""
    found = [store.similarity_search(query, k=4) for query in QUERIES]
    return [[(hit.page_content, hit.metadata["page"], hit.metadata["source"]) for hit in hits] for hits in found]


def metadata(store: Any) -> dict[str, dict[str, Any]]:
    """Text -> metadata, without what the framework's Qdrant class adds."""
    hits = store.similarity_search("ships", k=len(TEXTS))
    return {hit.page_content: {k: v for k, v in hit.metadata.items() if not k.startswith("_")} for hit in hits}


def in_qdrant(client: QdrantClient, name: str) -> QdrantVectorStore:
    return QdrantVectorStore(client=client, collection_name=name, embedding=NGrams())


def check(done: Any) -> None:
    assert done.verification is not None
    assert done.verification.ok, explained(done)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("age", ["new", "old"])
def test_langchains_pgvector(
    age: str,
    postgres: PostgresDatabase,
    engine: Engine,
    qdrant_server: QdrantServer,
    client: QdrantClient,
    move: Mover,
) -> None:
    """All its collections stand in one table: each becomes a collection of its own, under its own name."""
    stores = {name: pgvector(age, engine, name) for name in ("first", "second")}
    stores["first"].add_documents(documents(), ids=[str(uuid.uuid4()) for _ in TEXTS])
    stores["second"].add_documents(documents()[:5], ids=[f"own-{n}" for n in range(5)])
    preset = load_preset("langchain-pgvector" if age == "new" else "langchain-pgvector-old")
    done = move(postgres.url, qdrant_server.url, preset=preset, name=f"{move.prefix}{{name}}")
    check(done)
    assert {c.target.name for c in done.plan.collections} == {"first", "second"}
    for name, store in stores.items():
        moved = in_qdrant(client, name)
        assert answers(moved) == answers(store)
        assert metadata(moved) == metadata(store)
        client.delete_collection(name)


def test_langchains_pgvectorstore_there_and_back(
    postgres: PostgresDatabase,
    postgres_server: PostgresServer,
    qdrant_server: QdrantServer,
    client: QdrantClient,
    move: Mover,
) -> None:
    """A table for each collection; metadata columns that the caller declared are metadata keys."""
    from langchain_postgres import Column, PGEngine, PGVectorStore

    def opened(database: PostgresDatabase) -> Any:
        wired = PGEngine.from_connection_string(dsn(database))
        stack.callback(lambda: wired._run_as_sync(wired.close()))  # its own `close` is a coroutine
        return wired

    def store(wired: Any) -> Any:
        return PGVectorStore.create_sync(wired, NGrams(), "notes", metadata_columns=["source"])

    with ExitStack() as stack:
        wired = opened(postgres)
        wired.init_vectorstore_table("notes", DIM, metadata_columns=[Column("source", "TEXT")])
        written = store(wired)
        written.add_documents(documents(), ids=[str(uuid.uuid4()) for _ in TEXTS])
        check(move(postgres.url, qdrant_server.url, preset=load_preset("langchain-pgvectorstore")))
        moved = in_qdrant(client, f"{move.prefix}notes")
        assert answers(moved) == answers(written)
        assert metadata(moved) == metadata(written)
        home = stack.enter_context(postgres_server.fresh_database())
        check(move(qdrant_server.url, home.url, collections=(f"{move.prefix}notes=notes",)))
        back = store(opened(home))
        assert answers(back) == answers(written)
        assert metadata(back) == metadata(written)
        back.add_documents(documents()[:1])


class QuestionMarks(pymysql.cursors.Cursor):
    """PyMySQL's cursor for statements with `?`, as MariaDB's own C connector takes them; that one has no wheels."""

    def execute(self, query: str, args: Any = None) -> int:
        return super().execute(query if args is None else query.replace("?", "%s"), args)

    def executemany(self, query: str, args: Any) -> int | None:
        return super().executemany(query.replace("?", "%s"), args)


def test_langchains_mariadbstore(
    mariadb: MariaDBDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover
) -> None:
    """All its collections stand in one table: each becomes a collection of its own, under its own name."""
    from langchain_mariadb import MariaDBStore

    engine = create_engine(
        "mariadb+pymysql://",
        creator=lambda: mariadb.connect(autocommit=False, cursorclass=QuestionMarks),
        poolclass=NullPool,
    )
    names = (f"{move.prefix}first", f"{move.prefix}second")
    stores = [MariaDBStore(NGrams(), DIM, datasource=engine, collection_name=name) for name in names]
    stores[0].add_documents(documents(), ids=[str(uuid.uuid4()) for _ in TEXTS])
    stores[1].add_documents(documents()[:5], ids=[f"own-{n}" for n in range(5)])
    check(move(mariadb.url, qdrant_server.url, preset=load_preset("langchain-mariadb")))
    for name, store in zip(names, stores, strict=True):
        moved = in_qdrant(client, name)
        assert answers(moved) == answers(store)
        assert metadata(moved) == metadata(store)


@pytest.mark.parametrize("form", ["jsonb", "json"])
def test_llamaindex_there_and_back(
    form: str,
    postgres: PostgresDatabase,
    postgres_server: PostgresServer,
    qdrant_server: QdrantServer,
    client: QdrantClient,
    move: Mover,
) -> None:
    """The text stands in a column here and inside `_node_content` there; relationships and metadata come along."""
    from llama_index.vector_stores.postgres import PGVectorStore

    def store(database: PostgresDatabase) -> Any:
        server = database.server
        made = PGVectorStore.from_params(
            host=server.host,
            port=str(server.port),
            user=server.user,
            password=server.password,
            database=database.name,
            table_name="notes",
            embed_dim=LLAMA_DIM,
            use_jsonb=form == "jsonb",
        )
        stack.callback(lambda: asyncio.run(made.close()))
        return made

    with ExitStack() as stack:
        written = store(postgres)
        written.add(nodes())
        check(move(postgres.url, qdrant_server.url, preset=load_preset("llamaindex-pgvector")))
        moved = Llama(client=client, collection_name=f"{move.prefix}data_notes")
        for text in QUERIES:
            assert told(moved.query(query(text))) == told(written.query(query(text)))
        home = stack.enter_context(postgres_server.fresh_database())
        check(move(qdrant_server.url, home.url, collections=(f"{move.prefix}data_notes=data_notes",)))
        back = store(home)
        for text in QUERIES:
            assert told(back.query(query(text))) == told(written.query(query(text)))
        new = nodes()[0]
        new.id_ = str(uuid.uuid4())
        back.add([new])  # the serial number goes on behind the last
