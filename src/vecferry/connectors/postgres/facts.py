"""What PostgreSQL with pgvector can hold, as data. Measured on PostgreSQL 16 to 17 with pgvector 0.8.

A source's metadata may stand in a `json` column, which keeps every number as it was written; our own tables have
`jsonb`, which does not, and an envelope beside it (`_vf`) that says what it would change.
"""

from __future__ import annotations

from vecferry.limits import Limits, Score, Shape
from vecferry.model import Element, IdKind, Metric, VectorKind

IDENTIFIER_BYTES = 63
"""A longer name is cut short by the server, silently; we refuse it."""

LIMITS = Limits(
    store="postgresql",
    needs_dimension=True,
    id_kinds=frozenset({IdKind.INT, IdKind.UUID, IdKind.TEXT, IdKind.COMPOSITE}),
    vector_kinds=frozenset({VectorKind.DENSE, VectorKind.SPARSE, VectorKind.BITS}),
    elements=frozenset({Element.FLOAT32, Element.FLOAT16}),
    metrics=frozenset(Metric),
    keeps=frozenset(
        {
            Shape.ID_TEXT,
            Shape.ID_INT,
            Shape.NO_VECTOR,
            Shape.ZERO_VECTOR,
            Shape.COSINE_LENGTH,
            Shape.NULL_VALUE,
            Shape.NESTED_OBJECT,
            Shape.EMPTY_LIST,
            Shape.MIXED_LIST,
            Shape.LIST,
            Shape.UINT64,
            Shape.BIG_INT,
            Shape.EMPTY_KEY,
            Shape.EMPTY_METADATA,
            Shape.NO_DOCUMENT,
        }
    ),
    restores=frozenset(
        {Shape.URI, Shape.NEGATIVE_ZERO, Shape.TAGGED, Shape.ORDER, Shape.RESERVED_KEY, Shape.NUL_IN_TEXT}
    ),
    max_dim=16_000,
    named_vectors=True,
    id_bytes=2_600,  # a btree takes 2,704 bytes for a row, after compression that cannot be relied on
    collection_name=r"[^\x00]{1,63}",
    cosine_in_single=True,
    scores={
        Metric.COSINE: Score.ONE_MINUS,
        Metric.IP: Score.NEGATED,
        Metric.L2: Score.DISTANCE,
        Metric.L1: Score.DISTANCE,
    },
)
