"""What the tests of the command put into stores, and read out of them, through the vendors' own clients."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.chroma_process import ChromaProcess, pack

DIM = 8


def docs(chroma: ChromaProcess, path: Path, count: int, *, name: str = "docs", space: str = "cosine") -> None:
    """A collection of `count` plain records."""
    vectors = np.random.default_rng(7).standard_normal((count, DIM)).astype(np.float32)
    operations = [
        {
            "do": "add",
            "ids": [f"doc-{n:05}" for n in range(first, min(first + 1000, count))],
            "embeddings": [pack(vectors[n]) for n in range(first, min(first + 1000, count))],
            "documents": [f"document {n}" for n in range(first, min(first + 1000, count))],
            "metadatas": [
                {"page": n, "even": n % 2 == 0, "score": n / 4, "source": f"file-{n % 5}.md"}
                for n in range(first, min(first + 1000, count))
            ],
        }
        for first in range(0, count, 1000)
    ]
    chroma.apply(path, operations, name=name, configuration={"hnsw": {"space": space}})


def points(client: Any, name: str) -> dict[str, Any]:
    """Source id -> point of a whole collection, by Qdrant's own client."""
    found, after = {}, None
    while True:
        page, after = client.scroll(name, limit=1000, offset=after, with_vectors=True, with_payload=True)
        found.update({original(point): point for point in page})
        if after is None:
            return found


def original(point: Any) -> str:
    """The id that a point had in its source."""
    return str((point.payload or {}).get("_vf", {}).get("id", point.id))


def occupied(client: Any, name: str, *, dim: int = DIM, count: int = 3, distance: str = "Cosine") -> None:
    """A collection that somebody else wrote."""
    from qdrant_client import models

    client.create_collection(name, vectors_config=models.VectorParams(size=dim, distance=models.Distance(distance)))
    client.upsert(
        name,
        [
            models.PointStruct(id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))), vector=[1.0] * dim, payload={"n": n})
            for n in range(count)
        ],
        wait=True,
    )


def equal(one: Any, other: Any) -> bool:
    """The same value of the same type, all the way down: 1 is not 1.0, and True is not 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)
