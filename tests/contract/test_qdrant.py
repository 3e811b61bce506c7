"""A Qdrant server passes the contracts over gRPC and over REST; `seed` and `dump` go through Qdrant's own client.

A seeded collection is one that another program wrote, in the layout `plain`; it has no card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from vecferry.connectors.qdrant.facts import LIMITS
from vecferry.model import CollectionSpec, Element, IdKind, Metric, Record, VectorKind, VectorSpec
from vecferry.testing.contracts import SinkContract, SourceContract
from vecferry.testing.servers import QdrantServer

DISTANCES = {
    Metric.COSINE: models.Distance.COSINE,
    Metric.IP: models.Distance.DOT,
    Metric.L2: models.Distance.EUCLID,
    Metric.L1: models.Distance.MANHATTAN,
}


class QdrantContract(SourceContract, SinkContract):
    limits = LIMITS
    id_kind = IdKind.MIXED
    transport: ClassVar[str]

    @pytest.fixture
    def url(self, qdrant_server: QdrantServer) -> Iterator[str]:
        self.client = QdrantClient(url=qdrant_server.http_url, check_compatibility=False, timeout=60)
        for entry in self.client.get_collections().collections:
            self.client.delete_collection(entry.name)
        yield f"{qdrant_server.url}&transport={self.transport}"
        self.client.close()

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        dense = {v.name: params(v) for v in spec.vectors if v.kind is not VectorKind.SPARSE}
        sparse = {v.name: models.SparseVectorParams() for v in spec.vectors if v.kind is VectorKind.SPARSE}
        self.client.create_collection(
            spec.name,
            vectors_config=dense[""] if "" in dense and len(dense) == 1 else dense,
            sparse_vectors_config=sparse or None,
        )
        points = [
            models.PointStruct(id=point_id(record), vector=vectors(record), payload=payload(record))
            for record in records
        ]
        for start in range(0, len(points), 500):
            self.client.upsert(spec.name, points[start : start + 500], wait=True)

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        found, _ = self.client.scroll(spec.name, limit=100_000, with_payload=True, with_vectors=True)
        return [dumped(point, spec) for point in found]


class TestQdrantGrpc(QdrantContract):
    transport = "grpc"


class TestQdrantRest(QdrantContract):
    transport = "rest"


del QdrantContract


def point_id(record: Record) -> int | str:
    return int(record.id) if record.id_kind is IdKind.INT else record.id


def payload(record: Record) -> dict[str, Any]:
    parts = {"document": record.document, "uri": record.uri, "metadata": record.metadata}
    return {key: value for key, value in parts.items() if value is not None}


def params(vector: VectorSpec) -> models.VectorParams:
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    assert vector.dim is not None
    return models.VectorParams(
        size=vector.dim,
        distance=DISTANCES[vector.metric],
        datatype=models.Datatype(vector.element.value) if vector.element is not Element.FLOAT32 else None,
        multivector_config=multi if vector.kind is VectorKind.MULTI else None,
    )


def vectors(record: Record) -> Any:
    found: dict[str, Any] = {}
    for name, value in record.vectors.items():
        if isinstance(value, tuple):
            found[name] = models.SparseVector(indices=value[0].tolist(), values=value[1].tolist())
        elif isinstance(value, np.ndarray):
            found[name] = value.astype(np.float64).tolist()
    return found[""] if list(found) == [""] else found


def dumped(point: models.Record, spec: CollectionSpec) -> Record:
    """A point as the vendor's client returns it; what vecferry added is used for the id only."""
    content = dict(point.payload or {})
    envelope = content.pop("_vf", {})
    assert isinstance(point.vector, list)
    vector = np.array(point.vector, np.float32)
    return Record(
        id=str(envelope.get("id", point.id)),
        vectors={spec.vectors[0].name: vector},
        document=content.get("document"),
        uri=content.get("uri"),
        metadata=content.get("metadata"),
    )
