"""The how-to "Supabase to Qdrant", command by command as its page has them: the same answers before and after."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg import Connection
from qdrant_client import QdrantClient, models

from tests.e2e.command import Vecferry
from tests.supabase_data import AUTHENTICATOR, DIM, fill_crawl4ai_rag, supabase_project
from vecferry.testing.postgres import PostgresDatabase, PostgresServer
from vecferry.testing.postgrest_double import PostgrestDouble
from vecferry.testing.servers import QdrantServer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "supabase-to-qdrant.md"
SHOWN = "postgresql://postgres@db.PROJECT.supabase.co:5432/postgres?schema=public"
PAGES, EXAMPLES, SOURCES = 300, 80, 3
QUESTIONS = 200
TIE = 1e-5
"""Scores nearer than this are equal: both sides compute them in single precision, in different orders."""
FUNCTIONS = {"crawled_pages": "match_crawled_pages", "code_examples": "match_code_examples"}
Wanted = dict[str, str | int]
"""Payload key, or key of the metadata, -> value."""
Answer = list[tuple[tuple[str, int], float]]
"""((url, chunk number), score), best first."""


@pytest.fixture
def project(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """The crawler's tables, with rows; their approximate indexes are dropped, so that both sides answer exactly."""
    with supabase_project(postgres_server, "crawl4ai_rag") as database:
        fill_crawl4ai_rag(database, sources=SOURCES, pages=PAGES, examples=EXAMPLES)
        database.execute("DROP INDEX crawled_pages_embedding_idx; DROP INDEX code_examples_embedding_idx")
        yield database


@pytest.fixture
def target(start_qdrant: Callable[..., QdrantServer]) -> QdrantServer:
    return start_qdrant()


def command(name: str, replaced: dict[str, str], *, containing: str) -> list[str]:
    """The page's one command line of this kind, with the addresses of our servers in place of the page's."""
    lines = re.findall(rf"^\$ vecferry ({name} .+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    (line,) = [line for line in lines if containing in line]
    for shown, real in replaced.items():
        line = line.replace(shown, real)
    return shlex.split(line)


def in_sql(
    connection: Connection[Any], table: str, query: NDArray[np.float32], kept: Wanted, source: str | None
) -> Answer:
    """What the function answers."""
    asked = (str(query.tolist()), json.dumps(kept), source)
    ask = f"SELECT url, chunk_number, similarity FROM {FUNCTIONS[table]}(%s, 10, %s, %s)"
    rows = connection.execute(ask.encode(), asked).fetchall()
    return [((url, chunk), score) for url, chunk, score in rows]


def in_qdrant(client: QdrantClient, table: str, query: NDArray[np.float32], wanted: Wanted) -> Answer:
    """What Qdrant answers, as the page's table has it."""
    found = client.query_points(
        table,
        query=query.tolist(),
        limit=10,
        query_filter=models.Filter(
            must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in wanted.items()]
        ),
        search_params=models.SearchParams(exact=True),
    )
    return [((point.payload["url"], point.payload["chunk_number"]), point.score) for point in found.points]


def assert_same(before: Answer, after: Answer) -> None:
    """The same ids in the same order, save that those with equal scores may change places."""
    assert [score for _, score in before] == pytest.approx([score for _, score in after], abs=TIE)
    for (one, score), (other, _) in zip(before, after, strict=True):
        if one != other:
            tied = {key for key, near in before if abs(near - score) < TIE}
            assert other in tied


def ask_both(database: PostgresDatabase, server: QdrantServer) -> None:
    """200 questions to each function: a third without a filter, a third by metadata, a third by source."""
    rng = np.random.default_rng(11)
    with (
        database.connect() as connection,
        closing(QdrantClient(url=server.http_url, check_compatibility=False)) as client,
    ):
        for table in FUNCTIONS:
            for number in range(QUESTIONS):
                query = rng.standard_normal(DIM).astype(np.float32)
                kept: Wanted = {"crawl_type": "webpage", "chunk_index": 1} if number % 3 == 1 else {}
                source = f"docs{number % SOURCES}.example.com" if number % 3 == 2 else None
                before = in_sql(connection, table, query, kept, source)
                after = in_qdrant(client, table, query, {**kept, **({"source_id": source} if source else {})})
                assert len(before) == 10
                assert_same(before, after)


def test_the_answers_stay_the_same(project: PostgresDatabase, target: QdrantServer, vecferry: Vecferry) -> None:
    """By the database: what the page says is moved is moved, with its relations; both functions are answered alike."""
    servers = {SHOWN: f"{project.url}&schema=public", "qdrant+http://localhost:6333": target.url}
    looked = vecferry(*command("inspect", servers, containing="?schema=public"))
    assert "--preset crawl4ai-rag" in looked.text
    moved = vecferry(*command("migrate", servers, containing="postgresql:"), "--json").json
    assert (moved["records"], moved["differences"]) == (PAGES + EXAMPLES + SOURCES, 0)
    ask_both(project, target)
    with closing(QdrantClient(url=target.http_url, check_compatibility=False)) as client:
        indexes = client.get_collection("crawled_pages").payload_schema
        assert {"url", "source_id", "chunk_number"} <= set(indexes)
        (point,) = client.scroll("code_examples", limit=1)[0]
        assert point.payload["source_summary"] == f"What {point.payload['source_id']} is about"
        sources, _ = client.scroll("sources", with_vectors=True)
        assert {source.payload["summary"] for source in sources} == {
            f"What docs{n}.example.com is about" for n in range(3)
        }
        assert not any(source.vector for source in sources)
    project.execute("UPDATE crawled_pages SET content = 'said anew' WHERE id = 1")
    vecferry(*command("sync", servers, containing="postgresql:"), "--yes")
    with closing(QdrantClient(url=target.http_url, check_compatibility=False)) as client:
        points, _ = client.scroll("crawled_pages", limit=PAGES)
        assert len(points) == PAGES
        assert sum("said anew" in str(point.payload) for point in points) == 1


def test_a_service_key_is_enough(project: PostgresDatabase, target: QdrantServer, vecferry: Vecferry) -> None:
    """The same over the REST interface: the same preset, the same answers."""
    with PostgrestDouble(project, password=AUTHENTICATOR) as double:
        servers = {"supabase+https://PROJECT.supabase.co": double.url, "qdrant+http://localhost:6333": target.url}
        line = command("migrate", servers, containing="supabase+")
        moved = vecferry(*line, "--json", env={"SUPABASE_SERVICE_ROLE_KEY": double.service_key}).json
    assert (moved["records"], moved["differences"]) == (PAGES + EXAMPLES + SOURCES, 0)
    ask_both(project, target)
