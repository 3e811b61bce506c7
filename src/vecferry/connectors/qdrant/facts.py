"""What Qdrant can hold, as data. Measured on 1.16.3."""

from __future__ import annotations

from vecferry.limits import Limits, Score, Shape
from vecferry.model import Element, IdKind, IndexKind, Metric, VectorKind

REST_REQUEST_BYTES = 32 << 20

LIMITS = Limits(
    store="qdrant",
    needs_dimension=True,
    id_kinds=frozenset({IdKind.INT, IdKind.UUID, IdKind.MIXED}),
    vector_kinds=frozenset({VectorKind.DENSE, VectorKind.SPARSE, VectorKind.MULTI}),
    elements=frozenset({Element.FLOAT32, Element.FLOAT16, Element.UINT8}),
    metrics=frozenset({Metric.COSINE, Metric.L2, Metric.IP, Metric.L1}),
    keeps=frozenset(
        {
            Shape.ID_INT,
            Shape.NO_VECTOR,
            Shape.ZERO_VECTOR,
            Shape.NULL_VALUE,
            Shape.NESTED_OBJECT,
            Shape.EMPTY_LIST,
            Shape.MIXED_LIST,
            Shape.LIST,
            Shape.UINT64,
            Shape.NEGATIVE_ZERO,
            Shape.EMPTY_KEY,
            Shape.EMPTY_METADATA,
            Shape.NO_DOCUMENT,
            Shape.URI,
            Shape.NUL_IN_TEXT,
        }
    ),
    restores=frozenset(
        {
            Shape.ID_TEXT,
            Shape.COSINE_LENGTH,
            Shape.BIG_INT,
            Shape.TAGGED,
            Shape.RESERVED_KEY,
            Shape.ORDER,
        }
    ),
    max_dim=65_536,
    named_vectors=True,
    normalises=frozenset({Metric.COSINE}),
    keeps_bits=True,
    payload_indexes=frozenset(IndexKind),
    request_bytes=None,
    reserved_keys=frozenset(),
    collection_name=r"[^/\\<>:\"|?*\x00-\x1f]{1,255}",
    scores={
        Metric.COSINE: Score.SIMILARITY,
        Metric.IP: Score.SIMILARITY,
        Metric.L2: Score.DISTANCE,
        Metric.L1: Score.DISTANCE,
    },
)
