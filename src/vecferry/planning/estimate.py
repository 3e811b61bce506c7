"""How long it will take and what the target will need: rough figures from measured constants. Pure.

    seconds = records * 25 us  +  bytes / 150 MB/s  +  (where the target builds a graph) records * dim * 0.35 us
    memory  = vectors + links + records * 40 B + indexes * records * 24 B      vectors on disk count for a tenth
    disk    = vectors + links + texts * 1.2     links = records * 2.15 * m * 4 B, m = 16 where nothing is said

Measured against a Qdrant server on 2 shared cores (docs/benchmarks.md); a better machine is faster. The graph's
share holds for collections past the size from which the target builds one.
"""

from __future__ import annotations

import math

from vecferry.limits import Limits
from vecferry.model import CollectionSpec, JsonObject, VectorKind, VectorSpec
from vecferry.planning.model import Estimate, Profile

PER_RECORD = 25e-6
BYTES_PER_SECOND = 150e6
PER_COMPONENT = 0.35e-6
GRAPH_FROM = 10_000
"""Records below which no graph is built (Qdrant: indexing_threshold, 10 MB of vectors)."""
LINKS_PER_RECORD = 2.15
"""Links per record and m: 2 m on the ground floor, and a little above it."""
_DEFAULT_M = 16
_WIDTHS = {"float32": 4, "float16": 2, "uint8": 1, "int8": 1}


def estimate(profile: Profile, target: CollectionSpec, limits: Limits) -> Estimate:
    """What one collection will cost."""
    vectors = sum(_vector_bytes(vector, profile.records) for vector in target.vectors)
    texts = max(0, profile.bytes - _source_vectors(profile))
    searches = bool(limits.scores)
    links = int(profile.records * LINKS_PER_RECORD * _m(target.config) * 4) if searches else 0
    memory = (
        vectors // (10 if _on_disk(target.config) else 1) + links + profile.records * (40 + 24 * len(target.indexes))
    )
    return Estimate(
        seconds=round(_seconds(profile, target.vectors) if searches else profile.bytes / BYTES_PER_SECOND, 2),
        memory_bytes=memory if searches else 0,
        disk_bytes=vectors + links + math.ceil(texts * 1.2),
    )


def _seconds(profile: Profile, vectors: tuple[VectorSpec, ...]) -> float:
    graph = sum(vector.dim or 0 for vector in vectors if vector.kind is VectorKind.DENSE) * PER_COMPONENT
    built = graph * profile.records if profile.records >= GRAPH_FROM else 0.0
    return profile.records * PER_RECORD + profile.bytes / BYTES_PER_SECOND + built


def _vector_bytes(vector: VectorSpec, records: int) -> int:
    if vector.kind is VectorKind.BITS:
        return records * ((vector.dim or 0) + 7) // 8
    return records * (vector.dim or 0) * _WIDTHS[vector.element]


def _source_vectors(profile: Profile) -> int:
    return sum(_vector_bytes(vector, profile.records) for vector in profile.spec.vectors)


def _m(config: JsonObject) -> int:
    hnsw = config.get("hnsw_config") or config.get("hnsw") or {}
    value = hnsw.get("m", hnsw.get("max_neighbors", _DEFAULT_M))
    return value if isinstance(value, int) else _DEFAULT_M


def _on_disk(config: JsonObject) -> bool:
    return bool(config.get("on_disk"))
