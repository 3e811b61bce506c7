"""A seeded random sample of a collection's records, taken while they pass: questions are drawn from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecferry.arrow import dense, present, utf8
from vecferry.model import CollectionSpec, Element, VectorSpec
from vecferry.planning.elements import cast
from vecferry.tags import unpack

_PERTURBATION = 0.1
_SQUARABLE = 1e16
"""Components below this can be squared and summed in float32, for any dimension that a store takes."""
"""Length of the noise added to a query, as a share of the vector's own length."""


class Sample:
    """At most `size` records, each with the same chance; the same seed and reading order give the same sample."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._random = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self._batch: pa.RecordBatch | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Let the records of `batch` pass: every record draws a number, the `size` smallest stay."""
        keys = self._random.random(batch.num_rows)
        if len(self._keys) == self._size:
            chosen = np.flatnonzero(keys < self._keys.max(initial=0.0))
        else:
            chosen = np.arange(batch.num_rows)
        if not len(chosen):
            return
        picked = batch.take(pa.array(chosen))
        merged = picked if self._batch is None else pa.concat_batches([self._batch, picked])
        keys = np.concatenate((self._keys, keys[chosen]))
        kept = np.sort(np.argsort(keys, kind="stable")[: self._size])
        self._batch, self._keys = merged.take(pa.array(kept)), keys[kept]

    def queries(self, vector: VectorSpec, count: int) -> NDArray[np.float32]:
        """`count` query vectors, shape (count, dim): one half records' own vectors, one half perturbed ones.

        Vectors of whole numbers get queries of such: a store turns a query into the number type of what it holds.

        Fewer where the sample is empty. Left out are zero vectors, since no metric but L2 can rank by them, and vectors
        so long that no store can square them in float32.
        """
        if self._batch is None:
            return np.empty((0, vector.dim or 0), np.float32)
        values: NDArray[np.float32] = dense(self._batch, vector)[present(self._batch, vector)].astype(np.float32)
        longest = np.abs(values).max(axis=1, initial=0.0)
        values = values[(longest > 0) & (longest < _SQUARABLE)]
        if not len(values):
            return values
        random = np.random.default_rng(len(values))
        own = values[random.permutation(len(values))[: (count + 1) // 2]]
        base = values[random.integers(len(values), size=count - len(own))]
        noise = random.standard_normal(base.shape).astype(np.float32)
        noise *= _PERTURBATION * np.linalg.norm(base, axis=1, keepdims=True) / np.sqrt(base.shape[1])
        chosen: NDArray[np.float32] = np.concatenate((own, base + noise)).astype(np.float32)
        if vector.element in (Element.UINT8, Element.INT8):
            chosen = cast(chosen, vector.element).astype(np.float32)
        return chosen[chosen.any(axis=1)]

    def metadata(self) -> list[dict[str, Any]]:
        """The metadata of the sampled records that have some."""
        return [value for value in metadata_of(self._batch) if value is not None] if self._batch is not None else []


def metadata_of(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """The metadata of each record of `batch` as Python values."""
    pairs = zip(utf8(batch, "metadata"), utf8(batch, "tags"), strict=True)
    return [None if text is None else unpack(text, tags) for text, tags in pairs]


def dense_vectors(spec: CollectionSpec) -> list[VectorSpec]:
    """The vectors of `spec` that searches can be compared on."""
    return [vector for vector in spec.vectors if vector.kind == "dense" and vector.dim]
