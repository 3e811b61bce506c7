"""A Qdrant collection with everything that Qdrant 1.16 can be told, written by the vendor's client."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import numpy as np
from qdrant_client import QdrantClient, models

POINTS = 150


def rich(client: QdrantClient) -> str:
    """A collection with everything that Qdrant 1.16 can be told; its name."""
    name = f"rich-{uuid4()}"
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        name,
        vectors_config={
            "text": models.VectorParams(
                size=8,
                distance=models.Distance.COSINE,
                on_disk=True,
                hnsw_config=models.HnswConfigDiff(m=24),
                quantization_config=models.ScalarQuantization(
                    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99)
                ),
            ),
            "half": models.VectorParams(size=4, distance=models.Distance.EUCLID, datatype=models.Datatype.FLOAT16),
            "bytes": models.VectorParams(size=4, distance=models.Distance.DOT, datatype=models.Datatype.UINT8),
            "rows": models.VectorParams(size=3, distance=models.Distance.DOT, multivector_config=several),
        },
        sparse_vectors_config={
            "words": models.SparseVectorParams(
                modifier=models.Modifier.IDF, index=models.SparseIndexParams(on_disk=True, full_scan_threshold=77)
            )
        },
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=12, ef_construct=64),
        quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=4321, default_segment_number=3),
        shard_number=2,
        on_disk_payload=False,
        strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=500, upsert_max_batchsize=40),
        metadata={"owner": "search team", "version": 3},
    )
    for path, schema in INDEXES.items():
        client.create_payload_index(name, path, schema, wait=True)
    points = [point(n) for n in range(POINTS)]
    for start in range(0, POINTS, 40):
        client.upsert(name, points[start : start + 40], wait=True)
    return name


INDEXES: dict[str, Any] = {
    "tenant": models.KeywordIndexParams(type="keyword", is_tenant=True, on_disk=True),
    "page": models.IntegerIndexParams(type="integer", lookup=False, range=True, is_principal=True),
    "score": models.FloatIndexParams(type="float", on_disk=True),
    "body": models.TextIndexParams(
        type="text", tokenizer=models.TokenizerType.WORD, min_token_len=2, lowercase=True, phrase_matching=True
    ),
    "deep.list[].name": models.PayloadSchemaType.KEYWORD,
    "where": models.PayloadSchemaType.GEO,
    "when": models.DatetimeIndexParams(type="datetime", is_principal=False),
    "key": models.PayloadSchemaType.UUID,
    '"a.b"': models.PayloadSchemaType.BOOL,
}


def point(n: int) -> models.PointStruct:
    numbers = np.random.default_rng(n)
    vectors: dict[str, Any] = {"text": numbers.standard_normal(8).astype(np.float32).tolist()}
    if n % 3:
        vectors |= {
            "half": [0.1, float(n), 3.5, -7.25],
            "bytes": [n % 256, 0, 255, 3],
            "rows": numbers.standard_normal((n % 4 + 1, 3)).astype(np.float32).tolist(),
            "words": models.SparseVector(indices=[2, n + 10], values=[0.5, 0.25]),
        }
    payload: dict[str, Any] = {
        "tenant": f"t{n % 4}",
        "page": n,
        "score": n / 7,
        "body": f"the ferry number {n}",
        "deep": {"list": [{"name": f"x{n % 5}"}, {"name": None}]},
        "where": {"lon": 13.4 + n / 1000, "lat": 52.5},
        "when": "2026-01-02T03:04:05Z",
        "key": str(uuid4()),
        "a.b": n % 2 == 0,
    }
    return models.PointStruct(id=n if n % 2 else f"00000000-0000-4000-8000-{n:012}", vector=vectors, payload=payload)
