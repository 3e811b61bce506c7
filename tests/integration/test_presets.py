"""Presets on real servers: tables that a product made, moved as it would have moved them, and home again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from tests.supabase_data import fill_crawl4ai_rag, supabase_project
from vecferry import migration
from vecferry.errors import LossRefused, NotFound
from vecferry.ids import IdMapper
from vecferry.limits import Shape
from vecferry.migration import Migration, Settings
from vecferry.model import IdKind, IdRule
from vecferry.planning.model import IfExists, OnConflict, Policy
from vecferry.planning.options import PlanOptions
from vecferry.planning.presets import load_preset, parse_preset
from vecferry.testing.crash import Fault, Outcome, run
from vecferry.testing.mariadb import MariaDBDatabase, MariaDBServer
from vecferry.testing.postgres import PostgresDatabase, PostgresServer
from vecferry.testing.servers import QdrantServer
from vecferry.verification.model import DATA_LEVELS, VerifyOptions

pytestmark = pytest.mark.qdrant


@pytest.fixture
def crawled(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    with supabase_project(postgres_server, "crawl4ai_rag") as database:
        fill_crawl4ai_rag(database, pages=30, examples=6)
        yield database


@pytest.fixture
def client(qdrant_server: QdrantServer) -> Iterator[QdrantClient]:
    opened = QdrantClient(url=qdrant_server.http_url, check_compatibility=False)
    yield opened
    opened.close()


class Mover:
    """`migrate` with a ledger of its own, and target names with a prefix of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.prefix = folder, f"t{uuid.uuid4().hex[:8]}-"

    def __call__(self, source: str, target: str, **options: Any) -> Migration:
        wishes = PlanOptions(**{"name": f"{self.prefix}{{name}}", **options})
        settings = Settings(plan=wishes, ledger=str(self.folder / "ledger.db"), reports=None)
        return migration.migrate(source, target, settings=settings)


@pytest.fixture
def move(tmp_path: Path) -> Mover:
    return Mover(tmp_path)


def explained(done: Migration) -> str:
    """The checks that failed."""
    assert done.verification is not None
    return "\n".join(
        f"{c.source}: {check}" for c in done.verification.collections for check in c.checks if check.findings
    )


def points(client: QdrantClient, name: str) -> dict[str, Any]:
    found, _ = client.scroll(name, limit=1_000, with_vectors=True)
    return {str(point.id): point for point in found}


def test_pages_with_their_sources_become_points(
    crawled: PostgresDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover
) -> None:
    done = move(crawled.url_with(schema="public"), qdrant_server.url, preset=load_preset("crawl4ai-rag"))
    assert done.verification is not None
    assert done.verification.ok, explained(done)
    assert [c.source for c in done.plan.collections] == [
        "public/crawled_pages",
        "public/code_examples",
        "public/sources",
    ]
    rows = crawled.execute(
        "SELECT url, chunk_number, content, p.metadata, p.source_id, s.summary FROM crawled_pages p "
        "JOIN sources s USING (source_id)"
    )
    found = points(client, f"{move.prefix}crawled_pages")
    assert len(found) == len(rows)
    for url, number, content, metadata, source, summary in rows:
        name = f"{hashlib.md5(url.encode()).hexdigest()}_{number}"
        payload = found[IdMapper(IdRule()).map(IdKind.TEXT, name.encode())[0].decode()].payload
        assert payload["_vf"]["id"] == name
        assert (payload["url"], payload["chunk_number"], payload["source_id"]) == (url, number, source)
        assert (payload["document"], payload["source_summary"]) == (content, summary)
        assert {key: payload[key] for key in metadata} == metadata
    sources = points(client, f"{move.prefix}sources")
    assert {point.payload["_vf"]["id"] for point in sources.values()} == {row[4] for row in rows}
    assert all(not point.vector for point in sources.values())


TABLES = {
    "sources": "source_id",
    "crawled_pages": "id",
    "code_examples": "id",
}


