"""What MariaDB can hold, as data. Measured on MariaDB 11.8.6 (docs/reference/mariadb.md)."""

from __future__ import annotations

from vecferry.limits import Limits, Score, Shape
from vecferry.model import Element, IdKind, Metric, VectorKind

MAX_DIM = 15_600
"""What fits into a row (65,535 bytes without texts) beside a key of 768 characters."""
ID_CHARS = 768
"""Characters of an id: a unique key takes 3,072 bytes, four for each."""
MAX_DEPTH = 31
"""Levels of nesting in JSON that MariaDB's JSON_VALID takes."""
DISTANCES = {Metric.L2: "euclidean", Metric.COSINE: "cosine"}
"""Metric -> DISTANCE of a vector index. Its euclidean is not squared."""

LIMITS = Limits(
    store="mariadb",
    needs_dimension=True,
    id_kinds=frozenset(IdKind),
    vector_kinds=frozenset({VectorKind.DENSE}),
    elements=frozenset({Element.FLOAT32}),
    metrics=frozenset(DISTANCES),
    keeps=frozenset(
        {
            Shape.ID_TEXT,
            Shape.ID_INT,
            Shape.ZERO_VECTOR,
            Shape.COSINE_LENGTH,
            Shape.NULL_VALUE,
            Shape.NESTED_OBJECT,
            Shape.EMPTY_LIST,
            Shape.MIXED_LIST,
            Shape.LIST,
            Shape.UINT64,
            Shape.BIG_INT,
            Shape.NEGATIVE_ZERO,
            Shape.EMPTY_KEY,
            Shape.EMPTY_METADATA,
            Shape.NO_DOCUMENT,
            Shape.NUL_IN_TEXT,
        }
    ),
    restores=frozenset({Shape.TAGGED, Shape.ORDER, Shape.RESERVED_KEY, Shape.URI}),
    max_dim=MAX_DIM,
    named_vectors=True,
    id_bytes=ID_CHARS,
    collection_name=r"(?!_vecferry_)[^\x00/\\.\U00010000-\U0010ffff]{0,63}[^\x00 /\\.\U00010000-\U0010ffff]",
    scores={Metric.COSINE: Score.ONE_MINUS, Metric.L2: Score.DISTANCE},
)
