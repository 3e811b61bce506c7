"""The Chroma connector passes the contracts; `seed` and `dump` are Chroma's own client in another process."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.integration.chroma_process import ChromaProcess, pack
from vecferry.connectors.chroma import LIMITS
from vecferry.filters import Exists
from vecferry.model import CollectionSpec, Record
from vecferry.testing.contracts import SinkContract, SourceContract
from vecferry.testing.skips import reason
from vecferry.url import StoreUrl

if find_spec("chromadb") is None:
    pytest.skip(reason("chromadb"), allow_module_level=True)


class TestChroma(SourceContract, SinkContract):
    limits = LIMITS
    unanswered = frozenset({Exists("group"), Exists("nowhere")})
    many = 5_000
    chroma: ClassVar[ChromaProcess]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _process(cls) -> Iterator[None]:
        cls.chroma = ChromaProcess()
        yield
        cls.chroma.close()

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"chroma:{tmp_path / 'chroma'}"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        columns: dict[str, Any] = {
            "ids": [record.id for record in records],
            "embeddings": [pack(record.vectors[""]) for record in records],
            "documents": [record.document for record in records],
            "uris": [record.uri for record in records],
            "metadatas": [record.metadata or None for record in records],
        }
        self.chroma.apply(
            StoreUrl.parse(url).local_path,
            [{"do": "add", **columns}] if records else [],
            name=spec.name,
            configuration={"hnsw": {"space": spec.vectors[0].metric.value}},
        )

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        return [
            Record(
                id=record["id"],
                vectors={"": record["vector"]},
                document=record["document"],
                uri=record["uri"],
                metadata=record["metadata"],
            )
            for record in self.chroma.dump(StoreUrl.parse(url).local_path, name=spec.name)
        ]
