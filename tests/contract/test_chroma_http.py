"""A Chroma server passes the contracts; `seed` and `dump` are Chroma's own client. Each has a database of its own."""

import itertools
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import pytest

from vecferry.connectors.chroma.http.facts import SERVER
from vecferry.filters import Exists
from vecferry.model import CollectionSpec, Metric, Record
from vecferry.testing.contracts import SinkContract, SourceContract
from vecferry.testing.servers import ChromaServer, start_chroma
from vecferry.testing.skips import reason
from vecferry.url import StoreUrl

if find_spec("chromadb") is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)

import chromadb
from chromadb.config import Settings

pytestmark = pytest.mark.chroma_server
TENANT = "default_tenant"


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaServer]:
    with start_chroma() as server:
        yield server


class TestChromaServer(SourceContract, SinkContract):
    limits = SERVER
    unanswered = frozenset({Exists("group"), Exists("nowhere")})
    rounds = frozenset({Metric.COSINE})
    many = 5_000
    databases: ClassVar[Iterator[int]] = itertools.count()

    @pytest.fixture
    def url(self, server: ChromaServer) -> str:
        database = f"contract{next(self.databases)}"
        chromadb.AdminClient(_settings(server.port)).create_database(database, TENANT)
        return f"{server.url}?database={database}"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        collection = client(url).create_collection(
            spec.name, embedding_function=None, configuration={"hnsw": {"space": spec.vectors[0].metric.value}}
        )
        for start in range(0, len(records), 1000):
            part = records[start : start + 1000]
            collection.add(
                ids=[record.id for record in part],
                embeddings=[record.vectors[""] for record in part],
                documents=_column([record.document for record in part]),
                uris=_column([record.uri for record in part]),
                metadatas=_column([record.metadata or None for record in part]),
            )

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        found: Any = (
            client(url)
            .get_collection(spec.name, embedding_function=None)
            .get(include=["embeddings", "documents", "metadatas", "uris"])
        )
        return [
            Record(
                id=text,
                vectors={"": np.asarray(found["embeddings"][row], np.float32)},
                document=found["documents"][row],
                uri=(found["uris"] or {row: None})[row],
                metadata=found["metadatas"][row] or None,
            )
            for row, text in enumerate(found["ids"])
        ]


def client(url: str) -> Any:
    parsed = StoreUrl.parse(url)
    return chromadb.HttpClient(
        host="127.0.0.1",
        port=parsed.port or 0,
        database=parsed.options["database"],
        settings=_settings(parsed.port or 0),
    )


def _settings(port: int) -> Settings:
    return Settings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host="127.0.0.1",
        chroma_server_http_port=port,
        anonymized_telemetry=False,
    )


def _column(values: list[Any]) -> list[Any] | None:
    return values if any(value is not None for value in values) else None
