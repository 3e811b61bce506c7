"""What Qdrant's edge engine and qdrant-client's local mode hold, as data."""

from __future__ import annotations

from dataclasses import replace

from vecferry.limits import Limits, Score, Shape
from vecferry.model import Element, IdKind, Metric, VectorKind

EMBEDDED = Limits(
    store="Qdrant (embedded)",
    id_kinds=frozenset({IdKind.INT, IdKind.UUID}),
    vector_kinds=frozenset({VectorKind.DENSE, VectorKind.SPARSE, VectorKind.MULTI}),
    elements=frozenset({Element.FLOAT32, Element.FLOAT16, Element.UINT8}),
    metrics=frozenset({Metric.COSINE, Metric.IP, Metric.L2, Metric.L1}),
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
            Shape.NUL_IN_TEXT,
            Shape.NO_DOCUMENT,
        }
    ),
    restores=frozenset(
        {
            Shape.ID_TEXT,
            Shape.ID_TOO_LONG,
            Shape.COSINE_LENGTH,
            Shape.BIG_INT,
            Shape.TAGGED,
            Shape.RESERVED_KEY,
            Shape.EMPTY_METADATA,
            Shape.URI,
            Shape.ORDER,
        }
    ),
    max_dim=65_536,
    named_vectors=True,
    normalises=frozenset({Metric.COSINE}),
    scores={
        Metric.COSINE: Score.SIMILARITY,
        Metric.IP: Score.SIMILARITY,
        Metric.L2: Score.DISTANCE,
        Metric.L1: Score.DISTANCE,
    },
)

LOCAL_MODE = replace(EMBEDDED, store="Qdrant (local mode)", normalises=frozenset(), restores=frozenset(), scores={})
"""Only read: what it holds is what comes out, cosine vectors with their length."""
