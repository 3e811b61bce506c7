"""How long it will take and what the target will need: rough figures from measured constants. Pure.

    seconds = records * 25 us  +  bytes / 150 MB/s  +  (where the target builds a graph) records * dim * 0.35 us
    memory  = vectors + links + records * 40 B + indexes * records * 24 B      vectors on disk count for a tenth
    disk    = vectors + links + texts * 1.2     links = records * 2.15 * m * 4 B, m = 16 where nothing is said

Measured against a Qdrant server on 2 shared cores (docs/benchmarks.md); a better machine is faster. The graph's
share holds for collections past the size from which the target builds one.
"""

from __future__ import annotations

import math
from dataclasses import replace

from vecferry.limits import Limits
from vecferry.model import CollectionSpec, JsonObject, VectorKind, VectorSpec
from vecferry.planning.model import Estimate, Profile
from vecferry.transforms import Flow, Model, ReEmbed

PER_RECORD = 25e-6
BYTES_PER_SECOND = 150e6
PER_COMPONENT = 0.35e-6
GRAPH_FROM = 10_000
"""Records below which no graph is built (Qdrant: indexing_threshold, 10 MB of vectors)."""
BYTES_PER_TOKEN = 4
REQUEST_SECONDS, LOCAL_SECONDS = 0.5, 1e-3
"""For a request to a model over HTTP, and for one text in a model of this process; not measured, but usual."""
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


def with_embedding(known: Estimate, profile: Profile, flow: Flow) -> Estimate:
    """`known` with what the models of `flow` will take, if no text is known yet: a token is about 4 bytes of text."""
    steps = (*flow.transforms, *(step for read in flow.reads for step in read.transforms))
    asked = [step.re_embed for step in steps if step.re_embed is not None]
    if not asked or profile.document_bytes is None:
        return known
    tokens = int(profile.document_bytes.mean * profile.records / BYTES_PER_TOKEN)
    shares = [(share / len(asked), model) for step in asked for share, model in _shares(step, profile)]
    return replace(
        known,
        seconds=round(known.seconds + sum(share * profile.records * _per_text(model) for share, model in shares), 2),
        texts=profile.records,
        tokens=tokens,
        price=round(sum(share * tokens * model.price for share, model in shares) / 1e6, 6),
    )


def _shares(step: ReEmbed, profile: Profile) -> list[tuple[float, Model]]:
    """(share of the records, model), as far as the profile knows the values that choose; equal shares elsewhere."""
    known = profile.keys.get(step.by)
    counts = {str(value): count for value, count in known.values} if known is not None else {}
    named = {value: counts.get(value, 0) for value in step.models if value != "*"}
    if not step.by or not sum(named.values()):
        return [(1 / len(step.all_models), model) for model in step.all_models]
    rest = max(0, profile.records - sum(named.values()))
    total = max(1, profile.records)
    return [(named.get(value, rest) / total, model) for value, model in step.models.items()]


def _per_text(model: Model) -> float:
    if not model.url:
        return LOCAL_SECONDS
    return REQUEST_SECONDS / model.batch / model.concurrency


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
