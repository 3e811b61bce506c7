"""A Chroma directory straight into a new table of a framework: its own classes read it, and every record comes back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings as ChromaSettings
from sqlalchemy import Engine, NullPool, create_engine

from tests.framework_data import DIM as LLAMA_DIM
from tests.framework_data import canonical
from tests.framework_wheels import importable
from tests.integration.test_layouts_langchain import DIM, NGrams, documents, written
from tests.integration.test_layouts_llamaindex import chroma, nodes, query, told
from tests.integration.test_layouts_sql import QUERIES, WHEELS, QuestionMarks, check, dsn, pgvector
from tests.integration.test_presets import Mover
from vecferry.cli.app import run
from vecferry.cli.exits import Exit
from vecferry.errors import ConfigError, Conflict
from vecferry.planning.model import IfExists, OnConflict
from vecferry.planning.presets import load_preset, target_preset
from vecferry.planning.yaml import load_plan
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase

IDS = [str(uuid.UUID(int=number + 100)) for number in range(7)] + ["no-uuid"]


APPENDED = {"if_exists": IfExists.APPEND, "on_conflict": OnConflict.REPLACE}


@pytest.fixture(scope="module", autouse=True)
def _frameworks() -> Iterator[None]:
    with ExitStack() as stack:
        for requirement, parts in WHEELS.items():
            stack.enter_context(importable(requirement, *parts.split()))
        yield


@pytest.fixture
def engine(postgres: PostgresDatabase) -> Iterator[Engine]:
    made = create_engine(dsn(postgres), poolclass=NullPool)
    yield made
    made.dispose()


@pytest.fixture
def move(tmp_path: Path) -> Mover:
    mover = Mover(tmp_path)
    mover.prefix = ""
    return mover


def filled(folder: Path) -> Any:
    """What LangChain wrote, and a record with neither document nor metadata, and one with a uri."""
    store = written(folder, IDS, space="cosine", name="handbook")
    client = chromadb.PersistentClient(str(folder), ChromaSettings(anonymized_telemetry=False))
    vectors = [NGrams().embed_query(text) for text in ("qqq zzz", "jjj xxx")]
    client.get_collection("handbook").add(ids=["bare", "42"], embeddings=vectors, uris=[None, "file:///a"])  # type: ignore[list-item, arg-type]
    return store


def hits(store: Any) -> list[list[tuple[str, dict[str, Any]]]]:
    """What a framework finds, nearest first; its Chroma class leaves out a record without a document."""
    found = [store.similarity_search(query, k=20) for query in QUERIES]
    return [[(hit.page_content, hit.metadata) for hit in one if hit.page_content][:4] for one in found]


def there_and_back(folder: Path, target: str, layout: str, move: Mover, **reading: Any) -> None:
    """Chroma -> a new table -> Chroma; both directories hold the same records, in the same order."""
    source, home = f"chroma:{folder / 'a'}", f"chroma:{folder / 'b'}"
    done = move(source, target, made=target_preset(layout))
    check(done)
    (collection,) = done.plan.collections
    check(move(target, home, collections=(f"{collection.target.name}=handbook",), **reading))
    assert canonical(home, "handbook").to_pylist() == canonical(source, "handbook").to_pylist()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("age", ["new", "old"])
def test_langchains_pgvector(age: str, postgres: PostgresDatabase, engine: Engine, tmp_path: Path, move: Mover) -> None:
    before = filled(tmp_path / "a")
    layout = "langchain-pgvector" if age == "new" else "langchain-pgvector-old"
    there_and_back(tmp_path, postgres.url, layout, move)
    after = pgvector(age, engine, "handbook")
    assert hits(after) == hits(before)
    after.add_documents(documents()[:1], ids=["added"])
    assert len(after.similarity_search("ships", k=100)) == len(IDS) + 4
    after.delete(ids=["added", IDS[0]])
    assert len(after.similarity_search("ships", k=100)) == len(IDS) + 2
    written(tmp_path / "c", IDS, space="cosine", name="other")
    for choice in (APPENDED, {"if_exists": IfExists.RECREATE}):
        with pytest.raises(Conflict, match="holds all collections"):
            move(f"chroma:{tmp_path / 'c'}", postgres.url, made=target_preset(layout), **choice)
    assert postgres.execute("SELECT count(*) FROM langchain_pg_embedding") == [(len(IDS) + 2,)]
    after.delete_collection()
    assert postgres.execute("SELECT count(*) FROM langchain_pg_embedding") == [(0,)]


def test_langchains_pgvectorstore(postgres: PostgresDatabase, tmp_path: Path, move: Mover) -> None:
    from langchain_postgres import PGEngine, PGVectorStore

    before = filled(tmp_path / "a")
    layout = "langchain-pgvectorstore"
    there_and_back(tmp_path, postgres.url, layout, move, preset=load_preset(layout))  # as `inspect` proposes it
    with ExitStack() as stack:
        wired = PGEngine.from_connection_string(dsn(postgres))
        stack.callback(lambda: wired._run_as_sync(wired.close()))  # its own `close` is a coroutine
        after = PGVectorStore.create_sync(wired, NGrams(), "handbook")
        assert hits(after) == hits(before)
        after.add_documents(documents()[:1], ids=["added"])
        assert {hit.id for hit in after.similarity_search("ships", k=100)} == {*IDS, *EXTRA, "added"}


def test_langchains_mariadbstore(mariadb: MariaDBDatabase, tmp_path: Path, move: Mover) -> None:
    from langchain_mariadb import MariaDBStore

    before = filled(tmp_path / "a")
    there_and_back(tmp_path, mariadb.url, "langchain-mariadb", move)
    engine = create_engine(
        "mariadb+pymysql://",
        creator=lambda: mariadb.connect(autocommit=False, cursorclass=QuestionMarks),
        poolclass=NullPool,
    )
    after = MariaDBStore(NGrams(), DIM, datasource=engine, collection_name="handbook")
    assert hits(after) == hits(before)
    after.add_documents(documents()[:1], ids=["added"])
    after.delete(ids=[IDS[0]])
    assert len(after.similarity_search("ships", k=100)) == len(IDS) + 3
    written(tmp_path / "c", IDS, space="cosine", name="other")
    for choice in (APPENDED, {"if_exists": IfExists.RECREATE}):
        with pytest.raises(Conflict, match="holds all collections"):
            move(f"chroma:{tmp_path / 'c'}", mariadb.url, made=target_preset("langchain-mariadb"), **choice)
    assert mariadb.execute("SELECT COUNT(*) FROM langchain_embedding") == [(len(IDS) + 3,)]
    after.delete_collection()
    assert mariadb.execute("SELECT COUNT(*) FROM langchain_embedding") == [(0,)]


EXTRA = {str(uuid.UUID(int=7)), "bare", "42"}


def test_llamaindex(postgres: PostgresDatabase, tmp_path: Path, move: Mover) -> None:
    from llama_index.vector_stores.postgres import PGVectorStore

    before = chroma(tmp_path / "a", "handbook")
    before.add(nodes())
    there_and_back(tmp_path, postgres.url, "llamaindex-pgvector", move)
    server = postgres.server
    after = PGVectorStore.from_params(
        host=server.host,
        port=str(server.port),
        user=server.user,
        password=server.password,
        database=postgres.name,
        table_name="handbook",
        embed_dim=LLAMA_DIM,
    )
    try:
        for text in ("ships that carry cars", "how to find records"):
            assert told(after.query(query(text))) == told(before.query(query(text)))
        new = nodes()[0]
        new.id_ = str(uuid.uuid4())
        after.add([new])
        after.delete(new.ref_doc_id or "")
    finally:
        asyncio.run(after.close())


def test_supabases_documents(postgres: PostgresDatabase, tmp_path: Path, move: Mover) -> None:
    before = filled(tmp_path / "a")
    there_and_back(tmp_path, postgres.url, "supabase-documents", move)
    postgres.execute(
        "CREATE FUNCTION match_documents(query_embedding vector, match_count int, filter jsonb DEFAULT '{}') "
        "RETURNS TABLE (id text, content text, metadata jsonb, similarity float) LANGUAGE sql AS $$ "
        "SELECT id, content, metadata, 1 - (embedding <=> query_embedding) FROM documents "
        "WHERE metadata @> filter ORDER BY embedding <=> query_embedding LIMIT match_count $$"
    )
    wanted = before.similarity_search("ships that carry cars", k=3, filter={"source": "file-0.txt"})
    rows = postgres.execute(
        "SELECT content, metadata FROM match_documents(%s::vector, 3, %s::jsonb)",
        [str([float(value) for value in NGrams().embed_query("ships that carry cars")]), '{"source": "file-0.txt"}'],
    )
    assert rows == [(hit.page_content, hit.metadata) for hit in wanted]


def test_such_a_table_is_for_its_own_store(postgres: PostgresDatabase, tmp_path: Path, move: Mover) -> None:
    """Refused before anything is written, with what would help."""
    filled(tmp_path / "a")
    with pytest.raises(ConfigError, match="is a table of postgresql") as refused:
        move(f"chroma:{tmp_path / 'a'}", f"files:{tmp_path / 'f'}", made=load_preset("langchain-pgvectorstore"))
    assert refused.value.hint
    with pytest.raises(ConfigError, match="has no payload in the layout 'langchain'") as refused:
        move(f"chroma:{tmp_path / 'a'}", postgres.url, layout="langchain")
    assert "--layout langchain-pgvector-old or langchain-pgvector or" in (refused.value.hint or "")
    assert target_preset("langchain") is None
    with pytest.raises(ConfigError, match="does not say how"):
        target_preset("synaplan-brag")


def test_by_the_command_line(
    postgres: PostgresDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--layout` names it; a plan file keeps it; what is run again goes on, and what follows finds the table."""
    monkeypatch.setenv("VECFERRY_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.chdir(tmp_path)
    store = filled(tmp_path / "a")
    stores = (f"chroma:{tmp_path / 'a'}", postgres.url)
    assert run(["plan", *stores, "--layout", "llamaindex-pgvector", "--output", "plan.yaml", "-q"]) == Exit.DONE
    told = load_plan(Path("plan.yaml").read_text()).collections[0].target
    assert (told.name, told.config["form"]["key"]) == ("data_handbook", ["node_id"])
    assert run(["migrate", "--plan", "plan.yaml", "--yes", "-q"]) == Exit.DONE
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'data_handbook'::regclass AND attnum > 0"
    assert [name for (name,) in postgres.execute(columns)] == ["id", "text", "metadata_", "node_id", "embedding", "_vf"]
    store.add_documents(documents()[:1], ids=["later"])
    for command in (["sync", "--yes"], ["verify"]):
        assert run([command[0], *stores, *command[1:], "-q"]) == Exit.DONE, capsys.readouterr()
    assert postgres.execute("SELECT count(*) FROM data_handbook") == [(len(IDS) + 4,)]
    again = ["migrate", *stores, "--layout", "llamaindex-pgvector", "--if-exists", "recreate", "--yes", "-q"]
    assert run(again) == Exit.DONE, capsys.readouterr()
