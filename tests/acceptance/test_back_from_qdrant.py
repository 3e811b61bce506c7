"""The how-to "Back from Qdrant", command by command as its page has them, on real servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.e2e.command import Vecferry
from vecferry.testing.servers import ChromaServer, QdrantServer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "back-from-qdrant.md"
RECORDS = 60


@pytest.fixture
def origin(start_qdrant: Callable[..., QdrantServer]) -> QdrantServer:
    """A server with the collection `docs`, which an application of one's own wrote, and an alias."""
    server = start_qdrant()
    numbers = np.random.default_rng(2)
    with closing(QdrantClient(url=server.http_url, check_compatibility=False)) as client:
        client.create_collection("docs", vectors_config=models.VectorParams(size=8, distance=models.Distance.COSINE))
        client.create_payload_index("docs", "city", models.PayloadSchemaType.KEYWORD, wait=True)
        points = [
            models.PointStruct(
                id=n,
                vector=numbers.standard_normal(8).tolist(),
                payload={"city": f"c{n % 3}", "deep": {"n": [n, None]}},
            )
            for n in range(RECORDS)
        ]
        client.upsert("docs", points, wait=True)
        create = models.CreateAlias(collection_name="docs", alias_name="app")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    return server


def commands(replaced: dict[str, str]) -> list[list[str]]:
    """The command lines of the page, with the addresses of our servers in place of the page's."""
    found = []
    for line in re.findall(r"^\$ vecferry (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        for shown, real in replaced.items():
            line = line.replace(shown, real)  # noqa: PLW2901 - each address in turn
        found.append(shlex.split(line))
    return found


def test_every_command_of_the_page_does_what_it_says(
    vecferry: Vecferry, origin: QdrantServer, start_qdrant: Callable[..., QdrantServer], chroma_server: ChromaServer
) -> None:
    """Each ends with every record verified."""
    other = start_qdrant()
    base = f"{origin.http_url}/collections/docs/snapshots"
    name = httpx.post(base, timeout=60).json()["result"]["name"]
    vecferry.folder.mkdir(parents=True, exist_ok=True)
    (vecferry.folder / "docs.snapshot").write_bytes(httpx.get(f"{base}/{name}", timeout=60).content)
    lines = commands(
        {
            "qdrant+http://localhost:6333": origin.url,
            "qdrant+http://localhost:7333": other.url,
            "chroma+http://localhost:8000": chroma_server.url,
        }
    )
    assert [line[0] for line in lines].count("migrate") == 5
    for line in lines:
        done = vecferry(*line, "--json", env={"VECFERRY_CACHE": str(vecferry.folder / "cache")})
        if line[0] == "migrate":
            assert done.json["records"] == RECORDS, line
            assert done.json["differences"] == 0, line
    with closing(QdrantClient(url=other.http_url, check_compatibility=False)) as client:
        assert client.count("app").count == RECORDS
        config = client.get_collection("docs-small").config
        assert config.hnsw_config.m == 24
        assert config.quantization_config is not None
        assert set(client.get_collection("docs").payload_schema) >= {"city"}
