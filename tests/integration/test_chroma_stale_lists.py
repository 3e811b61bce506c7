"""Chroma 1.5 hands the lists of a deleted collection to the next records: what we remove must leave none behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import chromadb
import pytest

import vecferry
from vecferry import Settings
from vecferry.planning.model import IfExists
from vecferry.planning.options import PlanOptions
from vecferry.testing.servers import ChromaServer

COUNT = 1_100
"""records: more than are deleted at a time"""
NAME = "notes-with-lists"


def fill(client: Any, metadata: Callable[[int], dict[str, Any]]) -> None:
    """`COUNT` records by Chroma's own client."""
    collection = client.create_collection(NAME, embedding_function=None)
    for first in range(0, COUNT, 550):
        rows = range(first, first + 550)
        collection.add(
            ids=[str(n) for n in rows],
            embeddings=[[float(n), 1.0] for n in rows],
            metadatas=[metadata(n) for n in rows],
        )


def metadatas(client: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get_collection(NAME).get(limit=COUNT)["metadatas"]
    return found


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A directory whose records have no lists."""
    with closing(chromadb.PersistentClient(str(tmp_path / "source"))) as client:
        fill(client, lambda n: {"n": n})
    return f"chroma:{tmp_path / 'source'}"


@pytest.fixture(params=["directory", "server"])
def target(
    request: pytest.FixtureRequest, tmp_path: Path, start_chroma: Callable[..., ChromaServer]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """A store with a collection of that name, full of lists: its URL, and what opens Chroma's own client of it."""
    if request.param == "server":
        server = start_chroma()
        client = chromadb.HttpClient(host="127.0.0.1", port=server.port)
        fill(client, lambda n: {"tags": ["stale", str(n)]})
        yield server.url, lambda: client
        return
    path = tmp_path / "target"
    with closing(chromadb.PersistentClient(str(path))) as client:
        fill(client, lambda n: {"tags": ["stale", str(n)]})
    yield f"chroma:{path}", lambda: chromadb.PersistentClient(str(path))


def test_a_recreated_collection_has_nothing_of_the_old_one(
    source: str, target: tuple[str, Callable[[], Any]], tmp_path: Path
) -> None:
    """No record gets a list that it never had."""
    url, open_client = target
    wishes = PlanOptions(if_exists=IfExists.RECREATE)
    settings = Settings(ledger=str(tmp_path / "ledger.db"), reports=None, no_backup=True, plan=wishes)
    done = vecferry.migrate(source, url, settings=settings)
    assert done.verification is not None
    assert done.verification.ok
    assert [set(metadata) for metadata in metadatas(open_client())] == [{"n"}] * COUNT