def test_points_come_home_as_tables_with_keys(
    crawled: PostgresDatabase, postgres: PostgresDatabase, qdrant_server: QdrantServer, move: Mover
) -> None:
    """The very tables: columns, keys, foreign keys, the counter behind the last id; what was joined is not in them."""
    away = move(crawled.url_with(schema="public"), qdrant_server.url, preset=load_preset("crawl4ai-rag"))
    names = tuple(f"{c.target.name}={c.target.name.removeprefix(move.prefix)}" for c in away.plan.collections)
    home = move(qdrant_server.url, postgres.url_with(schema="public"), collections=names)
    assert home.verification is not None
    assert home.verification.ok, explained(home)
    for table, key in TABLES.items():
        ask = f"SELECT * FROM {table} ORDER BY {key}"
        assert postgres.execute(ask) == crawled.execute(ask)
    asked = (
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE '%vecferry%' ORDER BY 1, 2"
    )
    assert postgres.execute(asked) == crawled.execute(asked)
    postgres.execute(
        "INSERT INTO crawled_pages (url, chunk_number, content, source_id) "
        "SELECT 'u', 0, 'new', source_id FROM sources LIMIT 1"
    )


# --------------------------------------------------------------------------- poisoned rows


def test_poisoned_rows_are_counted_and_left_out(
    crawled: PostgresDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover
) -> None:
    """Vectors that are null or all zeros: inspect counts them, the plan names the policy, the report lists them."""
    crawled.execute("UPDATE crawled_pages SET embedding = NULL WHERE id <= 3")
    crawled.execute("UPDATE crawled_pages SET embedding = array_fill(0, ARRAY[1536])::vector WHERE id IN (4, 5)")
    source = crawled.url_with(schema="public")
    seen = migration.inspect(source, preset=load_preset("crawl4ai-rag"))
    assert "crawl4ai-rag" in seen.presets
    pages = next(profile for profile in seen.profiles if profile.spec.name == "crawled_pages")
    assert (pages.shapes[Shape.NO_VECTOR].count, pages.shapes[Shape.ZERO_VECTOR].count) == (3, 2)
    done = move(
        source,
        qdrant_server.url,
        preset=load_preset("crawl4ai-rag"),
        policies={"zero-vector": Policy.QUARANTINE, "no-vector": Policy.QUARANTINE},
    )
    assert done.verification is not None
    assert done.verification.ok, explained(done)
    assert done.run is not None
    assert done.run.rejected == 5
    assert client.count(f"{move.prefix}crawled_pages").count == 25


def test_mixed_dimensions_of_an_untyped_column_are_told(
    postgres: PostgresDatabase, tmp_path: Path, move: Mover
) -> None:
    """Most rows have three numbers, so those with two cannot be read: refused by the plan, left out where asked."""
    postgres.execute("CREATE TABLE notes (id int PRIMARY KEY, content text, embedding vector)")
    postgres.execute(
        "INSERT INTO notes SELECT n, 'text ' || n, ('[1,2,' || n || ']')::vector FROM generate_series(1, 9) n"
    )
    postgres.execute("INSERT INTO notes VALUES (10, 'short', '[1,2]'), (11, 'short', '[3,4]')")
    with pytest.raises(LossRefused, match="2 × unreadable"):
        move(postgres.url, f"files:{tmp_path / 'refused'}")
    assert not (tmp_path / "refused" / "manifest.json").exists()
    done = move(postgres.url, f"files:{tmp_path / 'out'}", policies={"unreadable": Policy.QUARANTINE})
    assert done.run is not None
    assert (done.records, done.run.rejected) == (9, 2)


# --------------------------------------------------------------------------- synaplan

