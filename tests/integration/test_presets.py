"""Presets on real servers: tables that a product made, moved as it would have moved them, and home again."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from tests.supabase_data import fill_crawl4ai_rag, supabase_project
from vecferry import migration
from vecferry.ids import IdMapper
from vecferry.migration import Migration, Settings
from vecferry.model import IdKind, IdRule
from vecferry.planning.model import IfExists, OnConflict
from vecferry.planning.options import PlanOptions
from vecferry.planning.presets import load_preset
from vecferry.testing.mariadb import MariaDBDatabase
from vecferry.testing.postgres import PostgresDatabase, PostgresServer
from vecferry.testing.servers import QdrantServer

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
