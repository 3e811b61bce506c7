"""Scores of different stores made comparable: every one becomes a similarity, higher is nearer. Pure.

| metric | similarity | mapped from |
|---|---|---|
| cosine | cosine | cosine, 1 - cosine |
| ip | dot product | dot, 1 - dot, -dot |
| l2 | minus the squared distance | distance, squared distance |
| l1 | minus the distance | distance |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecferry.limits import Score
from vecferry.model import Element, Metric

_TOLERANCE = {Element.FLOAT32: 1e-5, Element.FLOAT16: 4e-3, Element.UINT8: 1e-5, Element.INT8: 1e-5}
MEASURED = frozenset({Metric.COSINE, Metric.IP, Metric.L2, Metric.L1})
"""Metrics that exact search here can measure."""


def to_similarity(metric: Metric, form: Score, score: float) -> float:
    """The similarity that a store's native `score` of this form means."""
    match form:
        case Score.SIMILARITY:
            return score
        case Score.ONE_MINUS:
            return 1.0 - score
        case Score.NEGATED | Score.SQUARED:
            return -score
        case Score.DISTANCE:
            return -score * score if metric is Metric.L2 else -score


def similarity(metric: Metric, queries: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The similarity of each query with the vector in the same row, shapes (n, dim), in double precision."""
    found: NDArray[np.float64]
    if metric is Metric.L2:
        found = -np.square(queries - vectors).sum(axis=1)
    elif metric is Metric.L1:
        found = -np.abs(queries - vectors).sum(axis=1)
    else:
        found = np.einsum("ij,ij->i", queries, vectors)
    if metric is Metric.COSINE:
        lengths = np.linalg.norm(queries, axis=1) * np.linalg.norm(vectors, axis=1)
        found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return found


def has_cosine(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of these vectors, shape (n, dim), have a cosine where the sum of their squares is taken in float32.

    It must be there, and so large that squares which are too small for a normal float32 do not matter to it.
    """
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32)
    least = float(np.finfo(np.float32).tiny) * max(1.0, vectors.shape[1] / 16)
    found: NDArray[np.bool_] = np.isfinite(squares) & (squares >= least)
    return found


Floats = NDArray[np.floating[Any]]


def rough(metric: Metric, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> Floats:
    """The similarity of every vector with every query, shape (vectors, queries), in single precision.

    In double precision where single has no number that is large enough.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = _similarities(metric, queries, vectors)
    if np.isfinite(found).all():
        return found
    return _similarities(metric, queries.astype(np.float64), vectors.astype(np.float64))


def _similarities(metric: Metric, queries: Floats, vectors: Floats) -> Floats:
    found: Floats
    if metric is Metric.L1:
        return np.stack([-np.abs(vectors - query).sum(axis=1) for query in queries], axis=1)
    found = vectors @ queries.T
    if metric is Metric.IP:
        return found
    squares = np.einsum("ij,ij->i", vectors, vectors)[:, None]
    if metric is Metric.L2:
        found = 2 * found - squares - np.einsum("ij,ij->i", queries, queries)
        return found
    lengths = np.sqrt(squares) * np.linalg.norm(queries, axis=1)
    found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return found


def longest(vectors: NDArray[np.float32]) -> float:
    """The length of the longest of these vectors, shape (rows, dim); 0 where there is none."""
    with np.errstate(over="ignore"):
        square = np.einsum("ij,ij->i", vectors, vectors).max(initial=0.0)
    if not np.isfinite(square):
        wide = vectors.astype(np.float64)
        square = np.einsum("ij,ij->i", wide, wide).max()
    return float(np.sqrt(square))


def scale(metric: Metric, queries: NDArray[Any], longest: float) -> NDArray[np.float64]:
    """How large a similarity of each query may get, which is what its rounding errors are proportional to."""
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    if metric is Metric.COSINE:
        return np.ones(len(queries))
    if metric is Metric.IP:
        return np.asarray(lengths * longest)
    reach = np.asarray(lengths + longest)
    return np.square(reach) if metric is Metric.L2 else np.asarray(reach * np.sqrt(queries.shape[1]))


def tolerance(element: Element) -> float:
    """By how much, as a share of `scale`, equal searches may differ for a target that stores `element`."""
    return _TOLERANCE[element]