BRAG = """
CREATE TABLE BRAG (
  BID bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  BUID bigint NOT NULL, BMID bigint NOT NULL, BGROUPKEY varchar(64) NOT NULL DEFAULT 'DEFAULT',
  BTYPE int NOT NULL DEFAULT 0, BSTART bigint NOT NULL DEFAULT 0, BEND bigint NOT NULL DEFAULT 0,
  BTEXT longtext NOT NULL, BEMBED vector(8) NOT NULL, BCREATED bigint NOT NULL, KEY (BUID, BMID)
)
"""


@pytest.fixture
def brag(mariadb: MariaDBDatabase) -> MariaDBDatabase:
    """Two users, two files each; within a file two rows begin at the same line."""
    mariadb.execute(BRAG)
    rng = np.random.default_rng(1)
    for number in range(24):
        user, file = 1 + number % 2, 10 + number // 2 % 2
        start = 100 - 10 * (number // 8)
        vector = rng.standard_normal(8).astype("<f4").tobytes()
        mariadb.execute(
            "INSERT INTO BRAG (BUID, BMID, BSTART, BEND, BTEXT, BEMBED, BCREATED) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (user, file, start, start + 9, f"text {number}", vector, 1_700_000_000 + number),
        )
    return mariadb


def chunks_of(database: MariaDBDatabase) -> dict[str, Any]:
    """Point id -> row, as synaplan counts chunks: by BSTART, then BID."""
    rows = database.execute(
        "SELECT BUID, BMID, ROW_NUMBER() OVER (PARTITION BY BUID, BMID ORDER BY BSTART, BID) - 1, BTEXT, BSTART "
        "FROM BRAG"
    )
    return {str(uuid.uuid5(uuid.NAMESPACE_DNS, f"doc_{r[0]}_{r[1]}_{r[2]}")): r for r in rows}


def test_every_chunk_becomes_the_point_that_synaplan_would_write(
    brag: MariaDBDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover
) -> None:
    target = f"{move.prefix}documents"
    done = move(brag.url, qdrant_server.url, preset=load_preset("synaplan-brag"), collections=(f"BRAG={target}",))
    assert done.verification is not None
    assert done.verification.ok, explained(done)
    expected, found = chunks_of(brag), points(client, target)
    assert found.keys() == expected.keys()
    for ident, (user, file, chunk, text, start) in expected.items():
        payload = found[ident].payload
        assert payload["_point_id"] == f"doc_{user}_{file}_{chunk}"
        assert (payload["user_id"], payload["file_id"], payload["chunk_index"]) == (user, file, chunk)
        assert (payload["text"], payload["start_line"], payload["group_key"]) == (text, start, "DEFAULT")
    schema = client.get_collection(target).payload_schema
    assert {"user_id", "file_id", "group_key", "_point_id"} <= schema.keys()
    assert client.get_collection(target).config.hnsw_config.ef_construct == 100


def test_the_target_is_called_as_the_preset_says(brag: MariaDBDatabase, tmp_path: Path) -> None:
    """And as the person says, who is asked first."""
    for number, (chosen, name) in enumerate([((), "user_documents"), (("BRAG=mine",), "mine")]):
        wishes = PlanOptions(preset=load_preset("synaplan-brag"), collections=chosen)
        settings = Settings(plan=wishes, ledger=str(tmp_path / "ledger.db"), reports=None, dry_run=True)
        done = migration.migrate(brag.url, f"files:{tmp_path / str(number)}", settings=settings)
        assert [c.target.name for c in done.plan.collections] == [name]
    wishes = PlanOptions(preset=load_preset("synaplan-brag"), collections=("BRAGS",))
    settings = Settings(plan=wishes, ledger=str(tmp_path / "ledger.db"), reports=None, dry_run=True)
    with pytest.raises(NotFound, match="BRAGS"):
        migration.migrate(brag.url, f"files:{tmp_path / 'none'}", settings=settings)


def test_points_come_home_as_the_rows_that_they_were(
    brag: MariaDBDatabase,
    mariadb_server: MariaDBServer,
    qdrant_server: QdrantServer,
    move: Mover,
) -> None:
    target = f"{move.prefix}documents"
    move(brag.url, qdrant_server.url, preset=load_preset("synaplan-brag"), collections=(f"BRAG={target}",))
    with mariadb_server.fresh_database() as home:
        done = move(qdrant_server.url, home.url, collections=(f"{target}=BRAG",))
        assert done.verification is not None
        assert done.verification.ok, explained(done)
        ask = "SELECT BID, BUID, BMID, BGROUPKEY, BTYPE, BSTART, BEND, BTEXT, BCREATED FROM BRAG ORDER BY BID"
        assert home.execute(ask) == brag.execute(ask)
        (made,) = home.execute("SHOW CREATE TABLE BRAG")[0][1:]
        assert "AUTO_INCREMENT" in made


def test_points_of_a_half_done_migration_are_not_doubled(
    brag: MariaDBDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover
) -> None:
    """The product wrote some points itself: they are the same points, and appending leaves them as they are."""
    target = f"{move.prefix}documents"
    client.create_collection(target, VectorParams(size=8, distance=Distance.COSINE))
    legacy = dict(list(chunks_of(brag).items())[:5])
    client.upsert(
        target,
        [
            PointStruct(
                id=ident,
                vector=[1.0] * 8,
                payload={
                    "user_id": row[0],
                    "file_id": row[1],
                    "chunk_index": row[2],
                    "text": row[3],
                    "_point_id": f"doc_{row[0]}_{row[1]}_{row[2]}",
                },
            )
            for ident, row in legacy.items()
        ],
    )
    done = move(
        brag.url,
        qdrant_server.url,
        preset=load_preset("synaplan-brag"),
        collections=(f"BRAG={target}",),
        if_exists=IfExists.APPEND,
        on_conflict=OnConflict.SKIP,
    )
    assert done.run is not None
    assert done.run.skipped == 5
    assert points(client, target).keys() == chunks_of(brag).keys()


# --------------------------------------------------------------------------- the command line


class Ferry:
    """The command as a process of its own, with a ledger of its own; it can be killed at a point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, fault: Fault | None = None, expect: int | None = 0) -> Outcome:
        env = {"VECFERRY_LEDGER": str(self.folder / "ledger.db"), "COLUMNS": "200"}
        done = run("vecferry", arguments, log=self.folder / "points.log", fault=fault, env=env)
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return done


@pytest.fixture
def ferry(tmp_path: Path) -> Ferry:
    return Ferry(tmp_path)


def test_a_killed_run_goes_on_by_the_forms_of_its_plan(
    crawled: PostgresDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover, ferry: Ferry
) -> None:
    """Killed after the pages and before their sources: no reader sees a source without its pages; then all is there."""
    arguments = (
        *("migrate", crawled.url_with(schema="public"), qdrant_server.url, "--preset", "crawl4ai-rag", "--yes"),
        *("--name", f"{move.prefix}{{name}}", "--report", str(ferry.folder / "reports"), "--json"),
    )
    assert ferry(*arguments, fault=Fault(point="collection.copied", nth=2), expect=None).killed
    assert not client.collection_exists(f"{move.prefix}sources")
    done = json.loads(ferry(*arguments).stdout)
    assert (done["ok"], done["rejected"]) == (True, 0)
    counts = {name: client.count(f"{move.prefix}{name}").count for name in TABLES}
    assert counts == {"sources": 3, "crawled_pages": 30, "code_examples": 6}


def test_what_a_preset_moved_is_verified_and_synchronised_without_it(
    crawled: PostgresDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover, ferry: Ferry
) -> None:
    """The cards in the target say how the tables were read; a row that was added since is written."""
    source = crawled.url_with(schema="public")
    move(source, qdrant_server.url, preset=load_preset("crawl4ai-rag"))
    chosen = [part for name in TABLES for part in ("--collection", f"public/{name}={move.prefix}{name}")]
    common = (source, qdrant_server.url, *chosen, "--report", str(ferry.folder / "reports"))
    assert json.loads(ferry("verify", *common, "--json").stdout)["ok"]
    crawled.execute(
        "INSERT INTO crawled_pages (url, chunk_number, content, source_id, embedding) "
        "SELECT 'new', 0, 'new', source_id, embedding FROM crawled_pages LIMIT 1"
    )
    ferry("sync", *common, "--yes")
    assert client.count(f"{move.prefix}crawled_pages").count == 31


def test_a_plan_file_says_how_tables_are_read(
    crawled: PostgresDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover, ferry: Ferry
) -> None:
    """What a person changes in `tables` is what is read; a column that is not there is refused before anything is."""
    file = ferry.folder / "plan.yaml"
    stores = (crawled.url_with(schema="public"), qdrant_server.url)
    ferry("plan", *stores, "--preset", "crawl4ai-rag", "--name", f"{move.prefix}{{name}}", "--output", str(file))
    plan = yaml.safe_load(file.read_text())
    pages = plan["tables"]["public/crawled_pages"]
    assert (pages["key"], pages["document"], pages["joins"][0]["columns"]) == (
        ["id"],
        "content",
        {"source_summary": "summary"},
    )
    pages["where"] = "t.chunk_number = 0"
    file.write_text(yaml.safe_dump(plan))
    ferry("migrate", "--plan", str(file), "--yes", "--report", str(ferry.folder / "reports"))
    (expected,) = crawled.execute("SELECT count(*) FROM crawled_pages WHERE chunk_number = 0")[0]
    assert client.count(f"{move.prefix}crawled_pages").count == expected
    pages["document"] = "contents"
    file.write_text(yaml.safe_dump(plan))
    refused = ferry("migrate", "--plan", str(file), "--yes", "--restart", expect=None)
    assert refused.returncode != 0
    assert "no column 'contents'" in refused.stderr


def test_inspect_proposes_a_preset_and_a_file_to_begin_with(crawled: PostgresDatabase, ferry: Ferry) -> None:
    said = ferry("inspect", crawled.url_with(schema="public"), "--details").stdout
    assert "--preset crawl4ai-rag" in said
    file = ferry.folder / "mine.yaml"
    file.write_text(said[said.index("about:") :])
    assert [table.table for table in load_preset(str(file)).tables] == ["code_examples", "crawled_pages"]
    found = json.loads(ferry("inspect", crawled.url_with(schema="public"), "--preset", str(file), "--json").stdout)
    assert {profile["spec"]["name"] for profile in found["profiles"]} == {"code_examples", "crawled_pages"}


@pytest.mark.parametrize(
    "preset, store, message",
    [
        ("synaplan-brag", "postgres", "None of the tables of the preset 'synaplan-brag' is there: BRAG."),
        ("crawl4ai-rag", "qdrant", "cannot be read as tables"),
        ("crawl5ai", "postgres", "There is no preset 'crawl5ai'"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(
    preset: str, store: str, message: str, crawled: PostgresDatabase, qdrant_server: QdrantServer, ferry: Ferry
) -> None:
    url = crawled.url_with(schema="public") if store == "postgres" else qdrant_server.url
    done = ferry("migrate", url, f"files:{ferry.folder / 'out'}", "--preset", preset, "--yes", expect=None)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())
    assert "->" in done.stderr
    assert not (ferry.folder / "out").exists()


def langchain_tables(database: PostgresDatabase) -> None:
    """Two collections of LangChain's in one table, as langchain-postgres makes them."""
    database.execute(
        "CREATE EXTENSION IF NOT EXISTS vector;"
        "CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, cmetadata json);"
        "CREATE TABLE langchain_pg_embedding (id varchar PRIMARY KEY, embedding vector(3), document varchar,"
        " cmetadata jsonb, collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE);"
        "INSERT INTO langchain_pg_collection SELECT md5(n)::uuid, n FROM unnest(ARRAY['first', 'second']) AS n;"
        "INSERT INTO langchain_pg_embedding SELECT md5(g::text)::uuid::text, ARRAY[g, 1, 2]::vector, 'text ' || g,"
        " jsonb_build_object('page', g), md5(CASE WHEN g < 7 THEN 'first' ELSE 'second' END)::uuid"
        " FROM generate_series(1, 10) AS g"
    )


def test_a_preset_is_told_again_to_what_comes_after(
    postgres: PostgresDatabase, qdrant_server: QdrantServer, client: QdrantClient, move: Mover
) -> None:
    """verify, compare, repair and sync see the tables as the migration did: two collections of what is one table."""
    langchain_tables(postgres)
    source, target, preset = postgres.url, qdrant_server.url, load_preset("langchain-pgvector")
    rule = replace(preset.tables[0], target=f"{move.prefix}{{value}}")
    preset, ledger = replace(preset, tables=(rule,)), str(move.folder / "ledger.db")
    done = move(source, target, preset=preset)
    assert done.verification is not None
    assert done.verification.ok, explained(done)

    proof = migration.verify(source, target, preset=preset, ledger=ledger).verification
    assert proof.ok
    assert [c.records for c in proof.collections] == [6, 4]
    measured = migration.compare(source, target, preset=preset, options=VerifyOptions(queries=3))
    assert [one.target is not None for one in measured] == [True, True]
    client.delete(f"{move.prefix}second", points_selector=[str(uuid.UUID(hashlib.md5(b"9").hexdigest()))], wait=True)
    mended = migration.repair(source, target, preset=preset, ledger=ledger)
    assert [one.rewritten for one in mended.collections] == [0, 1]
    assert mended.after.ok
    postgres.execute("UPDATE langchain_pg_embedding SET document = 'new' WHERE cmetadata = '{\"page\": 2}'")
    wishes = Settings(plan=PlanOptions(preset=preset), ledger=ledger, reports=None)
    synced = migration.sync(source, target, settings=wishes)
    assert [(one.added, one.changed) for one in synced.drifts] == [(0, 1), (0, 0)]
    assert synced.verification is not None
    assert synced.verification.ok


def test_a_preset_reads_a_target_that_has_no_card(
    postgres: PostgresDatabase, qdrant_server: QdrantServer, move: Mover
) -> None:
    """And a column that it renames is counted by its own name, too, on either side."""
    postgres.execute(
        "CREATE EXTENSION IF NOT EXISTS vector;"
        "CREATE TABLE pages (id uuid PRIMARY KEY, lang text, body text, embedding vector(3));"
        "INSERT INTO pages SELECT md5(g::text)::uuid, CASE WHEN g < 4 THEN 'de' ELSE 'en' END, 'text ' || g,"
        " ARRAY[g, 1, 2]::vector FROM generate_series(1, 10) AS g"
    )
    text = "tables: [{table: pages, names: {lang: language}, document: body, metric: l2}]"
    preset = parse_preset(text, name="pages.yaml")
    name = f"{move.prefix}pages"
    assert move(postgres.url, qdrant_server.url, preset=preset, indexes="none").differences == 0
    options = VerifyOptions(by=("lang",), levels=DATA_LEVELS)
    pair, ledger = (f"{name}=pages",), str(move.folder / "ledger.db")
    back = (qdrant_server.url, postgres.url)
    proof = migration.verify(*back, collections=pair, preset=preset, options=options, ledger=ledger).verification
    assert proof.differences == 0
    assert migration.verify(*back, collections=pair, options=options, ledger=ledger).verification.differences
    onward = migration.verify(
        postgres.url, qdrant_server.url, collections=(f"pages={name}",), preset=preset, options=options, ledger=ledger
    ).verification
    seen = migration.inspect(postgres.url, by=("lang",), preset=preset)
    for (found,) in (onward.collections[0].breakdowns, seen.profiles[0].breakdowns):
        assert [(group.value, group.records) for group in found.groups] == [("en", 7), ("de", 3)]
