"""Fixtures for tests of the real command against real stores."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import Vecferry
from tests.e2e.stores import docs
from tests.integration.chroma_process import ChromaProcess
from vecferry.testing.skips import skip


@pytest.fixture
def vecferry(tmp_path: Path) -> Iterator[Vecferry]:
    """The command in a working directory of its own."""
    command = Vecferry(tmp_path / "work")
    yield command
    command.close()


@pytest.fixture(scope="session")
def chroma_process() -> Iterator[ChromaProcess]:
    """Chroma itself, in a process of its own."""
    if importlib.util.find_spec("chromadb") is None:
        skip("chromadb")
    process = ChromaProcess()
    yield process
    process.close()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, chroma_process: ChromaProcess) -> Path:
    """A Chroma directory with the collection `docs`: 40 records, cosine. Only for reading."""
    path = tmp_path_factory.mktemp("small") / "chroma_db"
    docs(chroma_process, path, 40)
    return path


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory, chroma_process: ChromaProcess) -> Path:
    """The same with 3,000 records: enough to be stopped in the middle of. Only for reading."""
    path = tmp_path_factory.mktemp("larger") / "chroma_db"
    docs(chroma_process, path, 3000)
    return path


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"e2e-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def qdrant(qdrant_server: Any) -> Iterator[Any]:
    """The vendor's own client of the shared server."""
    client = client_of(qdrant_server)
    yield client
    client.close()


@pytest.fixture
def clients() -> Iterator[Callable[[Any], Any]]:
    """The vendor's own client of any server, closed with the test."""
    made: list[Any] = []

    def make(server: Any) -> Any:
        made.append(client_of(server))
        return made[-1]

    yield make
    for client in made:
        client.close()


def client_of(server: Any) -> Any:
    from qdrant_client import QdrantClient

    return QdrantClient(
        url=server.http_url,
        api_key=server.api_key,
        timeout=60,
        check_compatibility=False,
    )
