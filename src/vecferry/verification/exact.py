"""Exact nearest neighbours of many queries in one pass over a collection: the truth that stores are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.model import Metric
from vecferry.verification import scores

_ROUGH_ERROR = 4e-5
"""Bound of the error of `scores.rough`, as a share of `scores.scale`; candidates within it are measured again."""
_ROWS = 8192
_TIES_KEPT = 256


class Nearest:
    """The `k` nearest records of each query, and all that tie with the last of them.

    Every vector is ranked in single precision by one matrix product per batch; those that may belong to the
    nearest are measured again in double precision. Memory: one batch of scores and a few hundred hits per query.
    """

    def __init__(self, queries: NDArray[np.float32], metric: Metric, *, k: int, tie: float) -> None:
        self.queries, self.metric, self.k = queries, metric, k
        self._tie = tie
        self._hits: list[list[tuple[float, str]]] = [[] for _ in queries]
        self._longest = 0.0
        self.wide: set[int] = set()
        """Queries with more ties than are kept."""

    def add(self, ids: pa.Array, vectors: NDArray[Any]) -> None:
        """Let records pass: `vectors` has shape (rows, dim)."""
        for start in range(0, len(vectors), _ROWS):
            part = vectors[start : start + _ROWS].astype(np.float32, copy=False)
            self._longest = max(self._longest, scores.longest(part))
            self._add(ids.slice(start, _ROWS), part)

    def slack(self) -> NDArray[np.float64]:
        """By how much two similarities of each query may differ and still count as equal.

        Products too small for a normal float32 may have become zero, each for itself, however exact the rest is.
        """
        vanished = self.queries.shape[1] * float(np.finfo(np.float32).tiny)
        slack: NDArray[np.float64] = self._tie * scores.scale(self.metric, self.queries, self._longest) + vanished
        return slack

    def hits(self, query: int) -> list[tuple[float, str]]:
        """(similarity, id) of the nearest records of one query, nearest first, ties with the `k`-th included."""
        return self._hits[query]

    def _add(self, ids: pa.Array, vectors: NDArray[np.float32]) -> None:
        near = scores.rough(self.metric, self.queries, vectors)
        error = _ROUGH_ERROR * scores.scale(self.metric, self.queries, self._longest)
        floor = self._floor(near) - error - self.slack()
        rows, queries = np.nonzero(near >= floor)
        if not len(rows):
            return
        exact = scores.similarity(
            self.metric, self.queries[queries].astype(np.float64), vectors[rows].astype(np.float64)
        )
        for query in np.unique(queries):
            mine = np.flatnonzero(queries == query)
            self._merge(int(query), exact[mine], ids.take(pa.array(rows[mine])))

    def _floor(self, near: scores.Floats) -> NDArray[np.float64]:
        """What a record must reach to be among the `k` nearest, per query."""
        known = [hits[self.k - 1][0] if len(hits) >= self.k else -np.inf for hits in self._hits]
        floor = np.array(known)
        if len(near) > self.k and not np.isfinite(floor).all():
            here = np.partition(near, len(near) - self.k, axis=0)[len(near) - self.k]
            floor = np.maximum(floor, here - _ROUGH_ERROR * scores.scale(self.metric, self.queries, self._longest))
        return floor

    def _merge(self, query: int, similarities: NDArray[np.float64], ids: pa.Array) -> None:
        hits = [*self._hits[query], *zip(similarities.tolist(), ids.to_pylist(), strict=True)]
        hits.sort(key=lambda hit: (-hit[0], hit[1]))
        if len(hits) > self.k:
            floor = hits[self.k - 1][0] - float(self.slack()[query])
            hits = [hit for hit in hits if hit[0] >= floor]
        if len(hits) > self.k + _TIES_KEPT:
            self.wide.add(query)
            hits = hits[: self.k + _TIES_KEPT]
        self._hits[query] = hits
