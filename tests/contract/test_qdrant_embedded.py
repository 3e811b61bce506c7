"""Embedded Qdrant folders pass the contracts; `seed` and `dump` go through the engine's own API and the client's.

A seeded collection is one that another program wrote: a bare shard in a sub-folder, a folder of local mode.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from vecferry.connectors.qdrant.embedded.limits import EMBEDDED, LOCAL_MODE
from vecferry.model import CollectionSpec, Element, IdKind, Metric, Record, VectorKind, VectorSpec
from vecferry.testing.contracts import SinkContract, SourceContract

DISTANCES = {Metric.COSINE: "Cosine", Metric.IP: "Dot", Metric.L2: "Euclid", Metric.L1: "Manhattan"}


def payload(record: Record) -> dict[str, Any]:
    """A record in the layout `plain`, as a program of one's own would write it."""
    parts = {"document": record.document, "uri": record.uri, "metadata": record.metadata}
    return {key: value for key, value in parts.items() if value is not None}


def point_id(record: Record) -> int | str:
    return int(record.id) if record.id_kind is IdKind.INT else record.id


class TestEmbedded(SourceContract, SinkContract):
    limits = EMBEDDED
    id_kind = IdKind.MIXED
    exclusive = True

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"qdrant:{tmp_path / 'store'}"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        folder = Path(url.partition(":")[2]) / spec.name
        folder.mkdir(parents=True)
        dense = {v.name: _edge_params(v) for v in spec.vectors if v.kind is not VectorKind.SPARSE}
        sparse = {v.name: edge.EdgeSparseVectorParams() for v in spec.vectors if v.kind is VectorKind.SPARSE}
        shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=dense, sparse_vectors=sparse))
        points = [edge.Point(point_id(record), _edge_vectors(record), payload(record)) for record in records]
        if points:
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.close()

    def dump(self, url: str, spec: CollectionSpec) -> list[Record]:
        root = Path(url.partition(":")[2])
        entry = json.loads((root / "vecferry-qdrant.json").read_text())["collections"][spec.qualified_name]
        shard = edge.EdgeShard.load(str(root / entry["folder"]))
        try:
            found, _ = shard.scroll(edge.ScrollRequest(limit=100_000, with_payload=True, with_vector=True))
            return [_dumped(point, spec) for point in found]
        finally:
            shard.close()


def _dumped(point: Any, spec: CollectionSpec) -> Record:
    ours = point.payload.get("_vf", {})
    return Record(
        id=ours.get("id", str(point.id)),
        vectors={spec.vectors[0].name: np.array(point.vector, np.float32)},
        document=point.payload.get("document"),
        metadata=point.payload.get("metadata"),
    )


def _edge_params(vector: VectorSpec) -> Any:
    datatype = {Element.FLOAT32: "Float32", Element.FLOAT16: "Float16", Element.UINT8: "Uint8"}[vector.element]
    return edge.EdgeVectorParams(
        size=vector.dim or 0,
        distance=getattr(edge.Distance, DISTANCES[vector.metric]),
        datatype=getattr(edge.VectorStorageDatatype, datatype),
        multivector_config=(
            edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if vector.kind is VectorKind.MULTI else None
        ),
    )


def _edge_vectors(record: Record) -> dict[str, Any]:
    return {
        name: edge.SparseVector(value[0].tolist(), value[1].tolist()) if isinstance(value, tuple) else value.tolist()
        for name, value in record.vectors.items()
        if value is not None and not isinstance(value, bytes)
    }


class TestLocalMode(SourceContract):
    limits = LOCAL_MODE
    id_kind = IdKind.MIXED
    exclusive = True
    many = 1_600

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"qdrant:{tmp_path / 'local'}"

    def seed(self, url: str, spec: CollectionSpec, records: Sequence[Record]) -> None:
        client = QdrantClient(path=url.partition(":")[2])
        try:
            client.create_collection(
                spec.name,
                vectors_config={v.name: _client_params(v) for v in spec.vectors if v.kind is not VectorKind.SPARSE},
                sparse_vectors_config={
                    v.name: models.SparseVectorParams() for v in spec.vectors if v.kind is VectorKind.SPARSE
                },
            )
            points = [
                models.PointStruct(id=point_id(record), vector=_client_vectors(record), payload=payload(record))
                for record in records
            ]
            if points:
                client.upsert(spec.name, points)
        finally:
            client.close()


def _client_params(vector: VectorSpec) -> models.VectorParams:
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.VectorParams(
        size=vector.dim or 0,
        distance=models.Distance(DISTANCES[vector.metric]),
        datatype=models.Datatype(vector.element.value),
        multivector_config=several if vector.kind is VectorKind.MULTI else None,
    )


def _client_vectors(record: Record) -> Any:
    return {
        name: (
            models.SparseVector(indices=value[0].tolist(), values=value[1].tolist())
            if isinstance(value, tuple)
            else value.tolist()
        )
        for name, value in record.vectors.items()
        if value is not None and not isinstance(value, bytes)
    }
