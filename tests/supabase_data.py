"""A Supabase project as far as it can be had here: its roles and schemas in the real PostgreSQL, and rows to move.

    with supabase_project(postgres_server, "crawl4ai_rag") as database:
        fill_crawl4ai_rag(database, pages=100)

The SQL files lie in `tests/data/supabase`. What is not here: Supabase's own services before the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vecferry.testing.postgres import PostgresDatabase, PostgresServer

FOLDER = Path(__file__).parent / "data" / "supabase"
DIM = 1536
AUTHENTICATOR = "the-password-of-the-authenticator"


@contextmanager
def supabase_project(server: PostgresServer, *schemas: str) -> Iterator[PostgresDatabase]:
    """A fresh database with Supabase's roles, pgvector in the schema `extensions`, and these files of `FOLDER`."""
    with server.fresh_database(extensions=()) as database:
        database.execute((FOLDER / "roles.sql").read_text())
        database.execute("CREATE EXTENSION vector SCHEMA extensions")
        database.execute(f'ALTER DATABASE {database.name} SET search_path = "$user", public, extensions')
        for schema in schemas:
            database.execute((FOLDER / f"{schema}.sql").read_text())
        yield database


def fill_crawl4ai_rag(
    database: PostgresDatabase, *, sources: int = 3, pages: int = 100, examples: int = 20, seed: int = 7
) -> None:
    """Rows of every table, the same ones for the same arguments; vectors are random, of length 1."""
    rng = np.random.default_rng(seed)
    names = [f"docs{n}.example.com" for n in range(sources)]
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sources (source_id, summary, total_word_count) VALUES (%s, %s, %s)",
            [(name, f"What {name} is about", 1000 + n) for n, name in enumerate(names)],
        )
        columns = "url, chunk_number, content, metadata, source_id, embedding"
        cursor.executemany(
            f"INSERT INTO crawled_pages ({columns}) VALUES (%s, %s, %s, %s, %s, %s)",
            [_page(names, n, rng) for n in range(pages)],
        )
        cursor.executemany(
            f"INSERT INTO code_examples ({columns}, summary) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(*_page(names, n, rng, language="python"), f"Example {n}") for n in range(examples)],
        )


def _page(names: list[str], number: int, rng: np.random.Generator, **metadata: Any) -> tuple[Any, ...]:
    """One row: four chunks to a page, the pages spread over the sources."""
    page, chunk = divmod(number, 4)
    name = names[page % len(names)]
    url = f"https://{name}/page-{page}"
    told = {"url": url, "chunk_index": chunk, "source": name, "word_count": 100 + number, "crawl_type": "webpage"}
    vector = rng.standard_normal(DIM)
    embedding = str((vector / np.linalg.norm(vector)).astype(np.float32).tolist())
    return url, chunk, f"Chunk {chunk} of {url}", json.dumps({**told, **metadata}), name, embedding
